"""A control room for each test."""

import pytest

from statera.store.engine import Store
from tests.control.room import Room


@pytest.fixture
def room(store: Store) -> Room:
    return Room(store)
