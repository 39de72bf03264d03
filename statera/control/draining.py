"""The chore that empties hosts which an operator drains: it wants amphorae replaced, a few at a time.

Passes then do what they do for any failover: the successor is built elsewhere and made ready, takes the VIP over, and
the old one goes. Whoever stops the drain stops what has not begun.
"""

from collections.abc import Collection, Sequence

import msgspec

from statera.base.errand import Errand, new_request_id, on_errand
from statera.base.errors import Refused
from statera.base.logging import get_logger
from statera.control.surroundings import Surroundings
from statera.model.amphora import Host
from statera.model.draining import Stay
from statera.model.edits import Terms, fail_over_amphora
from statera.plan.draining import decide_moves
from statera.store.amphorae import count_placed, list_amphora_ids
from statera.store.drains import explain_drains, list_drains, list_stays
from statera.store.trees import TreeEditor

log = get_logger("control")


class Drainer:
    """Empties hosts. `reconcile.drain_at_once` load balancers move at the same time, in all."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.store
        self._compute = around.compute
        self._clock = around.clock
        self._at_once = around.settings.reconcile.drain_at_once
        self._editor = TreeEditor(around.store)

    async def drain(self) -> None:
        """Begin with what may move now, and write why the rest may not. Raises `Transient`."""
        drains = {drain.host: drain for drain in await list_drains(self._store)}
        stays = await list_stays(self._store) if drains else ()
        if not stays:
            return
        hosts = mark_draining(await self._compute.observe_hosts(), drains)
        placed = await count_placed(self._store)
        gone = {drain.host for drain in drains.values() if drain.is_gone}
        moves = decide_moves(stays, hosts, placed, at_once=self._at_once, gone=gone)
        await explain_drains(self._store, moves.blocked)
        for stay in moves.start:
            await self._ask(stay, drains[stay.host].actor)

    async def _ask(self, stay: Stay, actor: str) -> None:
        known = await list_amphora_ids(self._store, stay.load_balancer_id)
        decide = fail_over_amphora(stay.amphora_id, known, Terms(now=self._clock.now()))
        what = f"Amphora {stay.amphora_id} is to leave host {stay.host}, which is being drained."
        with on_errand(Errand(request_id=new_request_id(), load_balancer_id=stay.load_balancer_id)):
            try:
                await self._editor.edit(stay.load_balancer_id, decide, actor=actor, what=what)
            except Refused as error:
                # It is being deleted, say.
                log.info("amphora not moved", amphora_id=stay.amphora_id, host=stay.host, sentence=error.sentence)
            else:
                log.info("amphora moves", amphora_id=stay.amphora_id, host=stay.host)


def mark_draining(hosts: Sequence[Host], drained: Collection[str]) -> tuple[Host, ...]:
    """Return the hosts with those marked that take no more amphorae because they are drained."""
    return tuple(msgspec.structs.replace(host, draining=host.name in drained) for host in hosts)
