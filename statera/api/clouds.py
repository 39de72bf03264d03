"""The `clouds.yaml` that the openstack command needs to find a standalone Statera."""


def render_clouds_yaml(
    api_url: str, *, cloud: str = "statera", username: str | None = None, password: str | None = None
) -> str:
    """Return the text of a `clouds.yaml` with one cloud; with a user name for identity `basic`.

    Without a password the file has none: the command then takes it from `OS_PASSWORD`.
    """
    base = api_url.rstrip("/")
    # The commands `secret` know no override of their own: they take the endpoint of the identity.
    secrets = f"{base}/key-manager/v1"
    auth = {"endpoint": secrets}
    if username is not None:
        auth |= {"username": username} | ({} if password is None else {"password": password})
    lines = [
        "clouds:",
        f"  {_quote(cloud)}:",
        f"    auth_type: {'none' if username is None else 'http_basic'}",
        "    auth:",
        *(f"      {name}: {_quote(value)}" for name, value in auth.items()),
        f"    load_balancer_endpoint_override: {_quote(base)}",
        f"    key_manager_endpoint_override: {_quote(secrets)}",
        f"    network_endpoint_override: {_quote(f'{base}/network')}",
    ]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    """Return a double-quoted YAML string, everything but plain ASCII escaped by its number (YAML 1.1, 5.6)."""
    plain = [one if " " <= one <= "~" and one not in '"\\' else f"\\U{ord(one):08x}" for one in text]
    return f'"{"".join(plain)}"'
