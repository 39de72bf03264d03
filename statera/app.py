"""The only place that wires concrete drivers into rooms. Each `run_` is the main coroutine of one process.

Rooms are imported inside the functions: a process loads only what it runs, which is what keeps all of them together
within their memory budget, and lets the agent ship without the store.
"""

import asyncio
import ipaddress
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from statera.base.clock import SystemClock
from statera.base.errors import Lasting, StateraError
from statera.base.garbage import spare_lasting_objects
from statera.base.listening import open_port
from statera.base.logging import get_logger
from statera.base.reason import Reason
from statera.base.settings import BadSettings, HostSettings, Settings

if TYPE_CHECKING:
    from statera.drivers.compute_local import LocalCompute
    from statera.drivers.compute_noop import NoopCompute
    from statera.drivers.identity_keystone import KeystoneTokens
    from statera.drivers.network_local import LocalNetwork
    from statera.drivers.pki_local import LocalAuthority
    from statera.drivers.postgres_embedded import EmbeddedPostgres
    from statera.drivers.secrets_barbican import BarbicanSecrets
    from statera.drivers.secrets_local import LocalSecrets, SealingKeys
    from statera.drivers.secrets_noop import NoopSecrets
    from statera.model.amphora import Host
    from statera.model.own_certificates import CertificateEnd, CertificateUnusable
    from statera.store.engine import Store

log = get_logger("app")


def open_embedded_postgres(settings: Settings, guest: str = "") -> "EmbeddedPostgres":
    """Return the private PostgreSQL of this data directory, not started; `guest`: a system user it lets in, too."""
    from statera.drivers.postgres_embedded import EmbeddedPostgres

    return EmbeddedPostgres(
        data_dir=Path(settings.data_dir) / "postgres",
        run_dir=Path(settings.run_dir) / "pg",
        os_user=settings.database.os_user,
        bin_dir=settings.database.bin_dir,
        guest=guest,
    )


def find_database_url(settings: Settings) -> str:
    """Return the configured database, else the private one's."""
    return settings.database.url.reveal() or open_embedded_postgres(settings).url


def open_store(settings: Settings) -> "Store":
    """Return the store of this deployment; it connects when first used."""
    from statera.store.engine import Store

    options = settings.database
    return Store(
        find_database_url(settings),
        pool_size=options.pool_size,
        pooled=options.pooled,
        direct_url=options.direct_url.reveal(),
    )


def check_settings(settings: Settings) -> None:
    """Look at what types and ranges alone cannot tell: drivers, networks, identity, policy.

    Raises `BadSettings` naming the option.
    """
    from statera.api.identity import make_identity
    from statera.api.policy_file import load_policy
    from statera.drivers.network_local import networks_from_settings

    _check_drivers(settings)
    _check_proxies(settings)
    networks_from_settings(settings.networks)
    _check_spares(settings)
    make_identity(settings.identity, open_tokens(settings))
    load_policy(settings.identity)


def _check_drivers(settings: Settings) -> None:
    if settings.network.driver == "noop" and has_agents(settings):
        raise BadSettings("Option network.driver is `noop`: then compute.driver must be `noop`, too.")


def _check_proxies(settings: Settings) -> None:
    for text in settings.api.trusted_proxies:
        try:
            ipaddress.ip_network(text)
        except ValueError:
            sentence = f"Option api.trusted_proxies is wrong: {text!r} is no address and no network."
            raise BadSettings(sentence) from None


def _check_spares(settings: Settings) -> None:
    name = settings.compute.spares_network
    if name and all(name != network.name for network in settings.networks):
        raise BadSettings(f"Option compute.spares_network names no network of `networks`: {name}.")


def upgrade_database(settings: Settings) -> str:
    """Bring the schema to this version and return a sentence that says so."""
    from statera.store.migrate import upgrade

    revision = upgrade(find_database_url(settings))
    return f"The database is at revision {revision}."


def list_hosts(settings: Settings) -> tuple[HostSettings, ...]:
    """Return the hosts that run agents: the configured ones, else the one of `statera up`."""
    url = f"https://{settings.agent.host}:{settings.agent.port}"
    own = HostSettings(name=settings.agent.name, url=url, zone=settings.agent.zone)
    return settings.compute.hosts or (own,)


def list_heartbeat_targets(settings: Settings) -> tuple[str, ...]:
    """Return `host:port` of the health processes that agents report to."""
    return settings.agent.heartbeat_targets or (f"{settings.health.host}:{settings.health.port}",)


def pki_dir(settings: Settings) -> Path:
    """Return the folder of Statera's own certificates."""
    return Path(settings.data_dir) / "pki"


def open_authority(settings: Settings) -> "LocalAuthority":
    """Return Statera's own certificate authority."""
    from statera.drivers.pki_local import LocalAuthority

    options = settings.certificates
    return LocalAuthority(
        pki_dir(settings), lifetime_s=options.lifetime_s, authority_lifetime_s=options.authority_lifetime_s
    )


def ensure_certificates(settings: Settings) -> None:
    """Make or renew the certificates of the controllers and of every host."""
    if not has_agents(settings):
        return
    hosts = [host.name for host in list_hosts(settings)]
    open_authority(settings).ensure(hosts, SystemClock().now())


def renew_certificates(settings: Settings) -> None:
    """Renew what has become due while no process ran, where the authority's key is."""
    if (pki_dir(settings) / "ca.key").exists() and open_authority(settings).can_sign:
        ensure_certificates(settings)


def open_network(settings: Settings, store: "Store") -> "LocalNetwork":
    """Return the network driver. Raises `BadSettings` naming the option."""
    from statera.drivers.network_local import LocalNetwork, networks_from_settings
    from statera.drivers.network_noop import NoopNetwork
    from statera.store.addresses import StoredAddressBook

    _check_drivers(settings)
    driver = NoopNetwork if settings.network.driver == "noop" else LocalNetwork
    return driver(networks_from_settings(settings.networks), StoredAddressBook(store))


def open_sealing_keys(settings: Settings) -> "SealingKeys":
    """Return the keys that seal tenants' secrets; they lie outside the database."""
    from statera.drivers.secrets_local import SealingKeys

    return SealingKeys(Path(settings.secrets.key_file or Path(settings.data_dir) / "secrets.key"))


def ensure_sealing_key(settings: Settings) -> None:
    """Make the key that seals tenants' secrets when there is none."""
    if settings.secrets.driver == "local":
        open_sealing_keys(settings).ensure()


def open_keeper(settings: Settings, store: "Store") -> "LocalSecrets | None":
    """Return Statera's own store of secrets, None when another one is configured."""
    from statera.drivers.secrets_local import LocalSecrets
    from statera.store.secrets import StoredSecretBook

    if settings.secrets.driver != "local":
        return None
    return LocalSecrets(StoredSecretBook(store), open_sealing_keys(settings))


def open_secrets(settings: Settings, store: "Store") -> "LocalSecrets | BarbicanSecrets | NoopSecrets":
    """Return the store of tenants' secrets. Raises `BadSettings` naming the option."""
    keeper = open_keeper(settings, store)
    if keeper is not None:
        return keeper
    if settings.secrets.driver == "noop":
        from statera.drivers.secrets_noop import NoopSecrets

        if settings.compute.driver != "noop":
            raise BadSettings("Option secrets.driver is `noop`: then compute.driver must be `noop`, too.")
        return NoopSecrets(SystemClock())
    from statera.drivers.secrets_barbican import BarbicanSecrets

    return BarbicanSecrets(settings.secrets, settings.identity.keystone, SystemClock())


def has_agents(settings: Settings) -> bool:
    """Say whether this deployment builds anything: then it has agents, heartbeats and certificates."""
    return settings.compute.driver != "noop"


def open_compute(settings: Settings) -> "LocalCompute | NoopCompute":
    """Return the compute driver. Raises `Lasting` when the controller's certificate is missing."""
    if not has_agents(settings):
        from statera.drivers.compute_noop import NoopCompute

        return NoopCompute([host.name for host in list_hosts(settings)])
    from statera.base.credentials import LiveContext, make_client_context
    from statera.drivers.compute_local import LocalCompute

    files = open_authority(settings).find_controller()
    if not files.certificate.exists():
        sentence = f"There is no certificate {files.certificate}. `statera up` makes it; copy it to other controllers."
        raise Lasting("certificate-missing", sentence)
    trust = LiveContext(files, make_client_context)
    return LocalCompute(list_hosts(settings), trust, settings.compute.agent_timeout_s)


def open_compute_for_plans(settings: Settings) -> "LocalCompute | NoopCompute | None":
    """Return the compute driver for an API process, None when it has no certificate to ask hosts with."""
    try:
        return open_compute(settings)
    except Lasting as error:
        log.warning("the API answers no plans", slug=error.reason.slug, sentence=error.sentence)
        return None


def open_tokens(settings: Settings) -> "KeystoneTokens | None":
    """Return what checks the tokens of callers, None where nobody has any. Raises `BadSettings` naming the option."""
    if settings.identity.mode != "keystone":
        return None
    try:
        from statera.drivers.identity_keystone import KeystoneTokens
    except ImportError as error:
        sentence = f"Option identity.mode is `keystone`, which needs {error.name}: install `statera[keystone]`."
        raise BadSettings(sentence) from error
    return KeystoneTokens(settings.identity.keystone, SystemClock())


# Processes


async def run_api(settings: Settings) -> None:
    """Serve the API until a signal."""
    from statera.api.application import create_application
    from statera.api.proxies import Proxies
    from statera.base.serving import end_server, make_server
    from statera.control.forecast import Forecaster
    from statera.control.surroundings import Surroundings

    store, tokens, compute = open_store(settings), open_tokens(settings), open_compute_for_plans(settings)
    network, secrets, clock = open_network(settings, store), open_secrets(settings, store), SystemClock()
    forecaster = None
    if compute is not None:
        around = Surroundings(
            store=store, network=network, compute=compute, settings=settings, clock=clock, secrets=secrets
        )
        forecaster = Forecaster(around)
    application = create_application(
        store=store,
        network=network,
        settings=settings,
        clock=clock,
        tokens=tokens,
        secrets=secrets,
        keeper=open_keeper(settings, store),
        forecaster=forecaster,
    )
    entry = Proxies(application, settings.api.trusted_proxies)
    server = make_server(entry, stop_within_s=5, proxy_headers=False)
    listening = open_port(settings.api.host, settings.api.port, "api", is_shared=settings.api.processes > 1)
    log.info("api listens", host=settings.api.host, port=settings.api.port)
    stop = _stop_on_signals()
    spare_lasting_objects()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        await end_server(server)
        await serving
    finally:
        stopping.cancel()
        listening.close()
        if tokens is not None:
            await tokens.close()
        if compute is not None:
            await compute.close()
        await secrets.close()
        await store.close()


async def run_worker(settings: Settings) -> None:
    """Reconcile until a signal."""
    from statera.control.surroundings import Surroundings
    from statera.control.worker import run_control

    renew_certificates(settings)
    store, compute = open_store(settings), open_compute(settings)
    secrets, stop = open_secrets(settings, store), _stop_on_signals()
    keeping = asyncio.create_task(_keep_certificates(settings, compute, store, stop))
    around = Surroundings(
        store=store,
        network=open_network(settings, store),
        compute=compute,
        settings=settings,
        clock=SystemClock(),
        secrets=secrets,
    )
    spare_lasting_objects()
    try:
        await run_control(around, stop)
    finally:
        keeping.cancel()
        await secrets.close()
        await compute.close()
        await store.close()


async def _keep_certificates(
    settings: Settings, compute: "LocalCompute | NoopCompute", store: "Store", stop: asyncio.Event
) -> None:
    from statera.control.own_certificates import CertificateKeeper
    from statera.drivers.compute_local import LocalCompute
    from statera.store.keepers import note_keeper

    async def tell(next_s: float, reason: Reason | None) -> None:
        await note_keeper(store, _name_machine(), next_s=next_s, reason=reason)

    if isinstance(compute, LocalCompute):
        keeper = CertificateKeeper(
            open_authority(settings),
            compute,
            [host.name for host in list_hosts(settings)],
            SystemClock(),
            lock=pki_dir(settings) / "keeper.lock",
            lifetime_s=settings.certificates.lifetime_s,
            tell=tell,
        )
        await keeper.run(stop)


def _name_machine() -> str:
    try:
        number = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        number = ""
    return f"{socket.gethostname()} {number[:8]}".strip()


async def run_health(settings: Settings) -> None:
    """Receive heartbeats until a signal."""
    from statera.health.service import run_health as run

    store = open_store(settings)
    spare_lasting_objects()
    try:
        await run(store, settings, SystemClock(), _stop_on_signals())
    finally:
        await store.close()


async def run_agent(settings: Settings) -> None:
    """Build and watch amphorae until a signal. Raises `Lasting` when this host has no certificate."""
    from statera.agent.backlog import raise_backlog
    from statera.agent.capacity import raise_descriptors
    from statera.agent.neighbour_tables import raise_tables
    from statera.agent.server import run_agent as run

    raise_descriptors()
    raise_tables(settings.agent.amphora_limit)
    raise_backlog(settings.agent.amphora_limit)
    renew_certificates(settings)
    files = open_authority(settings).find_agent(settings.agent.name)
    if not files.certificate.exists():
        sentence = f"There is no certificate {files.certificate}. A controller makes it; copy it to this host."
        raise Lasting("certificate-missing", sentence)
    spare_lasting_objects()
    await run(settings, files, list_heartbeat_targets(settings), _stop_on_signals())


def _stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


# The operator's commands


def purge_host(settings: Settings) -> None:
    """Remove everything that this installation's agent built on this host. The agent must not run."""
    from statera.agent.purge import purge_host as purge

    asyncio.run(purge(settings))


def render_client_configuration(settings: Settings, username: str | None = None) -> str:
    """Return a `clouds.yaml` for the openstack client; a user name is for identity `basic`."""
    from statera.api.clouds import render_clouds_yaml
    from statera.model.network import endpoint

    address = f"http://{endpoint(settings.api.host, settings.api.port)}"
    return render_clouds_yaml(settings.api.base_uri or address, username=username)


async def observe_hosts(settings: Settings) -> "tuple[Host, ...]":
    """Ask every host how it is. Raises `Lasting` when the controller's certificate is missing."""
    compute = open_compute(settings)
    try:
        return await compute.observe_hosts()
    finally:
        await compute.close()


async def observe_certificates(settings: Settings) -> "list[CertificateEnd | CertificateUnusable]":
    """Return the lifetimes of Statera's own certificates, as far as they are seen from here."""
    from statera.control.own_certificates import list_own_ends, observe_ends
    from statera.drivers.compute_local import LocalCompute

    if not pki_dir(settings).exists():
        return []
    authority, names = open_authority(settings), [host.name for host in list_hosts(settings)]
    try:
        compute = open_compute(settings)
    except StateraError:
        return list_own_ends(authority)
    try:
        return await observe_ends(authority, compute, names) if isinstance(compute, LocalCompute) else []
    finally:
        await compute.close()
