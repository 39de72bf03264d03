"""The clouds.yaml text is YAML, whatever is in it."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from statera.api.clouds import render_clouds_yaml


def test_without_identity() -> None:
    assert yaml.safe_load(render_clouds_yaml("http://127.0.0.1:9876/")) == {
        "clouds": {
            "statera": {
                "auth_type": "none",
                "auth": {"endpoint": "http://127.0.0.1:9876/key-manager/v1"},
                "load_balancer_endpoint_override": "http://127.0.0.1:9876",
                "key_manager_endpoint_override": "http://127.0.0.1:9876/key-manager/v1",
                "network_endpoint_override": "http://127.0.0.1:9876/network",
            }
        }
    }


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(cloud=TEXT, username=TEXT, password=st.none() | TEXT)
def test_any_names(cloud: str, username: str, password: str | None) -> None:
    text = render_clouds_yaml("http://h", cloud=cloud, username=username, password=password)
    entry = yaml.safe_load(text)["clouds"][cloud]
    assert entry["auth_type"] == "http_basic"
    assert entry["auth"] == {"endpoint": "http://h/key-manager/v1", "username": username} | (
        {} if password is None else {"password": password}
    )
