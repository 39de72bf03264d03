"""Floor 0: what every room needs and that knows nothing of load balancing.

Here: errors, reasons, the clock, ids, settings, secrets, logging. Not here: any word a tenant would use.
Start with `errors.py`: the three kinds of failure decide what every caller does next.
"""
