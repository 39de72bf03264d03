"""The page about metrics, the dashboard and the alert rules name metrics that there are."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.unit.docs.metrics import METRICS, list_metrics, list_series, render_metrics
from tests.unit.docs.pages import ROOT, read_page

DEPLOY = ROOT / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "statera.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in RULES]
SERIES = list_series()
OF_PROMETHEUS = {"instance", "job", "process", "le"}
LABELS_OF = {
    f"{metric.name}{end}": {*metric.labels, *OF_PROMETHEUS}
    for metric in list_metrics()
    for end in ("", "_bucket", "_count", "_sum")
}


def test_the_page_is_up_to_date():
    page = read_page(METRICS)
    assert page == render_metrics(page), "`make docs` brings the page up to date"


@pytest.mark.parametrize("metric", list_metrics(), ids=lambda metric: metric.name)
def test_names_are_as_prometheus_wants_them(metric):
    assert re.fullmatch(r"statera_[a-z0-9_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.meaning.endswith(".")
    assert not {"id", "name", "project_id", "load_balancer_id", "le", "process", "instance", "job"} & set(metric.labels)


def parse(query: str) -> Any:
    # Grafana puts these in.
    return promql_parser.parse(query.replace("$__rate_interval", "1m").replace("$job", "statera"))


def list_selectors(node: Any) -> Iterator[Any]:
    """Yield what is selected anywhere in a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for attribute in ("expr", "lhs", "rhs", "vector_selector", "param"):
        below = getattr(node, attribute, None)
        if below is not None and not isinstance(below, (str, float)):
            yield from list_selectors(below)
    args = getattr(node, "args", None)
    for below in args if isinstance(args, (list, tuple)) else getattr(args, "args", ()) or ():
        yield from list_selectors(below)


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_metrics_and_labels_that_there_are(query):
    selectors = list(list_selectors(parse(query)))
    assert {selector.name for selector in selectors} == set(re.findall(r"\b(?:statera|process)_\w+", query))
    for selector in selectors:
        assert selector.name in SERIES
        known = LABELS_OF.get(selector.name, OF_PROMETHEUS)
        assert {matcher.name for matcher in selector.matchers.matchers} <= known
    grouped = {
        label.strip() for names in re.findall(r"(?:by|without) \(([^)]*)\)", query) for label in names.split(",")
    }
    assert grouped <= set().union(*(LABELS_OF.get(selector.name, OF_PROMETHEUS) for selector in selectors))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rules_say_what_to_do(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert all(text.endswith((".", "?")) for text in rule["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    assert all(name in rule["expr"] or name in OF_PROMETHEUS for name in named)


def test_rules_have_names_of_their_own():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_panels_stand_side_by_side_and_have_titles_of_their_own():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y) for place in places for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]  # fmt: skip
    assert len(set(taken)) == len(taken)
    assert all(x < 24 for x, _ in taken)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
