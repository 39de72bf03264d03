"""Fuzzers of every parser of bytes that others send: `targets.py` says which, `corpus/` what is mutated.

`make test` tries three hundred mutations of each, of slow ones fewer; `make fuzz` goes on for minutes. A find is kept
in the corpus. `inventory.py` names each place that reads bytes, and its fuzzer or why it needs none: a new one without
an entry fails.
"""
