"""Floor 2: all SQL. Tables, queries, claims, migrations; frozen model structs in and out.

Not here: decisions. Each function is one statement or one short transaction; nobody holds one across a driver call.
Start with `tables.py`, then `trees.py` (edits) and `claims.py` (who may act).
"""
