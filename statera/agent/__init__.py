"""The agent of one host: builds sandboxes, runs HAProxy in them, watches it, reports.

It knows only what Statera tells it and what it finds on the host. It may be killed at any time: its folder says which
sandboxes there should be, the kernel says which there are. Never here: the database, plans, decisions about tenants.
Start reading at `server.py` (what can be asked) and `sandbox.py` (one amphora).
"""
