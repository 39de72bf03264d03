"""A playground's networks: what load balancers get is nobody else's."""

import ipaddress
from pathlib import Path

from statera.cli.playground import FIRST_WEB_NUMBER, HOST_NUMBER, Playground


def test_no_load_balancer_gets_an_address_of_the_host_or_of_a_web_server(tmp_path: Path) -> None:
    playground = Playground("none", tmp_path)
    playground.client.close()
    subnets = playground.settings.networks[0].subnets
    assert len(subnets) == 2
    for subnet in subnets:
        network = ipaddress.ip_network(subnet.cidr)
        others = {int(network[number]) for number in (HOST_NUMBER, *range(FIRST_WEB_NUMBER + 1, FIRST_WEB_NUMBER + 50))}
        for allocation in subnet.allocation:
            first, last = (int(ipaddress.ip_address(text)) for text in allocation.split("-"))
            assert not any(first <= other <= last for other in others)
        assert subnet.allocation
