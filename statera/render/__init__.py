"""Floor 2: text for the engines, from typed specs. Pure.

Here: token types (`tokens.py`), HAProxy documents (`haproxy.py`), how one document becomes another (`change.py`).
Not here: decisions about what should be (those are in `plan/`), files, processes. Start with `haproxy.py`.
"""
