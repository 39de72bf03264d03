"""An agent reports the digests that it was told: what it dropped of an order does not make it be ordered again."""

import msgspec
import pytest

from statera.agent.host import AmphoraHost
from statera.model.agent_wire import ConfigurationRequest, SandboxRequest, pack_configuration, unpack_configuration
from tests.agent.ground import Ground
from tests.upgrade import protocol_1

pytestmark = [pytest.mark.root]

TOLD_SANDBOX, TOLD_DOCUMENT = "5" * 32, "d" * 32


def _with_the_unknown(message: bytes, place: str) -> bytes:
    """Return a message of a controller whose version knows one more attribute, and counts it in its digests."""
    values = msgspec.json.decode(message)
    values[place]["something_later"] = {"of": ["a later", "protocol"]}
    values["digest"] = TOLD_SANDBOX if place == "sandbox" else TOLD_DOCUMENT
    return msgspec.json.encode(values)


async def test_digests_that_were_told_outlive_the_agent(ground: Ground, host: AmphoraHost) -> None:
    order = _with_the_unknown(msgspec.json.encode(ground.request()), "sandbox")
    await host.ensure(msgspec.json.decode(order, type=SandboxRequest))
    wanted = pack_configuration(ground.configuration(ground.document([8001])))
    order = _with_the_unknown(msgspec.json.encode(wanted), "haproxy")
    await host.apply(ground.amphora_id, unpack_configuration(msgspec.json.decode(order, type=ConfigurationRequest)))
    (seen,) = host.observe()
    assert (seen.sandbox_digest, seen.configuration_digest) == (TOLD_SANDBOX, TOLD_DOCUMENT)
    host.forget_processes()
    heir = ground.make_host()
    await heir.adopt()
    (seen,) = heir.observe()
    assert (seen.sandbox_digest, seen.configuration_digest) == (TOLD_SANDBOX, TOLD_DOCUMENT)


async def test_without_being_told_an_agent_computes_them(ground: Ground, host: AmphoraHost) -> None:
    """Also after it was told others: an older controller has taken over."""
    document = ground.document([8001])
    await host.ensure(msgspec.structs.replace(ground.request(), digest=TOLD_SANDBOX))
    told = msgspec.structs.replace(ground.configuration(document), digest=TOLD_DOCUMENT)
    await host.apply(ground.amphora_id, told)
    await host.ensure(ground.request(epoch=2))
    await host.apply(ground.amphora_id, ground.configuration(document, generation=2, epoch=2))
    (seen,) = host.observe()
    assert (seen.sandbox_digest, seen.configuration_digest) == (ground.sandbox().digest(), document.digest())


async def test_what_another_version_remembered_is_looked_at_anew(ground: Ground, host: AmphoraHost) -> None:
    """Its record is read, and what it had been told is believed only by an agent that has kept the same of it."""
    await host.ensure(msgspec.structs.replace(ground.request(), digest=TOLD_SANDBOX))
    host.forget_processes()
    folders = host.sandboxes[ground.amphora_id].folders
    known = folders.load()
    assert known is not None
    folders.save(msgspec.structs.replace(known[0], protocol=known[0].protocol + 1))
    heir = ground.make_host()
    await heir.adopt()
    (seen,) = heir.observe()
    assert seen.sandbox_digest == ground.sandbox().digest()


async def test_a_record_of_the_first_protocol_is_adopted(ground: Ground, host: AmphoraHost) -> None:
    """The agent is upgraded: what runs goes on, and a controller finds it as it wants it."""
    document = ground.document([8001])
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document, generation=5))
    host.forget_processes()
    sandbox = host.sandboxes[ground.amphora_id]
    place, pid = sandbox.folders.keep / "record.json", sandbox.engine.find_pid()
    old = msgspec.json.decode(place.read_bytes(), type=protocol_1.Record)
    place.write_bytes(msgspec.json.encode(old))
    heir = ground.make_host()
    await heir.adopt()
    (seen,) = heir.observe()
    assert seen.sandbox_digest == old.sandbox.digest() == ground.sandbox().digest()
    assert old.document is not None
    assert seen.configuration_digest == old.document.digest() == document.digest()
    assert (seen.generation, seen.haproxy_running) == (5, True)
    assert heir.sandboxes[ground.amphora_id].engine.find_pid() == pid
