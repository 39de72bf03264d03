"""What every test may ask for."""

import sys

import structlog

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.keystone", "tests.fixtures.barbican"]

# Tests read what commands print; a server in a thread beside them must not write there.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
