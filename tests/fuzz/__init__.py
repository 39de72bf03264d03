"""Fuzzers of every parser of bytes that others send: `targets.py` says which, `corpus/` what is mutated.

`make test` tries some hundred mutations of each, `make fuzz` goes on for minutes. A find is kept in the corpus.
"""
