"""What operators offer to tenants: flavors and availability zones, each with a profile that holds its data.

A profile's data is JSON text of one of the two structs below; their fields are the capabilities that a provider tells.
"""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from statera.model.enums import Topology


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of them."""

    name: str
    created_at: dt.datetime


class Profile(Record, frozen=True, kw_only=True):
    """Base of profiles: data for one provider."""

    id: str
    provider_name: str


class FlavorProfile(Profile, frozen=True, kw_only=True):
    flavor_data: str


class Flavor(Record, frozen=True, kw_only=True):
    id: str
    description: str = ""
    enabled: bool = True
    flavor_profile_id: str


class AvailabilityZoneProfile(Profile, frozen=True, kw_only=True):
    availability_zone_data: str


class AvailabilityZone(Record, frozen=True, kw_only=True):
    description: str = ""
    enabled: bool = True
    availability_zone_profile_id: str


RECORD_WORDS: dict[type[Record], str] = {
    FlavorProfile: "Flavor Profile",
    Flavor: "Flavor",
    AvailabilityZoneProfile: "Availability Zone Profile",
    AvailabilityZone: "Availability Zone",
}
"""What sentences call them."""


class FlavorData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a flavor decides about a load balancer."""

    loadbalancer_topology: Annotated[
        Topology | UnsetType,
        Meta(
            description="How many amphorae carry a load balancer: SINGLE, one; ACTIVE_STANDBY, two, of which one waits "
            "to take over."
        ),
    ] = UNSET


class ZoneData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an availability zone decides about a load balancer."""

    compute_zone: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType,
        Meta(description="Zone of the hosts that may carry the load balancer."),
    ] = UNSET
