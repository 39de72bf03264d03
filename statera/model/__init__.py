"""Floor 1: the vocabulary. Frozen types of desired and observed things, and what may be said about them.

Here: enumerations and compatibility matrices, the tenant's tree (`tree.py`), amphorae and what is observed of them
(`amphora.py`), networks (`network.py`), the spec of one amphora that `render/` reads (`spec.py`), the rendered
document (`document.py`), status rules (`status.py`) and the driver protocols (`ports.py`). Not here: I/O, a clock,
randomness. Start with `tree.py`.
"""
