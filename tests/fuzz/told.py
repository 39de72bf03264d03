"""What amphorae and disks have told, followed to where it is shown: heartbeats to statuses, records to digests."""

import asyncio
import contextlib
import hmac
import tempfile
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec

from statera.agent.datagrams import FAILING, Datagrams
from statera.agent.deployments import Deployments
from statera.agent.flows import FlowCounters
from statera.agent.folders import AmphoraFolders, HostFolders
from statera.agent.host import AmphoraHost
from statera.agent.process import Launch, find_master
from statera.agent.users import User
from statera.base.secret import Secret
from statera.base.settings import AgentSettings, Settings
from statera.health.memory import Memory
from statera.model.amphora import Amphora
from statera.model.heartbeat import MOST_BYTES, HeartbeatRefused, decode_heartbeat
from statera.model.spec import LimitsSpec
from statera.model.status import derive_statuses
from statera.store.rows import encode_told
from statera.store.statistics import _rows
from tests.unit.model.test_status import AMPHORA, LATER, LB, make_tree

KEY: Secret[bytes] = Secret(b"k" * 32)
TREE = make_tree()
OWNED = Amphora(id=AMPHORA, load_balancer_id=LB, host="local", created_at=LATER)
LIMITS = LimitsSpec(memory_mib=1, file_descriptors=1, cpu_percent=0, max_connections=1)
NEXT = b"<next datagram>"
"""Stands between the parts of a heartbeat in a file of the corpus."""
MOST_PIECES = 20
MOST_REASON = 1000
"""Characters, far more than any sentence needs."""


def tell_statuses(data: bytes) -> None:
    """Sign the parts of a heartbeat as an agent that was taken over would, and look what tenants see of them."""
    memory = Memory()
    memory.keep_only([OWNED], LATER)
    for body in data.split(NEXT)[:MOST_PIECES]:
        message = uuid.UUID(AMPHORA).bytes + body[:MOST_BYTES]
        datagram = message + hmac.digest(KEY.reveal(), message, "sha256")
        with contextlib.suppress(HeartbeatRefused):
            memory.accept(decode_heartbeat(datagram, lambda _: KEY, LATER.timestamp(), 1e9), LATER)
    for counted in memory.take_counted():
        assert len(encode_told(_rows(counted))) < 200_000
    memory.take_heard()
    for change in derive_statuses(TREE, memory.observe(LB), LATER):
        assert "\\u0000" not in encode_told([change.reason])
        sentence = change.reason.sentence if change.reason is not None else ""
        assert sentence.isprintable()
        assert len(sentence) < MOST_REASON


def read_disk(data: bytes) -> None:
    """Read what an agent has kept, of an older version or damaged."""
    with tempfile.TemporaryDirectory() as name:
        settings = Settings(data_dir=f"{name}/data", run_dir=f"{name}/run")
        folders = HostFolders(settings).of(AMPHORA)
        folders.keep.mkdir(parents=True)
        folders.run.mkdir(parents=True)
        _read_of_amphora(folders, data)
        _read_of_host(settings, data)


def _read_of_amphora(folders: AmphoraFolders, data: bytes) -> None:
    (folders.keep / "record.json").write_bytes(data)
    (folders.keep / "key").write_bytes(data[:32])
    (folders.run / "flows.json").write_bytes(data)
    (folders.run / "pid").write_bytes(data)
    (folders.run / FAILING).write_bytes(data)
    if (known := folders.load()) is not None:
        record, _ = known
        msgspec.json.encode((record.tell_sandbox_digest(), record.tell_document_digest(), record))
    FlowCounters(AMPHORA, folders.run)
    find_master(folders.pid, AMPHORA)
    launch = Launch(amphora_id=AMPHORA, folders=folders, limits=LIMITS, user=User(0, 0))
    Datagrams(launch, AgentSettings(), asyncio.Lock(), lambda: None)


def _read_of_host(settings: Settings, data: bytes) -> None:
    for name in ("tombstones", "deployments"):
        (Path(settings.data_dir) / name).mkdir()
        (Path(settings.data_dir) / name / AMPHORA).write_bytes(data)
    HostFolders(settings).load_tombstone(AMPHORA)
    Deployments(settings, cast(AmphoraHost, SimpleNamespace(sandboxes={})))._load(AMPHORA)
