"""One migration per file, named after what it does, in the order of its number."""
