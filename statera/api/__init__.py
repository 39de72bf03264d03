"""Floor 3: HTTP in and out. One module per v2 resource, wire structs, errors, policy.

Not here: SQL, drivers, decisions about amphorae. Only this room writes desired rows; only `errors.py` knows HTTP status codes.
"""
