"""Amphorae that share their VIPs, each with the file that it renders to."""

from pathlib import Path

import msgspec

from statera.model.network import Attachment
from statera.model.spec import InterfaceSpec, LimitsSpec, SandboxSpec
from statera.model.vrrp import ADVERT_MS, VrrpSpec
from statera.render.keepalived import render_keepalived

FOLDER = Path(__file__).parent / "vrrp"


def make_spec(addresses: tuple[str, ...], vips: tuple[str, ...], peers: tuple[str, ...], **more: bool) -> SandboxSpec:
    home = InterfaceSpec(
        name="eth0",
        network_id="network",
        attachment=Attachment(kind="bridge", device="br0"),
        mtu=1500,
        mac_address="02:00:00:00:00:01",
        addresses=addresses,
        vips=vips,
    )
    limits = LimitsSpec(memory_mib=256, file_descriptors=4096, cpu_percent=0, max_connections=1000)
    vrrp = VrrpSpec(priority=100, advert_ms=ADVERT_MS, peers=peers, **more)
    return SandboxSpec(amphora_id="amphora", load_balancer_id="balancer", interfaces=(home,), limits=limits, vrrp=vrrp)


CASES = {
    "ipv4": make_spec(("192.0.2.21/24",), ("192.0.2.10",), ("192.0.2.22",)),
    "ipv6": make_spec(("2001:db8::21/64",), ("2001:db8::10",), ("2001:db8::22",)),
    "both": make_spec(
        ("192.0.2.21/24", "2001:db8::21/64"),
        ("192.0.2.10", "2001:db8::10", "192.0.2.11"),
        ("192.0.2.22", "192.0.2.23", "2001:db8::22", "2001:db8::23"),
        preempts=True,
    ),
    "single": msgspec.structs.replace(
        make_spec(("192.0.2.21/24", "2001:db8::21/64"), ("192.0.2.10", "2001:db8::10"), ("192.0.2.22",)),
        has_lifeline=False,
    ),
    "alone": make_spec(("192.0.2.21/24",), ("192.0.2.10",), ()),
    "other-family": make_spec(("192.0.2.21/24",), ("192.0.2.10", "2001:db8::10"), ("192.0.2.22",)),
}


def list_vrrp_files() -> dict[Path, str]:
    """Return the text of every golden file."""
    return {FOLDER / f"{case}.out.conf": render_keepalived(spec) for case, spec in CASES.items()}
