"""What amphorae and disks have told, followed to where it is shown: heartbeats to statuses, records to digests."""

import hmac
import tempfile
import uuid
from pathlib import Path

import msgspec

from statera.agent.flows import FlowCounters
from statera.agent.folders import AmphoraFolders
from statera.base.secret import Secret
from statera.health.memory import Memory
from statera.model.heartbeat import decode_heartbeat
from statera.model.observed import merge_heartbeats
from statera.model.status import derive_statuses
from statera.store.rows import encode_told
from statera.store.statistics import _rows
from tests.unit.model.test_status import AMPHORA, LATER, LB, make_tree

KEY: Secret[bytes] = Secret(b"k" * 32)
TREE = make_tree()
MOST_REASON = 1000
"""Characters, far more than any sentence needs."""


def tell_statuses(data: bytes) -> None:
    """Sign a heartbeat as an agent that was taken over would, and look what tenants see of it. Raises as its parser."""
    message = uuid.UUID(AMPHORA).bytes + data
    told = decode_heartbeat(
        message + hmac.digest(KEY.reveal(), message, "sha256"), lambda _: KEY, LATER.timestamp(), 1e9
    )
    memory = Memory()
    memory._owner_of[AMPHORA] = LB
    memory.accept(told, LATER)
    for counted in memory.take_counted():
        assert len(encode_told(_rows(counted))) < 200_000
    for change in derive_statuses(TREE, merge_heartbeats([told], [], None), LATER):
        assert "\\u0000" not in encode_told([change.reason])
        sentence = change.reason.sentence if change.reason is not None else ""
        assert sentence.isprintable()
        assert len(sentence) < MOST_REASON


def read_disk(data: bytes) -> None:
    """Read what an agent has kept, of an older version or damaged."""
    with tempfile.TemporaryDirectory() as name:
        folders = AmphoraFolders(Path(name, "keep"), Path(name, "run"))
        folders.keep.mkdir()
        folders.run.mkdir()
        (folders.keep / "record.json").write_bytes(data)
        (folders.keep / "key").write_bytes(data[:32])
        (folders.run / "flows.json").write_bytes(data)
        (folders.run / "pid").write_bytes(data)
        if (known := folders.load()) is not None:
            record, _ = known
            msgspec.json.encode((record.tell_sandbox_digest(), record.tell_document_digest(), record))
        FlowCounters(AMPHORA, folders.run)
