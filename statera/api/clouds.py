"""The `clouds.yaml` that the openstack command needs to find a standalone Statera."""

import json


def render_clouds_yaml(
    api_url: str, *, cloud: str = "statera", username: str | None = None, password: str | None = None
) -> str:
    """Return the text of a `clouds.yaml` with one cloud; with a user name for identity `basic`.

    Without a password the file has none: the command then takes it from `OS_PASSWORD`.
    """
    base = api_url.rstrip("/")
    auth = {"endpoint": base}
    if username is not None:
        auth |= {"username": username} | ({} if password is None else {"password": password})
    lines = [
        "clouds:",
        f"  {_quote(cloud)}:",
        f"    auth_type: {'none' if username is None else 'http_basic'}",
        "    auth:",
        *(f"      {name}: {_quote(value)}" for name, value in auth.items()),
        f"    load_balancer_endpoint_override: {_quote(base)}",
        f"    network_endpoint_override: {_quote(f'{base}/network')}",
    ]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    # A JSON string is a YAML string too, whatever is in it.
    return json.dumps(text)
