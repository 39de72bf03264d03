"""Plain data in, plain data out; mirrors `statera/`."""
