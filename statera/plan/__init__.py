"""Floor 2: decisions. Desired state, observed state and the time in; a plan with reasons out.

Here: what an amphora should be (`spec.py`), what to do next (`plan.py`), when to try again (`backoff.py`). Not here:
I/O, a clock, randomness: `now`, ids and seeds come as arguments. Start with `plan.py`.
"""
