"""Where time goes inside: what the installation's own metrics have summed up, read before and after."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from bench.ground import Ground

STAGES = ("statera_pass_seconds", "statera_agent_build_seconds")
"""Histograms: a worker's passes from claim to end; what of them an agent takes to build and change sandboxes."""


def read_spent_ms(ground: Ground) -> dict[str, float]:
    """Return the milliseconds that each of the `STAGES` has taken so far, in all processes."""
    place = ground.playground.settings.metrics
    with urllib.request.urlopen(f"http://{place.host}:{place.port}/metrics", timeout=10.0) as page:
        text = page.read().decode()
    spent = dict.fromkeys(STAGES, 0.0)
    for family in text_string_to_metric_families(text):
        if family.name in spent:
            spent[family.name] += sum(one.value for one in family.samples if one.name.endswith("_sum")) * 1000
    return spent
