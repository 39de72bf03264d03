"""What every test may ask for."""

import compileall
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from statera.base.logging import PlainRenderer

pytest_plugins = [f"tests.fixtures.{name}" for name in ("postgres", "keystone", "barbican", "descriptors")]

# Tests read what commands print; a server in a thread beside them must not write there.
# Thousands of lines: without colours they take a fifth of the time.
structlog.configure(
    processors=[*structlog.get_config()["processors"][:-1], PlainRenderer()],
    logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
)

# Tests start hundreds of Pythons, which would all compile the same files again; most may not write what they compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
compileall.compile_dir(Path(__file__).parents[1] / "statera", quiet=2)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` means: one more than processors, which works while others wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among what collecting makes, then and later: all of it lasts, and looking takes a fifth."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread files of whole paths, which take longest, over the first half: few at once, and none alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("e2e")}
    # The smallest come last.
    files = sorted(dict.fromkeys(item.path for item in items), key=lambda file: "unit" in file.parts)
    places: dict[Path, float] = {}
    for is_slow, share in ((True, 0.5), (False, 1.0)):
        kind = [file for file in files if (file in slow) == is_slow]
        places |= {file: share * number / len(kind) for number, file in enumerate(kind)}
    items.sort(key=lambda item: places[item.path])
