"""One ground for the tests of a module. A module may define `make_options`, the options of `Ground`."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hosts.ground import Ground, raise_ground


@pytest.fixture(scope="session", autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("plays hosts with namespaces: needs root")


@pytest.fixture(scope="module")
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    options: Callable[[], dict[str, Any]] = getattr(request.module, "make_options", dict)
    with raise_ground(f"h{os.getpid() % 10_000}", **options()) as made:
        yield made
