"""The largest policy that the API takes still fits on a line of HAProxy's configuration."""

from typing import Any

from statera.model.l7edits import MOST_RULES
from statera.plan.spec import decide_amphora_spec
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ENGINE, LIMITS, make_tree
from tests.golden.haproxy import check_haproxy


def test_the_most_rules_and_the_longest_values() -> None:
    longest: dict[str, Any] = {"type": "HEADER", "compare_type": "REGEX", "key": "k" * 255, "invert": True}
    policy = {"listener_id": "listener", "redirect_url": f"https://{'a' * 247}", "redirect_http_code": 308}
    rules = [longest | {"value": "\u00e9" * 255}] * MOST_RULES
    tree = make_tree(
        {
            "listeners": [{"id": "listener", "protocol": "HTTP", "protocol_port": 80}],
            "l7policies": [policy | {"id": "policy", "action": "REDIRECT_TO_URL", "rules": rules}],
        }
    )
    document = render_haproxy(decide_amphora_spec(tree, "amphora", LIMITS), ENGINE, SANDBOX_PATHS)
    assert check_haproxy(document) == ""
