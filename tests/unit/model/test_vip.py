"""Where VIPs go."""

from typing import Any

import pytest

from statera.base.errors import Refused
from statera.model.network import Attachment, Network, Port, PortAddress, Subnet, VipRequest
from statera.model.vip import AdditionalVip, VipWish, build_vips, decide_vip

ATTACHED = Attachment(kind="bridge", device="br0")


def a_network(name: str, **subnets: str) -> Network:
    found = tuple(Subnet(id=key, name=key, network_id=name, cidr=cidr) for key, cidr in subnets.items())
    return Network(id=name, name=name, attachment=ATTACHED, subnets=found)


NETWORKS = (
    a_network("n", six="fd00::/64", four="10.0.0.0/24", more="10.0.1.0/24"),
    a_network("other", far="10.5.0.0/24"),
    a_network("bare"),
)


def a_port(*addresses: tuple[str, str], device: str = "", network: str = "n") -> Port:
    places = tuple(PortAddress(subnet_id=subnet, address=address) for subnet, address in addresses)
    return Port(id="port", network_id=network, name="", device_id=device, mac_address="", addresses=places)


def decide(port: Port | None = None, **wish: Any) -> list[tuple[str, tuple[tuple[str, str | None], ...]]]:
    found = decide_vip(VipWish(**wish), NETWORKS, port, "lb")
    return [(request.network_id, request.addresses) for request in found]


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ({"subnet_id": "four"}, [("n", (("four", None),))]),
        ({"subnet_id": "four", "address": "10.0.0.9"}, [("n", (("four", "10.0.0.9"),))]),
        ({"network_id": "n"}, [("n", ((subnet, None),)) for subnet in ("four", "more", "six")]),
        ({"network_id": "n", "address": "fd00::5"}, [("n", (("six", "fd00::5"),))]),
        ({"network_id": "n", "subnet_id": "more"}, [("n", (("more", None),))]),
        ({"network_id": "n", "subnet_id": "more", "address": "10.0.1.3"}, [("n", (("more", "10.0.1.3"),))]),
        (
            {"subnet_id": "four", "additional": (AdditionalVip(subnet_id="six", address="fd00::1"),)},
            [("n", (("four", None), ("six", "fd00::1")))],
        ),
        (
            {"network_id": "n", "additional": (AdditionalVip(subnet_id="four"),)},
            [("n", ((subnet, None), ("four", None))) for subnet in ("more", "six")],
        ),
    ],
)
def test_routes(wish: dict[str, Any], wanted: Any) -> None:
    assert decide(**wish) == wanted


TWO = a_port(("four", "10.0.0.7"), ("six", "fd00::7"))


@pytest.mark.parametrize(
    ("port", "wish", "address"),
    [
        (a_port(("four", "10.0.0.7")), {}, ("four", "10.0.0.7")),
        (TWO, {"subnet_id": "six"}, ("six", "fd00::7")),
        (TWO, {"address": "10.0.0.7"}, ("four", "10.0.0.7")),
        (TWO, {"address": "10.0.0.7", "network_id": "other"}, ("four", "10.0.0.7")),
    ],
)
def test_a_port_decides(port: Port, wish: dict[str, Any], address: tuple[str, str]) -> None:
    (request,) = decide_vip(VipWish(port_id="port", **wish), NETWORKS, port, "lb")
    assert (request.addresses, request.port_id) == ((address,), "port")


@pytest.mark.parametrize(
    ("port", "wish", "words"),
    [
        (None, {"port_id": "x"}, "Port x not found."),
        (a_port(device="vm"), {"port_id": "port"}, "Validation failure: Port port is already used by device vm "),
        (TWO, {"port_id": "port"}, "Validation failure: VIP port's subnet could not be determined."),
        (TWO, {"port_id": "port", "subnet_id": "more"}, "Validation failure: No VIP address found on the specified"),
        (TWO, {"port_id": "port", "address": "10.0.0.8"}, "Validation failure: Specified VIP address not found on"),
        (None, {"network_id": "bare"}, "Validation failure: Supplied network does not contain a subnet."),
        (None, {"network_id": "n", "subnet_id": "far"}, "Validation failure: Supplied network does not contain a sub"),
        (None, {"subnet_id": "four", "address": "10.5.0.1"}, "Validation failure: Supplied network does not contain"),
        (
            None,
            {"subnet_id": "four", "additional": (AdditionalVip(subnet_id="six"), AdditionalVip(subnet_id="six"))},
            "Validation failure: Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.",
        ),
        (
            None,
            {"network_id": "other", "additional": (AdditionalVip(subnet_id="far"),)},
            "Validation failure: Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.",
        ),
        (
            None,
            {"subnet_id": "four", "additional": (AdditionalVip(subnet_id="far"),)},
            "Validation failure: All VIP subnets must belong to the same network.",
        ),
        (
            None,
            {"subnet_id": "four", "additional": (AdditionalVip(subnet_id="six", address="10.0.0.1"),)},
            "Validation failure: Supplied network does not contain a subnet for VIP address specified.",
        ),
    ],
)
def test_refusals(port: Port | None, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as caught:
        decide(port, **wish)
    assert caught.value.sentence.startswith(words)


def test_vips_come_in_the_order_of_the_request() -> None:
    addresses = (("six", None), ("four", None))
    request = VipRequest(load_balancer_id="lb", network_id="n", addresses=addresses)
    found = build_vips(request, TWO)
    assert [(vip.subnet_id, vip.address, vip.port_id) for vip in found] == [
        ("six", "fd00::7", "port"), ("four", "10.0.0.7", "port"),
    ]  # fmt: skip
