"""What operators offer to tenants: flavors and availability zones, each with a profile that holds its data.

A profile's data is JSON text of one of the two structs below; their fields are the capabilities that a provider tells.
"""

import datetime as dt
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from statera.model.enums import Topology


class FlavorProfile(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    provider_name: str
    flavor_data: str
    created_at: dt.datetime


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    description: str = ""
    enabled: bool = True
    flavor_profile_id: str
    created_at: dt.datetime


class AvailabilityZoneProfile(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    provider_name: str
    availability_zone_data: str
    created_at: dt.datetime


class AvailabilityZone(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str = ""
    enabled: bool = True
    availability_zone_profile_id: str
    created_at: dt.datetime


Record = FlavorProfile | Flavor | AvailabilityZoneProfile | AvailabilityZone


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
        str | UnsetType,
        Meta(min_length=1, max_length=255, description="Zone of the hosts that may carry the load balancer."),
    ] = UNSET
