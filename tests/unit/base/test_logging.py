"""Lines of text: what is written without a terminal is what structlog would write, only sooner."""

from typing import Any

import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from statera.base.logging import PlainRenderer

TEXTS = st.text(max_size=20)
VALUES = TEXTS | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.integers(), max_size=3)
LEVELS = st.sampled_from(["debug", "info", "warning", "error", "critical"])
REST = st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), VALUES, max_size=4)
KNOWN = st.fixed_dictionaries(
    {"event": TEXTS | st.integers(), "level": LEVELS},
    optional={"timestamp": TEXTS, "exception": TEXTS, "stack": TEXTS, "logger": TEXTS},
)


@given(REST, KNOWN)
@example({}, {"event": "", "level": "debug", "timestamp": ""})
def test_a_line_is_that_of_structlog(rest: dict[str, Any], known: dict[str, Any]) -> None:
    event = rest | known
    reference = structlog.dev.ConsoleRenderer(colors=False)(None, "info", dict(event))
    assert PlainRenderer()(None, "info", dict(event)) == reference
