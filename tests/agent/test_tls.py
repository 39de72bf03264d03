"""TLS on a real host: what HAProxy shows and asks for, what it takes while it runs, and where keys are and are not."""

import asyncio
import contextlib
import hashlib
import http.server
import json
import os
import queue
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes

from statera.agent.contents import keep_contents, list_missing
from statera.agent.host import AmphoraHost
from statera.api.listeners import HTTP_HEADERS
from statera.base.errors import Lasting, Transient
from statera.base.secret import Secret
from statera.model.amphora import AppliedConfiguration
from statera.model.certificates import Bundle, read_authorities, read_certificate, read_revocations
from statera.model.document import Document
from statera.model.enums import Algorithm, ClientAuthentication, ListenerProtocol, PoolProtocol
from statera.model.secrets import SecretParts
from statera.model.spec import (
    AmphoraSpec,
    Configuration,
    ListenerSpec,
    ListenerTlsSpec,
    MemberSpec,
    PoolSpec,
    PoolTlsSpec,
)
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from statera.render.tls import CLIENT_HEADERS
from tests.agent.ground import LIMITS, Ground, eventually, means
from tests.fixtures.certificates import Issued, make_authority

pytestmark = pytest.mark.root

ROOT = make_authority()
MIDDLE = ROOT.issue("Middle", is_authority=True)
WWW, SHOP = MIDDLE.issue("www.test"), MIDDLE.issue("shop.test", kind="rsa")
STAFF = make_authority("Staff")
CIPHERS = "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"


def whole(payload: bytes) -> SecretParts:
    return SecretParts(payload=Secret(payload))


def bundle_of(issued: Issued) -> Bundle:
    return read_certificate(whole(issued.bundle_pem), "x", needs_names=False)


class Wanted:
    """A listener that ends TLS, with what its files hold."""

    def __init__(self, *certificates: Issued) -> None:
        self.bundles = [bundle_of(one) for one in certificates]
        self.listener: dict[str, Any] = {"certificates": tuple(bundle.digest for bundle in self.bundles)}
        self.pool: dict[str, Any] | None = None
        self.headers: tuple[str, ...] = ()
        self.listener_protocol, self.pool_protocol = ListenerProtocol.TERMINATED_HTTPS, PoolProtocol.HTTP

    def add(self, bundle: Bundle) -> str:
        self.bundles.append(bundle)
        return bundle.digest

    def ask_clients(self, mode: ClientAuthentication, authority: Issued, revocations: bytes | None = None) -> None:
        self.listener["client_authentication"] = mode
        self.listener["authorities"] = self.add(read_authorities(whole(authority.pem), "x"))
        if revocations is not None:
            self.listener["revocations"] = self.add(read_revocations(whole(revocations), "x"))

    def document(self, ground: Ground, port: int) -> Document:
        terms = {"versions": ("TLSv1.2", "TLSv1.3"), "ciphers": CIPHERS}
        listener = ListenerSpec(
            id=ground.listener_id,
            protocol=self.listener_protocol,
            port=443,
            addresses=(ground.vip, ground.vip6),
            max_connections=500,
            timeout_client_ms=5000,
            timeout_connect_ms=5000,
            timeout_server_ms=5000,
            insert_headers=self.headers,
            pool_id=ground.pool_id if self.listener_protocol != ListenerProtocol.PROMETHEUS else None,
            tls=ListenerTlsSpec(**(terms | {"alpn_protocols": ("h2", "http/1.1")} | self.listener)),
        )
        pool = PoolSpec(
            id=ground.pool_id,
            protocol=self.pool_protocol,
            algorithm=Algorithm.ROUND_ROBIN,
            members=(MemberSpec(id=ground.member_ids[0], address=ground.gateway, port=port, weight=1),),
            tls=PoolTlsSpec(**(terms | self.pool)) if self.pool is not None else None,
        )
        spec = AmphoraSpec(
            amphora_id=ground.amphora_id,
            load_balancer_id=ground.load_balancer_id,
            limits=LIMITS,
            listeners=(listener,),
            pools=(pool,),
        )
        return render_haproxy(spec, haproxy_capabilities("2.6.12"), SANDBOX_PATHS)

    def configuration(self, ground: Ground, port: int, generation: int) -> Configuration:
        contents = {bundle.digest: bundle.content for bundle in self.bundles}
        document = self.document(ground, port)
        return Configuration(generation=generation, epoch=1, haproxy=document, contents=contents)


class Stage:
    """A sandbox with a web server behind it, asked with curl."""

    def __init__(self, host: AmphoraHost, ground: Ground, port: int, folder: Path) -> None:
        self.host, self.ground, self.port, self.folder = host, ground, port, folder
        self._generation = 0
        (folder / "root.pem").write_bytes(ROOT.pem)

    async def apply(self, wanted: Wanted) -> AppliedConfiguration:
        self._generation += 1
        configuration = wanted.configuration(self.ground, self.port, self._generation)
        return await self.host.apply(self.ground.amphora_id, configuration)

    @property
    def sandbox(self) -> Any:
        return self.host.find(self.ground.amphora_id)

    async def curl(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [
            "curl", "-sS", "--max-time", "5", "--noproxy", "*", "--cacert", str(self.folder / "root.pem"),
            "--resolve", f"{name}:443:{self.ground.vip}", *words, f"https://{name}/",
        ]  # fmt: skip
        return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    async def fetch(self, name: str, *words: str) -> Any:
        """Return what the member was told, or what curl says."""
        done = await self.curl(name, *words)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.startswith("{") else done.stderr

    async def peer(self, name: str) -> bytes:
        """Return the certificate that is shown for a name, in DER."""

        def look() -> bytes:
            context = ssl.create_default_context(cadata=ROOT.pem.decode())
            context.check_hostname = False
            with (
                socket.create_connection((self.ground.vip, 443), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=name) as secure,
            ):
                return secure.getpeercert(binary_form=True) or b""

        return await asyncio.to_thread(look)

    async def visit(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
        """Ask once, with a session of an earlier visit; return the one to come back with. Raises `OSError`."""

        def ask() -> ssl.SSLSession | None:
            with (
                socket.create_connection((self.ground.vip, 443), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="www.test", session=session) as secure,
            ):
                secure.sendall(b"GET / HTTP/1.1\r\nHost: www.test\r\n\r\n")
                if secure.recv(1000).split()[1:2] != [b"200"]:
                    raise ConnectionError("no answer")
                return secure.session

        return await asyncio.to_thread(ask)

    def paper(self, name: str, issued: Issued) -> list[str]:
        """Return the words with which curl shows a certificate."""
        path = self.folder / f"{name}.pem"
        path.write_bytes(issued.bundle_pem)
        return ["--cert", str(path)]


class _Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: a handshake that fails is what some tests are about."""


@contextlib.contextmanager
def echo_server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on all addresses of the host, answering with the request's headers; give the port."""
    server = _Server(("0.0.0.0", 0), _Echo)
    if context is not None:
        # The handshake belongs to the thread of the request: one that does not come must not hold the others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
async def stage(host: AmphoraHost, ground: Ground, tmp_path: Path) -> Any:
    with echo_server() as port:
        await host.ensure(ground.request())
        yield Stage(host, ground, port, tmp_path)


async def test_certificates_by_name_and_the_default_one(stage: Stage) -> None:
    wanted = Wanted(WWW, SHOP)
    wanted.headers = ("X-Forwarded-Proto",)
    wanted.listener["hsts"] = "max-age=60;"
    await stage.apply(wanted)
    for name in ("www.test", "shop.test"):
        assert (await stage.fetch(name))["x-forwarded-proto"] == "https"
    assert await stage.peer("other.test") == ssl.PEM_cert_to_DER_cert(WWW.pem.decode())
    assert await stage.peer("shop.test") == ssl.PEM_cert_to_DER_cert(SHOP.pem.decode())
    shown = await stage.curl("www.test", "-D", "-", "-o", "/dev/null")
    assert "strict-transport-security: max-age=60;" in shown.stdout.lower()


@pytest.mark.parametrize(
    ("alpn", "version"), [(("h2", "http/1.1"), "2"), (("http/1.1",), "1"), (("http/1.1", "h2"), "1")]
)
async def test_protocols(stage: Stage, alpn: tuple[str, ...], version: str) -> None:
    wanted = Wanted(WWW)
    wanted.listener["alpn_protocols"] = alpn
    await stage.apply(wanted)
    done = await stage.curl("www.test", "--http2", "-o", "/dev/null", "-w", "%{http_version}")
    assert done.stdout == version, done.stderr


async def test_versions_and_ciphers(stage: Stage) -> None:
    wanted = Wanted(WWW)
    wanted.listener |= {"versions": ("TLSv1.3",)}
    await stage.apply(wanted)
    assert (await stage.curl("www.test", "--tls-max", "1.2")).returncode != 0
    assert (await stage.curl("www.test", "--tlsv1.3")).returncode == 0
    wanted.listener |= {"versions": ("TLSv1.2", "TLSv1.3"), "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"}
    await stage.apply(wanted)
    weak = await stage.curl("www.test", "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256")
    assert weak.returncode != 0
    strong = await stage.curl("www.test", "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384")
    assert strong.returncode == 0, strong.stderr


@pytest.mark.parametrize("mode", [ClientAuthentication.MANDATORY, ClientAuthentication.OPTIONAL])
async def test_clients_show_certificates(stage: Stage, mode: ClientAuthentication) -> None:
    ann, fired, stranger = STAFF.issue("ann"), STAFF.issue("fired"), ROOT.issue("stranger")
    wanted = Wanted(WWW)
    wanted.headers = ("X-SSL-Client-CN", "X-SSL-Client-Has-Cert", "X-SSL-Client-Verify", "X-SSL-Issuer")
    wanted.ask_clients(mode, STAFF, STAFF.revoke(fired))
    await stage.apply(wanted)
    told = await stage.fetch("www.test", *stage.paper("ann", ann))
    assert told["x-ssl-client-cn"] == "ann"
    assert (told["x-ssl-client-has-cert"], told["x-ssl-client-verify"]) == ("1", "0")
    assert "Staff" in told["x-ssl-issuer"]
    for name, issued in (("fired", fired), ("stranger", stranger)):
        assert isinstance(await stage.fetch("www.test", *stage.paper(name, issued)), str)
    nothing = await stage.fetch("www.test", "-H", "X-SSL-Client-CN: forged")
    if mode == ClientAuthentication.MANDATORY:
        assert isinstance(nothing, str)
    else:
        assert (nothing["x-ssl-client-has-cert"], nothing["x-ssl-client-cn"]) == ("0", "")


async def test_members_are_told_all_of_a_client(stage: Stage) -> None:
    ann = STAFF.issue("ann")
    wanted = Wanted(WWW)
    wanted.headers = (*HTTP_HEADERS, *CLIENT_HEADERS)
    wanted.ask_clients(ClientAuthentication.OPTIONAL, STAFF)
    await stage.apply(wanted)
    here, digest = stage.ground.gateway, ann.certificate.fingerprint(hashes.SHA1()).hex().upper()
    addresses = {"x-forwarded-for": here, "x-forwarded-ip": here, "x-client-ip": here, "x-real-ip": here}
    begins, ends = (
        moment.strftime("%y%m%d%H%M%SZ")
        for moment in (ann.certificate.not_valid_before_utc, ann.certificate.not_valid_after_utc)
    )
    expected = addresses | {
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
        "x-ssl-client-verify": "0",
        "x-ssl-client-has-cert": "1",
        "x-ssl-client-dn": "/CN=ann",
        "x-ssl-client-cn": "ann",
        "x-ssl-issuer": "/CN=Staff",
        "x-ssl-client-sha1": digest,
        "x-ssl-client-not-before": begins,
        "x-ssl-client-not-after": ends,
    }
    # What a client says of itself in the same headers gets nowhere; X-Forwarded-For is a list, in which ours is last.
    forged = [word for name in expected if name != "x-forwarded-for" for word in ("-H", f"{name}: forged")]
    told = await stage.fetch("www.test", *stage.paper("ann", ann), *forged)
    assert {name: value.strip('"') for name, value in told.items() if name in expected} == expected


async def test_members_are_told_the_clients_name_before_the_connection(stage: Stage) -> None:
    told: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    class Member(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = self.rfile.read(16)
            told.put(head + self.rfile.read(int.from_bytes(head[14:16])))
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    wanted = Wanted(WWW)
    wanted.pool_protocol = PoolProtocol.PROXYV2
    wanted.ask_clients(ClientAuthentication.MANDATORY, STAFF)
    with socketserver.ThreadingTCPServer(("0.0.0.0", 0), Member) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            stage.port = server.server_address[1]
            await stage.apply(wanted)
            done = await stage.curl("www.test", *stage.paper("ann", STAFF.issue("ann")))
        finally:
            server.shutdown()
            thread.join()
    assert done.stdout == "ok", done.stderr
    header = told.get(timeout=5)
    assert header.startswith(b"\r\n\r\n\x00\r\nQUIT\n\x21")
    # PP2_SUBTYPE_SSL_CN, two bytes of length, the name (PROXY protocol 2.2.6).
    assert b"\x22\x00\x03ann" in header


async def test_metrics_are_told_over_tls_to_those_who_may(stage: Stage) -> None:
    wanted = Wanted(WWW)
    wanted.listener_protocol = ListenerProtocol.PROMETHEUS
    wanted.ask_clients(ClientAuthentication.MANDATORY, STAFF)
    await stage.apply(wanted)
    assert (await stage.curl("www.test", "--request-target", "/metrics")).returncode != 0
    paper = stage.paper("ann", STAFF.issue("ann"))
    done = await stage.curl("www.test", "--http2", "--request-target", "/metrics", *paper)
    assert f'octavia_listener_status{{listener="{stage.ground.listener_id}",state="UP"}} 1' in done.stdout, done.stderr


async def test_clients_are_not_asked_for_certificates(stage: Stage) -> None:
    wanted = Wanted(WWW)
    wanted.headers = ("X-SSL-Client-Has-Cert",)
    await stage.apply(wanted)
    # They may have one; nobody asks for it.
    told = await stage.fetch("www.test", *stage.paper("ann", STAFF.issue("ann")))
    assert told["x-ssl-client-has-cert"] == "0"


async def test_certificates_are_replaced_without_a_reload(stage: Stage) -> None:
    await stage.apply(Wanted(WWW, SHOP))
    before = await workers(stage)
    renewed = MIDDLE.issue("www.test", kind="rsa")
    assert means(await stage.apply(Wanted(renewed, SHOP))) == "runtime"
    assert await stage.peer("www.test") == ssl.PEM_cert_to_DER_cert(renewed.pem.decode())
    assert await stage.peer("unknown.test") == ssl.PEM_cert_to_DER_cert(renewed.pem.decode())
    assert (await stage.curl("shop.test")).returncode == 0
    mail = MIDDLE.issue("mail.test")
    assert means(await stage.apply(Wanted(renewed, SHOP, mail))) == "runtime"
    assert await stage.peer("mail.test") == ssl.PEM_cert_to_DER_cert(mail.pem.decode())
    assert means(await stage.apply(Wanted(renewed, mail))) == "runtime"
    assert await stage.peer("mail.test") == ssl.PEM_cert_to_DER_cert(mail.pem.decode())
    assert await stage.peer("shop.test") == ssl.PEM_cert_to_DER_cert(renewed.pem.decode())
    assert await workers(stage) == before
    assert len(list_keys(stage)) == 2
    # What runs is what the files say: a HAProxy that starts anew shows the same.
    os.kill(stage.sandbox.engine.find_pid(), signal.SIGKILL)

    async def is_back() -> bool:
        return stage.sandbox.is_running and (await stage.curl("mail.test")).returncode == 0

    await eventually(is_back, "HAProxy")
    assert await stage.peer("mail.test") == ssl.PEM_cert_to_DER_cert(mail.pem.decode())


async def test_authorities_and_revocations_are_replaced_without_a_reload(stage: Stage) -> None:
    ann = STAFF.issue("ann")
    paper, first = stage.paper("ann", ann), True
    for revoked, is_let_in in (((), True), ((ann,), False), ((), True)):
        wanted = Wanted(WWW)
        wanted.ask_clients(ClientAuthentication.MANDATORY, STAFF, STAFF.revoke(*revoked))
        applied = await stage.apply(wanted)
        assert ((await stage.curl("www.test", *paper)).returncode == 0) == is_let_in
        assert means(applied) == ("reload" if not revoked and first else "runtime")
        first = False
    other = make_authority("Other")
    wanted = Wanted(WWW)
    wanted.ask_clients(ClientAuthentication.MANDATORY, other, other.revoke())
    assert means(await stage.apply(wanted)) == "runtime"
    assert (await stage.curl("www.test", *paper)).returncode != 0
    assert (await stage.curl("www.test", *stage.paper("bob", other.issue("bob")))).returncode == 0


@pytest.mark.parametrize(
    ("version", "options"),
    [
        (ssl.TLSVersion.TLSv1_2, ssl.Options(0)),
        (ssl.TLSVersion.TLSv1_2, ssl.OP_NO_TICKET),
        (ssl.TLSVersion.TLSv1_3, ssl.Options(0)),
    ],
)
async def test_whoever_is_revoked_does_not_come_back_with_an_old_session(
    stage: Stage, version: ssl.TLSVersion, options: ssl.Options
) -> None:
    ann = STAFF.issue("ann")
    context = ssl.create_default_context(cadata=ROOT.pem.decode())
    context.load_cert_chain(stage.paper("ann", ann)[1])
    context.minimum_version = context.maximum_version = version
    context.options |= options
    wanted = Wanted(WWW)
    wanted.ask_clients(ClientAuthentication.OPTIONAL, STAFF, STAFF.revoke())
    await stage.apply(wanted)
    session = await stage.visit(context)
    await stage.visit(context, session)
    wanted = Wanted(WWW)
    wanted.ask_clients(ClientAuthentication.OPTIONAL, STAFF, STAFF.revoke(ann))
    assert means(await stage.apply(wanted)) == "runtime"
    with pytest.raises(OSError, match="revoked"):
        await stage.visit(context, session)


async def test_a_content_too_long_for_the_socket_is_reloaded(stage: Stage) -> None:
    wanted = Wanted(WWW)
    wanted.ask_clients(ClientAuthentication.MANDATORY, STAFF, STAFF.revoke())
    await stage.apply(wanted)
    crowd = b"".join(make_authority(f"Authority {number}").pem for number in range(40)) + STAFF.pem
    wanted = Wanted(WWW)
    wanted.ask_clients(ClientAuthentication.MANDATORY, STAFF, STAFF.revoke())
    wanted.listener["authorities"] = wanted.add(read_authorities(whole(crowd), "x"))
    assert means(await stage.apply(wanted)) == "reload"
    assert (await stage.curl("www.test", *stage.paper("ann", STAFF.issue("ann")))).returncode == 0


async def test_after_a_reboot_keys_are_asked_for(stage: Stage) -> None:
    await stage.apply(Wanted(WWW))
    sandbox = stage.sandbox
    keys = (sandbox.folders.run / "keys").resolve()
    # As a reboot leaves it: no process, nothing in memory, the record on the disk.
    shutil.rmtree(keys)
    keys.mkdir()
    os.kill(sandbox.engine.find_pid(), signal.SIGKILL)

    async def is_waiting() -> bool:
        return sandbox.reason is not None and sandbox.reason.slug == "certificates-awaited"

    await eventually(is_waiting, "the question for keys")
    seen = sandbox.observe()
    assert (seen.haproxy_running, seen.configuration_digest) == (False, "")
    assert means(await stage.apply(Wanted(WWW))) == "reload"
    assert (await stage.curl("www.test")).returncode == 0
    assert sandbox.observe().configuration_digest == Wanted(WWW).document(stage.ground, stage.port).digest()


async def test_what_is_refused_leaves_the_old_certificates(stage: Stage) -> None:
    await stage.apply(Wanted(WWW))
    bad = Wanted(WWW)
    content = b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"
    bundle = Bundle(content=Secret(content), digest=hashlib.sha256(content).hexdigest())
    bad.listener["certificates"] = (bad.add(bundle),)
    with pytest.raises(Lasting, match="HAProxy rejects the configuration") as told:
        await stage.apply(bad)
    assert told.value.reason.slug == "configuration-rejected"
    assert (await stage.curl("www.test")).returncode == 0
    assert len(list_keys(stage)) == 1
    missing = Wanted(WWW, SHOP)
    missing.bundles.pop()
    with pytest.raises(Transient) as awaited:
        await stage.apply(missing)
    assert awaited.value.reason.slug == "certificates-awaited"
    assert (await stage.curl("www.test")).returncode == 0


async def test_members_are_spoken_to_with_tls(host: AmphoraHost, ground: Ground, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "member.pem").write_bytes(ROOT.issue("member.test").bundle_pem)
    (tmp_path / "staff.pem").write_bytes(STAFF.pem)
    context.load_cert_chain(tmp_path / "member.pem")
    context.load_verify_locations(tmp_path / "staff.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    us, stranger = STAFF.issue("us"), ROOT.issue("us")
    with echo_server(context) as port:
        await host.ensure(ground.request())
        stage = Stage(host, ground, port, tmp_path)
        for shown, authority, is_served in (
            (us, ROOT, True),
            (us, None, True),
            (us, STAFF, False),
            (stranger, ROOT, False),
        ):
            wanted = Wanted(WWW)
            wanted.pool = {"certificate": wanted.add(bundle_of(shown))}
            if authority is not None:
                wanted.pool["authorities"] = wanted.add(read_authorities(whole(authority.pem), "x"))
            await stage.apply(wanted)
            done = await stage.curl("www.test", "-o", "/dev/null", "-w", "%{http_code}")
            assert (done.stdout == "200") == is_served, done.stderr


@pytest.mark.parametrize("shown", [None, STAFF.issue("us")])
async def test_members_are_verified_by_what_counts_now(
    host: AmphoraHost, ground: Ground, tmp_path: Path, shown: Issued | None
) -> None:
    """For servers without a certificate HAProxy takes other CA certificates, says so, and does not use them."""
    context, member = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ROOT.issue("member.test")
    (tmp_path / "member.pem").write_bytes(member.bundle_pem)
    context.load_cert_chain(tmp_path / "member.pem")
    with echo_server(context) as port:
        await host.ensure(ground.request())
        stage = Stage(host, ground, port, tmp_path)
        for number, (authority, revoked, is_served) in enumerate(
            ((ROOT, (), True), (STAFF, (), False), (ROOT, (), True), (ROOT, (member,), False), (ROOT, (), True))
        ):
            wanted = Wanted(WWW)
            wanted.pool = {} if shown is None else {"certificate": wanted.add(bundle_of(shown))}
            wanted.pool["authorities"] = wanted.add(read_authorities(whole(authority.pem), "x"))
            wanted.pool["revocations"] = wanted.add(read_revocations(whole(authority.revoke(*revoked)), "x"))
            applied = await stage.apply(wanted)
            assert means(applied) == ("runtime" if shown is not None and number else "reload")
            done = await stage.curl("www.test", "-o", "/dev/null", "-w", "%{http_code}")
            assert (done.stdout == "200") == is_served, (number, done.stderr)


async def test_keys_are_in_memory_only(stage: Stage) -> None:
    await stage.apply(Wanted(WWW))
    await stage.apply(Wanted(MIDDLE.issue("www.test"), SHOP))
    bad = Wanted(SHOP)
    bad.listener["ciphers"] = "NONE"
    with contextlib.suppress(Lasting):
        await stage.apply(bad)
    found = await asyncio.to_thread(find_keys, stage, [WWW, SHOP])
    assert found == []
    for path in list_keys(stage):
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.stat().st_uid == 0
    folder = (stage.sandbox.folders.run / "keys").resolve()
    assert folder.stat().st_mode & 0o777 == 0o750
    await stage.host.remove(stage.ground.amphora_id, 1)
    assert not folder.exists()


async def test_a_plan_is_judged_beside_edits_and_leaves_no_key(stage: Stage) -> None:
    await stage.apply(Wanted(WWW))
    live, before = stage.sandbox.folders, {path.name for path in list_keys(stage)}
    planned = Wanted(WWW, SHOP).configuration(stage.ground, stage.port, 2)
    assert planned.haproxy is not None
    user = stage.sandbox.engine.launch.user
    with live.beside(user) as beside:
        keep_contents(beside.run, planned.contents, user.group_id)
        # An edit that comes live meanwhile, and takes another certificate.
        await stage.apply(Wanted(MIDDLE.issue("www.test")))
        assert list_missing(beside.run, planned.haproxy) == []
    await stage.apply(Wanted(WWW))
    verdict = await stage.host.check(stage.ground.amphora_id, planned)
    assert verdict.accepted, verdict.words
    assert {path.name for path in list_keys(stage)} == before
    assert list(live.run.parent.glob("check-*")) == []


def find_keys(stage: Stage, issued: Sequence[Issued]) -> list[str]:
    """Name every place where a line of a key is that must not be there: the disk, and what `ps` shows."""
    lines = [line for one in issued for line in one.key_pem().splitlines()[1:-1] if len(line) > 40]
    places = [path for path in stage.ground.folder.rglob("*") if path.is_file()]
    memory = [(stage.sandbox.folders.run / "keys").resolve()]
    places += [
        path
        for path in stage.ground.run_dir.rglob("*")
        if path.is_file() and not any(path.resolve().is_relative_to(one) for one in memory)
    ]
    for kind in ("cmdline", "environ"):
        places += list(Path("/proc").glob(f"[0-9]*/{kind}"))
    found = []
    for path in places:
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            if any(line in content for line in lines):
                found.append(str(path))
    return found


def list_keys(stage: Stage) -> list[Path]:
    return list((stage.sandbox.folders.run / "keys").resolve().iterdir())


async def workers(stage: Stage) -> Any:
    """Return what tells HAProxy's processes apart."""
    return await stage.sandbox.engine._look_patiently()


def test_a_document_holds_no_key(ground: Ground) -> None:
    wanted = Wanted(WWW)
    encoded = msgspec.json.encode(wanted.document(ground, 80))
    assert b"PRIVATE" not in encoded
    assert wanted.bundles[0].digest.encode() in encoded
    assert "PRIVATE" not in repr(wanted.configuration(ground, 80, 1))
