"""From VIPs of an amphora's own to shared ones and back, without a moment in which nobody takes what comes for them.

keepalived begins by taking the VIPs away, and puts them back only when it has heard nobody for a while; when it ends it
takes them away again. Meanwhile they stand on the loopback interface. All calls block for up to some seconds.
"""

import time

from statera.agent import handover, namespace
from statera.agent.neighbours import ANSWER_WITHIN_S
from statera.agent.process import Launch
from statera.agent.vrrp import Keepalived, is_sharing
from statera.base.errors import Transient
from statera.model.spec import SandboxSpec

TAKEN_WITHIN_S = 3.0
"""Nobody else takes part yet, as a rule: it waits for three adverts, and a little more."""
LOOK_AGAIN_S = 0.005


def ensure_vrrp(keepalived: Keepalived, spec: SandboxSpec, launch: Launch) -> None:
    """Bring keepalived to the spec; whoever has the VIPs keeps them. Raises `Transient`."""
    handover.clear_loopback(spec)
    is_turned = is_sharing(spec) == keepalived.has_shared or not namespace.has_vips(spec)
    if is_turned and not handover.is_on_loopback(spec):
        keepalived.ensure(spec, launch)
        return
    # What fails leaves them on the loopback interface: who has them alone goes on serving. The next call, or the one of
    # the agent's next life, finds them there and ends what was cut off.
    handover.put_on_loopback(spec)
    if is_sharing(spec):
        if not keepalived.has_shared:
            # So that it shows when they have been put back.
            handover.give_up(spec)
        keepalived.ensure(spec, launch)
        _wait_taken(spec)
    else:
        keepalived.ensure(spec, launch)
        namespace.ensure_namespace(spec)
    handover.take_from_loopback(spec)


def _wait_taken(spec: SandboxSpec) -> None:
    """Wait until keepalived has put them back, or until another one has them: after a call that was cut off."""
    deadline = time.monotonic() + TAKEN_WITHIN_S
    while not namespace.has_vips(spec):
        if time.monotonic() > deadline:
            if handover.wait_for_successor(spec, ANSWER_WITHIN_S):
                return
            raise Transient("vrrp-not-started", f"keepalived of amphora {spec.amphora_id} has not taken its VIPs.")
        time.sleep(LOOK_AGAIN_S)
