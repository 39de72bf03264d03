"""Benchmarks against the budgets of the design: `python -m bench [scenario ...] [--runs N] [--json FILE]`.

Each scenario is one file with a `run(ground, runs)` that returns figures; `scenarios.py` lists them. They work from
outside, as a tenant and its clients would, on an installation of their own (`ground.py`), with clients small enough not
to be what is measured (`client.py`, `load.py`, `flood.py`). Figures are told, not judged: only what breaks fails.
"""
