"""What a new load balancer chooses from what operators offer: provider, flavor and availability zone."""

from typing import TypeVar

import msgspec
from msgspec import UNSET

from statera.api.call import Room
from statera.api.capabilities import check_flavor_data, read_data, require_provider
from statera.api.unsupported import refuse_option
from statera.base.errors import Refusal, Refused
from statera.base.settings import Settings
from statera.model.catalog import (
    AvailabilityZone,
    AvailabilityZoneProfile,
    Flavor,
    FlavorData,
    FlavorProfile,
    Profile,
    ZoneData,
)
from statera.model.enums import Topology
from statera.model.views import AvailabilityZoneView, FlavorView
from statera.store.views import load_record

P = TypeVar("P", bound=Profile)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes of a load balancer that follow from its choices."""

    provider: str
    flavor_id: str | None = None
    availability_zone: str | None = None
    compute_zone: str | None = None
    topology: Topology = Topology.SINGLE


async def choose(room: Room, *, flavor_id: str | None, zone: str | None, provider: str | None) -> Chosen:
    """Return what the choices mean. Raises `Refused`: first for the flavor, then the zone, then the provider."""
    flavor = data = None
    if flavor_id is not None:
        flavor = await _load_profile(
            room, Flavor, flavor_id, FlavorProfile, option="flavor", invalid="Invalid flavor_id."
        )
    if zone is not None:
        data = await _load_profile(
            room, AvailabilityZone, zone, AvailabilityZoneProfile,
            option="availability_zone", invalid="Invalid availability zone.",
        )  # fmt: skip
    name = _decide_provider(room, flavor_id, flavor, provider)
    topology = Topology.SINGLE
    if flavor is not None:
        said = read_data(FlavorData, flavor.flavor_data, "flavor_data")
        check_flavor_data(said)
        topology = topology if said.loadbalancer_topology is UNSET else Topology(str(said.loadbalancer_topology))
    where = None if data is None else _decide_compute_zone(room.settings, data)
    return Chosen(provider=name, flavor_id=flavor_id, availability_zone=zone, compute_zone=where, topology=topology)


async def _load_profile(
    room: Room, kind: type[Flavor] | type[AvailabilityZone], key: str, profile: type[P], *, option: str, invalid: str
) -> P:
    """Return the profile behind what was chosen. `option` and `invalid` are what sentences say of it."""
    found = await load_record(room.store, kind, key)
    if not isinstance(found, FlavorView | AvailabilityZoneView):
        raise _invalid(invalid)
    chosen = found.resource
    if not chosen.enabled:
        raise _disabled(option, key)
    profile_id = chosen.flavor_profile_id if isinstance(chosen, Flavor) else chosen.availability_zone_profile_id
    behind = await load_record(room.store, profile, profile_id)
    if behind is None or not isinstance(behind.resource, profile):
        raise _invalid(invalid)  # Deleted since, what leads to it first.
    return behind.resource


def _decide_provider(room: Room, flavor_id: str | None, flavor: FlavorProfile | None, provider: str | None) -> str:
    if flavor is not None and provider not in (None, flavor.provider_name):
        what = f"Flavor '{flavor_id}' is not compatible with provider '{provider}'"
        raise Refused(Refusal.INVALID, what)
    name = provider or (room.provider if flavor is None else flavor.provider_name)
    require_provider(room, name)
    return name


def _decide_compute_zone(settings: Settings, profile: AvailabilityZoneProfile) -> str | None:
    said = read_data(ZoneData, profile.availability_zone_data, "availability_zone_data").compute_zone
    if said is UNSET:
        return None
    zones = {host.zone for host in settings.compute.hosts} or {settings.agent.zone}
    if str(said) not in zones and settings.compute.driver != "noop":
        raise refuse_option(f"compute_zone {said}")
    return str(said)


def _disabled(option: str, value: str) -> Refused:
    return Refused(Refusal.INVALID, f"The selected {option} is not allowed in this deployment: {value}")


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")
