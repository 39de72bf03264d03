"""Names that are read again from statistics, and texts that cannot be rendered. All else is golden."""

import pytest

from statera.model.document import ServersPart
from statera.plan.spec import decide_amphora_spec
from statera.render import tokens
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import backend_name, parse_backend_name, render_haproxy
from statera.render.paths import SANDBOX_PATHS, HaproxyPaths
from tests.golden.cases import ENGINE, LIMITS, make_tree, render_case


def test_a_backends_name_says_pool_and_listener():
    assert parse_backend_name(backend_name("pool", "listener")) == ("pool", "listener")


@pytest.mark.parametrize("name", ["listener", "GLOBAL", "MASTER", ""])
def test_other_proxies_are_no_backends(name: str):
    assert parse_backend_name(name) is None


def test_equal_trees_give_equal_documents():
    assert render_case("shared-pool").digest() == render_case("shared-pool").digest()
    assert render_case("shared-pool").digest() != render_case("no-pool").digest()


def test_an_old_engines_servers_are_fixed():
    tree = make_tree(
        {
            "listeners": [{"id": "web", "protocol": "HTTP", "protocol_port": 80, "default_pool_id": "pool"}],
            "pools": [{"id": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}],
        }
    )
    spec = decide_amphora_spec(tree, "amphora", LIMITS)
    for engine, dynamic in ((ENGINE, True), (haproxy_capabilities("2.4.22"), False)):
        parts = render_haproxy(spec, engine, SANDBOX_PATHS).parts
        assert [part.dynamic for part in parts if isinstance(part, ServersPart)] == [dynamic]


def test_an_id_that_is_no_name_is_refused():
    tree = make_tree({"listeners": [{"id": "a b", "protocol": "HTTP", "protocol_port": 80}]})
    with pytest.raises(tokens.BadToken):
        render_haproxy(decide_amphora_spec(tree, "amphora", LIMITS), ENGINE, SANDBOX_PATHS)


def test_socket_paths_are_short_enough():
    paths = HaproxyPaths()
    assert len(paths.stats_socket) < 90
    assert len(paths.master_socket) < 90
