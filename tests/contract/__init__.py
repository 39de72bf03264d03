"""The API against its contract: the tables in `contract/`, a real PostgreSQL, the built-in network driver."""
