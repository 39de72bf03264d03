"""The schema's history, one file per step in `versions/`, applied by `statera.store.migrate`.

`tables.py` says what the schema is now; `tests/db/test_migrations.py` proves that the steps lead there.
"""
