"""One suite for compute drivers: those in memory are trusted because they answer as the real agent does."""

import msgspec
import pytest

from statera.base.errors import Lasting, LostClaim, Transient
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.drivers.compute_noop import NoopCompute
from statera.drivers.fakes import FakeCompute
from statera.model.document import Document, TextPart
from statera.model.ports import ComputeDriver
from tests.agent.conftest import ground  # noqa: F401
from tests.agent.ground import HEARTBEAT_KEY, Ground
from tests.agent.test_server import served  # noqa: F401

KEY = Secret(HEARTBEAT_KEY)
HOST = "local"
BAD = Document(parts=(TextPart(text="bogus\n"),))


@pytest.fixture(params=["fake", "noop", pytest.param("real", marks=pytest.mark.root)])
def compute(request: pytest.FixtureRequest) -> ComputeDriver:
    if request.param == "real":
        driver: ComputeDriver = request.getfixturevalue("served").compute
        return driver
    if request.param == "noop":
        return NoopCompute((HOST,))
    fake = FakeCompute(HOST)
    fake.rejected_words = "bogus"
    return fake


async def build(compute: ComputeDriver, ground: Ground, epoch: int = 1) -> None:  # noqa: F811
    await compute.ensure_amphora(HOST, ground.sandbox(), epoch=epoch, heartbeat_key=KEY)


async def test_a_host_describes_itself(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    await build(compute, ground)
    [host] = await compute.observe_hosts()
    assert (host.name, host.reachable, host.amphora_count) == (HOST, True, 1)
    assert host.engine_versions["haproxy"].startswith("2.")


async def test_what_was_built_is_seen(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    assert await compute.observe_amphora(HOST, ground.amphora_id) is None
    for _ in range(2):
        await build(compute, ground)
    seen = await compute.observe_amphora(HOST, ground.amphora_id)
    assert seen is not None
    assert (seen.id, seen.load_balancer_id, seen.epoch) == (ground.amphora_id, ground.load_balancer_id, 1)
    assert seen.sandbox_digest == ground.sandbox().digest()
    assert (seen.generation, seen.configuration_digest, seen.haproxy_running) == (0, "", False)
    assert await compute.observe_amphorae(HOST) == (seen,)


async def test_a_host_remembers_the_highest_mark_of_each_deployment(
    compute: ComputeDriver,
    ground: Ground,  # noqa: F811
) -> None:
    ours, theirs = new_id(), new_id()
    await build(compute, ground)
    assert [await compute.mark_host(HOST, ours, mark) for mark in (7, 9, 3, 10)] == [0, 7, 9, 9]
    assert await compute.mark_host(HOST, theirs, 1) == 0


async def test_a_sandbox_says_whose_it_is(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    ours = new_id()
    await compute.ensure_amphora(HOST, ground.sandbox(), epoch=1, heartbeat_key=KEY, deployment_id=ours)
    await compute.mark_host(HOST, new_id(), 1)
    (seen,) = await compute.observe_amphorae(HOST)
    assert seen.deployment_id == ours


async def test_a_configuration_goes_live_and_is_told(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    await build(compute, ground)
    document = ground.document([8080])
    means = []
    for generation in (1, 2):
        configuration = ground.configuration(document, generation, generation)
        means.append((await compute.apply_configuration(HOST, ground.amphora_id, configuration)).means)
    assert means == ["reload", "unchanged"]
    seen = await compute.observe_amphora(HOST, ground.amphora_id)
    assert seen is not None
    assert (seen.generation, seen.epoch, seen.haproxy_running) == (2, 2, True)
    assert seen.configuration_digest == document.digest()


async def test_what_haproxy_counts_is_told(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    assert await compute.observe_metrics(HOST, ground.amphora_id) is None
    await build(compute, ground)
    for document in (None, ground.document([8080])):
        configuration = ground.configuration(document)
        await compute.apply_configuration(HOST, ground.amphora_id, configuration)
        metrics = await compute.observe_metrics(HOST, ground.amphora_id)
        assert metrics is not None
        assert (metrics.amphora_id, metrics.haproxy_running) == (ground.amphora_id, True)


async def test_without_a_document_nothing_runs(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    await build(compute, ground)
    for number, document in enumerate((ground.document([8080]), None), 1):
        await compute.apply_configuration(HOST, ground.amphora_id, ground.configuration(document, number))
    seen = await compute.observe_amphora(HOST, ground.amphora_id)
    assert seen is not None
    assert (seen.generation, seen.configuration_digest, seen.haproxy_running) == (2, "", False)


async def test_a_rejected_configuration_leaves_the_old_one(
    compute: ComputeDriver,
    ground: Ground,  # noqa: F811
) -> None:
    if type(compute) is NoopCompute:
        # Nobody reads a configuration there: it is taken as it is.
        await build(compute, ground)
        await compute.apply_configuration(HOST, ground.amphora_id, ground.configuration(BAD))
        taken = await compute.observe_amphora(HOST, ground.amphora_id)
        assert taken is not None
        assert taken.configuration_digest == BAD.digest()
        return
    await build(compute, ground)
    document = ground.document([8080])
    await compute.apply_configuration(HOST, ground.amphora_id, ground.configuration(document))
    before = await compute.observe_amphora(HOST, ground.amphora_id)
    assert before is not None
    with pytest.raises(Lasting, match="bogus") as told:
        await compute.apply_configuration(HOST, ground.amphora_id, ground.configuration(BAD, 2, 2))
    assert told.value.reason.slug == "configuration-rejected"
    seen = await compute.observe_amphora(HOST, ground.amphora_id)
    assert seen is not None
    assert seen.reason is not None
    assert msgspec.structs.replace(seen, reason=None) == before


async def test_an_older_epoch_is_refused(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    await build(compute, ground, epoch=3)
    for late in (
        build(compute, ground, epoch=2),
        compute.apply_configuration(HOST, ground.amphora_id, ground.configuration(None, 1, 2)),
        compute.remove_amphora(HOST, ground.amphora_id, epoch=2),
    ):
        with pytest.raises(LostClaim):
            await late
    assert await compute.observe_amphora(HOST, ground.amphora_id) is not None


async def test_what_was_removed_is_gone_and_stays_gone(compute: ComputeDriver, ground: Ground) -> None:  # noqa: F811
    await build(compute, ground, epoch=3)
    for epoch in (4, 5):
        await compute.remove_amphora(HOST, ground.amphora_id, epoch=epoch)
    assert await compute.observe_amphorae(HOST) == ()
    with pytest.raises(LostClaim):
        await build(compute, ground, epoch=3)
    with pytest.raises(Transient) as told:
        await compute.apply_configuration(HOST, ground.amphora_id, ground.configuration(None, 1, 9))
    assert told.value.reason.slug == "sandbox-missing"
    await compute.remove_amphora(HOST, new_id(), epoch=1)


async def test_a_host_that_is_not_configured_is_unknown(compute: ComputeDriver) -> None:
    for call in (compute.observe_amphora("elsewhere", new_id()), compute.observe_amphorae("elsewhere")):
        with pytest.raises(Transient) as told:
            await call
        assert told.value.reason.slug == "host-unknown"
