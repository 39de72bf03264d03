"""What reading bytes of others as JSON or MessagePack may raise."""

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""msgspec tells of broken UTF-8 and of deep nesting in Python's words."""
