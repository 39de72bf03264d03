"""Floor 2: the world outside, one file per driver: compute, networks, the private PostgreSQL.

Here: implementations of the protocols in `model/ports.py`. Not here: decisions of the planner, SQL. Drivers know
neither each other nor the store; `app.py` wires them. Start with `network_local.py`.
"""
