"""What one pass carries along: its claim, the snapshot it makes true, and what it has done so far."""

import datetime as dt
from collections.abc import Mapping

from statera.base.errors import StateraError
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.certificates import Bundle
from statera.model.document import Document
from statera.model.network import Network
from statera.model.spec import Configuration
from statera.model.tree import LoadBalancer, Tree
from statera.model.work import Claim, Event, Snapshot


class Run:
    """One pass. Everything wanted comes from one snapshot, so that no half of an edit is ever applied."""

    def __init__(self, claim: Claim, snapshot: Snapshot) -> None:
        self.claim = claim
        self.tree: Tree = snapshot.tree
        self.networks: tuple[Network, ...] = ()
        self.amphorae: dict[str, Amphora] = {amphora.id: amphora for amphora in snapshot.amphorae}
        """The rows as they are now, oldest first."""
        self.documents: dict[str, Document | None] = {}
        """What has been rendered, by amphora; None: no engine is needed."""
        self.bundles: dict[str, Bundle] | None = None
        """What references to certificates lead to; None until they have been read."""
        self.unread: StateraError | None = None
        """Why they could not be read."""
        self.is_served = True
        """Whether some amphora has a configuration live, as far as one can see."""
        self.history: list[Event] = []
        """Written with the end of the pass, in one statement."""

    @property
    def balancer(self) -> LoadBalancer:
        return self.tree.load_balancer

    @property
    def generation(self) -> int:
        return self.balancer.generation

    def configure(
        self, document: Document | None, *, generation: int | None = None, bundles: Mapping[str, Bundle] | None = None
    ) -> Configuration:
        """Return what an agent is told: a document, of this generation unless another is named, and its files."""
        known = {bundle.digest: bundle.content for bundle in (bundles or self.bundles or {}).values()}
        files = document.files().values() if document is not None else ()
        return Configuration(
            generation=self.generation if generation is None else generation,
            epoch=self.claim.epoch,
            haproxy=document,
            contents={digest: known[digest] for digest in files},
        )

    def note(self, what: str, at: dt.datetime, reason: Reason | None = None) -> None:
        """Add a line to the load balancer's history."""
        event = Event(
            load_balancer_id=self.claim.load_balancer_id,
            generation=self.generation,
            what=what,
            reason=reason,
            at=at,
            actor=self.claim.owner,
            request_id=self.claim.errand.request_id,
        )
        self.history.append(event)
