"""What a deployment shows of itself: its database, its Keystone, its hosts, what is on them that nobody knows.

Looks, changes nothing.
"""

import asyncio

from statera.app import (
    find_database_url,
    has_agents,
    open_compute,
    open_embedded_postgres,
    open_store,
    open_tokens,
)
from statera.base.errors import StateraError
from statera.base.secret import Secret
from statera.base.settings import Settings
from statera.control.sweep import list_strays
from statera.model.amphora import Host
from statera.model.protocol import PROTOCOL
from statera.store.deployment import load_deployment
from statera.store.migrate import current_revision, head_revision, is_later

Finding = tuple[str, str, str]
"""What was looked at, what was found, how to mend it ("" when it is well)."""


async def check_database(settings: Settings) -> list[Finding]:
    """Look whether the database answers and has this version's schema."""
    if settings.database.is_private and not open_embedded_postgres(settings).running:
        return [("database", "the private PostgreSQL does not run", "Start `statera up`, or set database.url.")]
    try:
        current, head = await asyncio.to_thread(current_revision, find_database_url(settings)), head_revision()
    except Exception as error:
        # Whatever the driver says, the operator sees what was tried and goes on to the next finding.
        sentence = error.sentence if isinstance(error, StateraError) else type(error).__name__
        return [("database", sentence, "Start it, or mend database.url.")]
    if is_later(current):
        return [("database", f"revision {current}, of a later version; this one needs {head}", "")]
    if current != head:
        return [("database", f"revision {current or 'none'}, wanted {head}", "Run `statera db upgrade`.")]
    return [("database", f"revision {current}", "")]


async def check_identity(settings: Settings) -> list[Finding]:
    """Ask Keystone, if there is one, about a token that is none: only who may validate tokens is told so."""
    try:
        tokens = open_tokens(settings)
    except StateraError as error:
        return [("identity", error.sentence, "Mend the option.")]
    if tokens is None:
        return []
    try:
        await tokens.observe_token(Secret("doctor"))
    except StateraError as error:
        return [("identity", error.sentence, "The line above says why: start Keystone, or mend identity.keystone.")]
    finally:
        await tokens.close()
    return [("identity", f"Keystone at {settings.identity.keystone.auth_url} validates tokens", "")]


async def check_agents(settings: Settings) -> list[Finding]:
    """Ask every host's agent how it is."""
    if not has_agents(settings):
        return [("agents", "none: compute.driver is `noop`", "")]
    try:
        compute = open_compute(settings)
    except StateraError as error:
        return [("agents", error.sentence, "Start `statera up` once.")]
    try:
        hosts = await compute.observe_hosts()
    finally:
        await compute.close()
    return [_judge_host(host) for host in hosts]


def _judge_host(host: Host) -> Finding:
    what = f"agent {host.name}"
    if not host.reachable:
        why = host.reason.sentence if host.reason else "It does not answer."
        return (what, why, f"Run `statera agent` (or `statera up`) on host {host.name}.")
    engines = ", ".join(f"{name} {version}" for name, version in sorted(host.engine_versions.items()))
    found = f"{host.amphora_count} of {host.amphora_limit} amphorae; {engines or 'no engines'}"
    if host.protocol < PROTOCOL:
        told = f"{found}; it speaks protocol {host.protocol}, this version {PROTOCOL}"
        return (what, told, f"Upgrade Statera on host {host.name}, then restart its agent.")
    return (what, found, "" if "haproxy" in host.engine_versions else f"apt-get install haproxy on host {host.name}")


async def check_orphans(settings: Settings) -> list[Finding]:
    """Look for sandboxes that the database does not know, and whether the sweep may remove them."""
    if not has_agents(settings):
        return []
    store = open_store(settings)
    try:
        compute = open_compute(settings)
        try:
            deployment, strays = await load_deployment(store), await list_strays(store, compute)
        finally:
            await compute.close()
    except StateraError:
        return []  # What does not answer has its own line.
    finally:
        await store.close()
    foreign = sum(stray.is_foreign for stray in strays)
    found = f"{len(strays)} unknown to the database, {foreign} of them made by another deployment"
    if deployment.held_since is not None:
        since = f"{deployment.held_since:%Y-%m-%d %H:%M}"
        return [("orphans", f"{found}; held since {since}: the database was set back", "See `statera orphans list`.")]
    return [("orphans", found, "See `statera orphans list`." if foreign else "")]
