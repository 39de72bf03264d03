"""Any valid tree renders to a document that the real HAProxy accepts."""

from hypothesis import HealthCheck, given, settings

from statera.model.tree import Tree
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import decide_streams
from tests.golden.haproxy import check_haproxy
from tests.property.trees import busy_trees, trees

ENGINE = haproxy_capabilities("2.6.12")
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(busy_trees() | trees())
def test_haproxy_accepts_every_valid_tree(tree: Tree):
    document = render_haproxy(decide_streams(tree), ENGINE, SANDBOX_PATHS)
    assert check_haproxy(document) == ""
