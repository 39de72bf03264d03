"""Certificates that cannot be read: an edit waits for them, and nothing else does."""

import msgspec

from statera.base.errors import Transient
from statera.base.secret import Secret
from statera.control.reconcile import Reconciler
from statera.drivers.fakes import FakeCompute
from statera.model.enums import AmphoraStatus, ListenerProtocol, ProvisioningStatus, Topology
from statera.model.secrets import SecretParts, SecretReader
from statera.model.tree import Listener, Tree
from statera.store.amphorae import save_amphora
from statera.store.claims import release_claim
from tests.control.room import Room
from tests.db.trees import edit_add, make_amphora, make_listener, make_tree


class SilentSecrets:
    """A store that does not answer, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def observe_secret(self, ref: str, reader: SecretReader | None = None) -> SecretParts:
        self.asked += 1
        raise Transient("secrets-unavailable", "The store of secrets does not answer.")

    async def ensure_access(self, refs: object, reader: SecretReader) -> None: ...

    async def close(self) -> None: ...


def ending_tls(tree: Tree) -> Listener:
    return make_listener(
        tree.load_balancer,
        protocol=ListenerProtocol.TERMINATED_HTTPS,
        protocol_port=443,
        default_tls_container_ref="https://secrets.invalid/v1/containers/lost",
    )


async def test_whoever_has_been_replaced_is_removed_although_a_certificate_is_lost(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    room.reconciler = room.make_reconciler()
    tree = await room.create()
    await room.run_pass()
    [serving] = await room.amphorae(tree)
    await room.edit(tree, edit_add(ending_tls(tree)))
    held = await room.claim()
    left = make_amphora(tree.load_balancer.id, host="two", role=serving.role, status=AmphoraStatus.PENDING_DELETE)
    await save_amphora(room.store, held, left, heartbeat_key=Secret(b"k" * 32))
    await release_claim(room.store, held)
    await room.run_pass()
    balancer = (await room.show(tree)).load_balancer
    assert (balancer.provisioning_status, balancer.reason and balancer.reason.slug) == (
        ProvisioningStatus.ERROR,
        "secret-not-found",
    )
    assert [one.id for one in await room.amphorae(tree)] == [serving.id]
    assert "443" not in room.compute.list_sandboxes()[serving.id].text


async def test_a_store_of_secrets_that_does_not_answer_is_asked_once_a_pass(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    secrets = SilentSecrets()
    room.reconciler = Reconciler(msgspec.structs.replace(room.around, secrets=secrets))
    tree = await room.create(make_tree(topology=Topology.ACTIVE_STANDBY))
    await room.run_pass()
    await room.edit(tree, edit_add(ending_tls(tree)))
    await room.run_pass()
    reason = (await room.show(tree)).load_balancer.reason
    assert reason is not None
    assert (reason.slug, secrets.asked) == ("secrets-unavailable", 1)
