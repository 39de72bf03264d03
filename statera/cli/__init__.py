"""Floor 4: the operator's command line.

Here: `main.py` (commands), `up.py` (runs all processes on one machine), `demo.py`, `doctor.py`. Not here: decisions
about load balancers. Start with `main.py`.
"""
