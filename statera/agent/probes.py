"""One look at one member from inside its amphora's network: does it work?

HAProxy looks at its members itself; the engines that serve datagrams leave it to the agent. What was seen is told in
HAProxy's short words (management guide 9.1, `check_status`), so that statuses read alike.
"""

import asyncio
import os
import socket

import msgspec

from statera.agent import namespace
from statera.model.datagrams import DatagramCheck, DatagramServer
from statera.model.enums import MonitorType
from statera.model.network import endpoint

IP_RECVERR, IPV6_RECVERR = 11, 25
"""linux/in.h and linux/in6.h: without them a socket is not told that a host cannot be reached (ip(7))."""
PAYLOAD = b"\0"
MOST_HEAD_BYTES = 1024
TEXT_LENGTH = 120


class Outcome(msgspec.Struct, frozen=True):
    works: bool
    check: str
    code: int | None = None
    text: str = ""


async def probe(amphora_id: str, check: DatagramCheck, server: DatagramServer) -> Outcome:
    """Look once. Never raises but when it is cancelled."""
    try:
        opened = await asyncio.to_thread(_open, amphora_id, check.type, server.check_address)
    except OSError as error:
        return Outcome(False, "SOCKERR", text=_tell(error))
    with opened:
        try:
            async with asyncio.timeout(check.timeout_ms / 1000):
                return await _look(opened, check, server)
        except TimeoutError:
            if check.type is MonitorType.UDP_CONNECT:
                # Nobody has said that the port is closed: that is all that can be known of a server that keeps silent.
                return Outcome(True, "L4OK")
            return Outcome(False, "L7TOUT" if _is_http(check) else "L4TOUT")
        except OSError as error:
            return Outcome(False, "L4CON", text=_tell(error))


def _open(amphora_id: str, kind: MonitorType, address: str) -> socket.socket:
    is_v6 = ":" in address
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    with namespace.entered(amphora_id):
        if kind is MonitorType.UDP_CONNECT:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            level, option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if is_v6 else (socket.IPPROTO_IP, IP_RECVERR)
            opened.setsockopt(level, option, 1)
        else:
            protocol = socket.IPPROTO_SCTP if kind is MonitorType.SCTP else 0
            opened = socket.socket(family, socket.SOCK_STREAM, protocol)
    opened.setblocking(False)
    return opened


async def _look(opened: socket.socket, check: DatagramCheck, server: DatagramServer) -> Outcome:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(opened, (server.check_address, server.check_port))
    if check.type is MonitorType.UDP_CONNECT:
        await loop.sock_sendall(opened, PAYLOAD)
        await loop.sock_recv(opened, 1)
        return Outcome(True, "L4OK")
    if not _is_http(check):
        return Outcome(True, "L4OK")
    await loop.sock_sendall(opened, _request(check, server))
    head = b""
    while b"\n" not in head and len(head) < MOST_HEAD_BYTES:
        more = await loop.sock_recv(opened, MOST_HEAD_BYTES)
        if not more:
            break
        head += more
    return judge_answer(head, check.expected_codes)


def _is_http(check: DatagramCheck) -> bool:
    return check.type is MonitorType.HTTP


def _request(check: DatagramCheck, server: DatagramServer) -> bytes:
    lines = [f"{check.http_method} {check.url_path} HTTP/{check.http_version}"]
    if check.http_version == "1.1":
        host = check.domain_name or endpoint(server.check_address, server.check_port)
        lines += [f"Host: {host}", "Connection: close"]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii", errors="replace")


def judge_answer(head: bytes, expected: str) -> Outcome:
    """Return what the first line of an HTTP answer says. `expected`: `200`, `200,202` or `200-204`."""
    words = head.split(b"\r\n", 1)[0].split(b"\n", 1)[0].split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or len(words[1]) != 3 or not words[1].isdigit():
        return Outcome(False, "L7RSP")
    code = int(words[1])
    low, dash, high = expected.partition("-")
    is_expected = int(low) <= code <= int(high) if dash else str(code) in expected.split(",")
    return Outcome(True, "L7OK", code) if is_expected else Outcome(False, "L7STS", code)


def _tell(error: OSError) -> str:
    # By its number: asyncio adds words of its own.
    told = os.strerror(error.errno) if error.errno else type(error).__name__
    return told[:TEXT_LENGTH]
