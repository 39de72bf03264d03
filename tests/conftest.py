"""What every test may ask for."""

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.keystone", "tests.fixtures.barbican"]
