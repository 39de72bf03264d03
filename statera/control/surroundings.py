"""What every part of the control room works with."""

import msgspec

from statera.base.clock import Clock
from statera.base.settings import Settings
from statera.model.ports import ComputeDriver, NetworkDriver, SecretsDriver
from statera.model.spec import LimitsSpec
from statera.plan.spec import decide_limits
from statera.store.engine import Store


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """The database, the drivers, the time, and what the operator wants. `secrets`: none where nobody names any."""

    store: Store
    network: NetworkDriver
    compute: ComputeDriver
    settings: Settings
    clock: Clock
    secrets: SecretsDriver | None = None

    @property
    def limits(self) -> LimitsSpec:
        """What a sandbox may use of its host."""
        compute = self.settings.compute
        return decide_limits(
            memory_mib=compute.memory_mib, file_descriptors=compute.file_descriptors, cpu_percent=compute.cpu_percent
        )
