"""The network namespace of one amphora: made, entered, brought to its spec, removed.

A thread enters a namespace for the length of a block; the kernel keeps namespaces per thread (setns(2)), so the rest of
the agent never notices. All functions here block for some milliseconds and are called through `asyncio.to_thread`.
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from statera.agent.addresses import list_addresses, read_link
from statera.agent.announce import announce
from statera.agent.bridges import ensure_bridge
from statera.agent.links import add_address, find_device, missing_is_fine
from statera.base.errors import Transient
from statera.model.spec import InterfaceSpec, SandboxSpec
from statera.model.vrrp import LIFELINE

CLONE_NEWNET = 0x40000000
FOLDER = Path("/run/netns")
BRIDGE_FORWARDING = "3"
"""State of a bridge's port (linux/if_bridge.h, BR_STATE_FORWARDING)."""
SYSCTLS = {
    # HAProxy runs without capabilities, and must bind port 80.
    "net/ipv4/ip_unprivileged_port_start": "0",
    # A bind must not fail because an address comes a moment later, or is on the other amphora of a pair.
    "net/ipv4/ip_nonlocal_bind": "1",
    "net/ipv6/ip_nonlocal_bind": "1",
    # PING health monitors use ICMP sockets, which need no capability.
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv4/tcp_tw_reuse": "1",
    "net/ipv4/ip_local_port_range": "10240 65000",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/all/accept_ra": "0",
    # Addresses are allocated centrally. To look for duplicates first would keep a VIP from serving for a second after
    # it has moved, and for good after two had it at once.
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
    "net/core/somaxconn": "4096",
}

_libc = ctypes.CDLL(None, use_errno=True)


def namespace_name(amphora_id: str) -> str:
    return f"statera-{amphora_id}"


def namespace_path(amphora_id: str) -> Path:
    return FOLDER / namespace_name(amphora_id)


@functools.lru_cache(maxsize=10_000)
def outside_name(amphora_id: str, interface: str) -> str:
    """Return the host's end of a sandbox's interface: at most 15 characters, the same whenever it is asked for."""
    return f"sv{hashlib.sha256(f'{amphora_id}/{interface}'.encode()).hexdigest()[:12]}"


def exists(amphora_id: str) -> bool:
    """Say whether there is a real namespace, not only the empty file that a crash may leave."""
    return inode(amphora_id) is not None


def inode(amphora_id: str) -> int | None:
    """Return what identifies the namespace among `/proc/<pid>/ns/net`, None when there is no real one."""
    with contextlib.suppress(OSError):
        found = os.stat(f"{FOLDER}/{namespace_name(amphora_id)}")
        return found.st_ino if found.st_dev == _kernel_device() else None
    return None


@functools.cache
def _kernel_device() -> int:
    # Namespaces are files of a file system of their own (namespaces(7)).
    return os.stat("/proc/self/ns/net").st_dev


def is_whole(spec: SandboxSpec) -> bool:
    """Say whether the namespace is there with its interfaces on their bridges, as far as this is seen from outside."""
    return exists(spec.amphora_id) and all(_is_attached(spec.amphora_id, one) for one in spec.interfaces)


def _is_attached(amphora_id: str, interface: InterfaceSpec) -> bool:
    # An interface deleted inside takes its other end along, a deleted bridge leaves it. Macvlan has no other end.
    outside = f"/sys/class/net/{outside_name(amphora_id, interface.name)}"
    return interface.attachment.kind != "bridge" or os.path.lexists(f"{outside}/master")


def is_connected(spec: SandboxSpec) -> bool:
    """Say whether the bridges carry what the sandbox sends. The kernel lets a new port wait, up to a second."""
    ports = [
        Path("/sys/class/net", outside_name(spec.amphora_id, one.name), "brport/state")
        for one in spec.interfaces
        if one.attachment.kind == "bridge"
    ]
    with contextlib.suppress(OSError):
        return all(port.read_text(encoding="ascii").strip() == BRIDGE_FORWARDING for port in ports)
    return False


def list_inodes() -> frozenset[int]:
    """Return what identifies the namespace that this thread is in, and all that have a name."""
    # Of this thread: the main one may be inside a sandbox just now.
    found = {os.stat("/proc/thread-self/ns/net").st_ino}
    for path in FOLDER.glob("*"):
        with contextlib.suppress(OSError):
            found.add(os.stat(path).st_ino)
    return frozenset(found)


@contextlib.contextmanager
def entered(amphora_id: str) -> Iterator[None]:
    """Run a block with this thread in the amphora's namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _set_namespace(namespace_path(amphora_id))
        try:
            yield
        finally:
            if _libc.setns(home, CLONE_NEWNET) != 0:
                # A thread in the wrong namespace must do nothing more at all.
                os.abort()
    finally:
        os.close(home)


def _set_namespace(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def ensure_namespace(spec: SandboxSpec) -> None:
    """Make the namespace and bring its interfaces to the spec. Raises `Transient` naming what is missing here."""
    if not exists(spec.amphora_id):
        with contextlib.suppress(FileNotFoundError):
            namespace_path(spec.amphora_id).unlink()
        _create(spec.amphora_id)
        with entered(spec.amphora_id), IPRoute() as inside:
            _write_sysctls()
            inside.link("set", index=1, state="up")
    _ensure_interfaces(spec)
    with entered(spec.amphora_id), IPRoute() as inside:
        for interface in spec.interfaces:
            _ensure_addresses(inside, interface, is_sharing=spec.vrrp is not None)
        for interface in spec.interfaces:
            _ensure_routes(inside, interface)
    announce_vips(spec)


def _create(amphora_id: str) -> None:
    try:
        netns.create(namespace_name(amphora_id))
    except RuntimeError as error:
        # Another process makes it, and that one may be killed.
        sentence = f"The namespace of amphora {amphora_id} has not been made: {error}."
        raise Transient("sandbox-not-built", sentence) from error
    except OSError as error:
        # The file that a namespace is mounted on is made first: what had room for it is not the disk.
        if error.errno == errno.ENOSPC and namespace_path(amphora_id).exists():
            told = f"Host {os.uname().nodename} has as many network namespaces as its kernel allows"
            raise Transient("host-full", f"{told} (user.max_net_namespaces, fs.mount-max).") from error
        raise


def announce_vips(spec: SandboxSpec) -> None:
    """Tell the neighbours where the VIPs are now. Those that are shared are keepalived's to announce."""
    if spec.vrrp is not None:
        return
    with entered(spec.amphora_id):
        for interface in spec.interfaces:
            if interface.vips:
                announce(interface.name, interface.vips)


def announce_all(specs: Sequence[SandboxSpec]) -> None:
    """Announce the VIPs of several; best effort: some may be going this very moment."""
    for spec in specs:
        with contextlib.suppress(OSError):
            announce_vips(spec)


def has_vips(spec: SandboxSpec) -> bool:
    """Say whether the amphora has its VIPs now; of those that share them only one should."""
    home = next((interface for interface in spec.interfaces if interface.vips), None)
    if home is None:
        return False
    with contextlib.suppress(OSError), entered(spec.amphora_id):
        return str(ipaddress.ip_address(home.vips[0])) in list_addresses(home.name)
    return False


def remove_namespace(amphora_id: str, interfaces: Sequence[str]) -> None:
    """Remove the interfaces and the namespace. Its processes must have ended: they keep a namespace alive."""
    with IPRoute() as host:
        for name in interfaces:
            for index in host.link_lookup(ifname=outside_name(amphora_id, name)):
                with missing_is_fine():
                    host.link("del", index=index)
    if exists(amphora_id):
        netns.remove(namespace_name(amphora_id))
    else:
        with contextlib.suppress(FileNotFoundError):
            namespace_path(amphora_id).unlink()


def _write_sysctls() -> None:
    for name, value in SYSCTLS.items():
        # Not every kernel has every one (IPv6 may be off); HAProxy's own error then says what is not possible.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            Path("/proc/sys", name).write_text(value, encoding="ascii")


# Interfaces


def _ensure_interfaces(spec: SandboxSpec) -> None:
    wanted = {interface.name: interface for interface in spec.interfaces}
    there = _list_interfaces(spec.amphora_id)
    macs = {name: interface.mac_address.lower() for name, interface in wanted.items()}
    if there == macs and all(_is_attached(spec.amphora_id, one) for one in spec.interfaces):
        return
    for name, mac in there.items():
        if mac != macs.get(name):
            _delete_inside(spec.amphora_id, name)
    with IPRoute() as host:
        _add_interfaces(host, spec, there)


def _add_interfaces(host: Any, spec: SandboxSpec, there: Mapping[str, str]) -> None:
    for interface in spec.interfaces:
        name = interface.name
        if there.get(name) != interface.mac_address.lower():
            _add_interface(host, spec.amphora_id, interface)
        elif not _is_attached(spec.amphora_id, interface):
            bridge = ensure_bridge(host, interface.attachment, interface.mtu)
            _attach(host, outside_name(spec.amphora_id, name), bridge)


def _list_interfaces(amphora_id: str) -> dict[str, str]:
    """Return the MAC by name of all interfaces in the namespace but loopback."""
    with entered(amphora_id):
        names = [name for index, name in socket.if_nameindex() if index != 1 and name != LIFELINE]
        return {name: read_link(name).mac_address for name in names}


def _delete_inside(amphora_id: str, name: str) -> None:
    with entered(amphora_id), IPRoute() as inside:
        for index in inside.link_lookup(ifname=name):
            with missing_is_fine():
                inside.link("del", index=index)


def _add_interface(host: Any, amphora_id: str, interface: InterfaceSpec) -> None:
    inside = {
        "ifname": interface.name,
        "net_ns_fd": namespace_name(amphora_id),
        "address": interface.mac_address,
        "mtu": interface.mtu,
    }
    if interface.attachment.kind == "macvlan":
        parent = find_device(host, interface.attachment.device)
        host.link("add", kind="macvlan", link=parent, macvlan_mode="bridge", **inside)
        return
    bridge = ensure_bridge(host, interface.attachment, interface.mtu)
    outside = outside_name(amphora_id, interface.name)
    # An end that a crash left without its other end moved would be in the way.
    for index in host.link_lookup(ifname=outside):
        with missing_is_fine():
            host.link("del", index=index)
    host.link("add", ifname=outside, kind="veth", mtu=interface.mtu, peer=inside)
    _attach(host, outside, bridge)


def _attach(host: Any, outside: str, bridge: int) -> None:
    index = host.link_lookup(ifname=outside)[0]
    try:
        host.link("set", index=index, master=bridge, state="up")
    except NetlinkError as error:
        if error.code != errno.EXFULL:
            raise
        sentence = f"A bridge of host {os.uname().nodename} has as many ports as the kernel allows, 1,023."
        raise Transient("host-full", sentence) from error


# Addresses and routes


def _ensure_addresses(inside: Any, interface: InterfaceSpec, *, is_sharing: bool) -> None:
    index = inside.link_lookup(ifname=interface.name)[0]
    there = {
        f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}"
        for address in inside.get_addr(index=index)
        if address["scope"] == 0
    }
    wanted = {str(ipaddress.ip_interface(text)): False for text in interface.addresses}
    wanted |= {str(ipaddress.ip_interface(text)): True for text in interface.vips}
    for text in there - wanted.keys():
        address, _, length = text.partition("/")
        with missing_is_fine():
            inside.addr("del", index=index, address=address, prefixlen=int(length))
    for text, is_vip in wanted.items():
        # keepalived alone puts a shared VIP here, and takes it away.
        if text not in there and not (is_vip and is_sharing):
            add_address(inside, index, text, is_vip=is_vip)
    inside.link("set", index=index, state="up")


def _ensure_routes(inside: Any, interface: InterfaceSpec) -> None:
    index = inside.link_lookup(ifname=interface.name)[0]
    wanted = [("default", gateway) for gateway in interface.gateways]
    wanted += [(route.destination, route.gateway) for route in interface.routes]
    for destination, gateway in wanted:
        if gateway in {text.partition("/")[0] for text in interface.addresses}:
            continue
        family = 10 if ":" in gateway else 2
        try:
            inside.route("replace", dst=destination, gateway=gateway, oif=index, family=family)
        except NetlinkError as error:
            raise Transient("route-refused", f"The route to {destination} over {gateway} cannot be set.") from error
