"""Availability zones, which tenants choose from, and their profiles, which say where a zone is."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Room
from statera.api.catalog import Offer, make_collection, make_offer_routes, make_profile_check
from statera.api.fields import Text, Uuid
from statera.api.flavors import MOST_DATA
from statera.api.wire import REFUSE, Name, OptionalFlag, Wire
from statera.base.errors import Refusal, Refused
from statera.model.catalog import AvailabilityZone, AvailabilityZoneProfile, ZoneData

RESERVED_NAME = "00000000-0000-0000-0000-000000000000"
"""Stands for zones that are no more."""


class AvailabilityZoneUpdate(Wire, frozen=True, kw_only=True):
    description: Name = UNSET
    enabled: OptionalFlag = UNSET


class AvailabilityZoneCreate(AvailabilityZoneUpdate, frozen=True, kw_only=True):
    name: Annotated[str, Text(least=1)]
    availability_zone_profile_id: Annotated[str, Uuid()]


class AvailabilityZoneShown(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str
    enabled: bool
    availability_zone_profile_id: str


class AvailabilityZoneProfileUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    provider_name: Name = UNSET
    availability_zone_data: Annotated[str | UnsetType | None, Text(MOST_DATA)] = UNSET


class AvailabilityZoneProfileCreate(Wire, frozen=True, kw_only=True):
    name: Annotated[str, Text()]
    provider_name: Annotated[str, Text()]
    availability_zone_data: Annotated[str, Text(MOST_DATA)]


class AvailabilityZoneProfileShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    provider_name: str
    availability_zone_data: str


def _check_zone(_room: Room, given: dict[str, Any]) -> None:
    if given.get("name") == RESERVED_NAME:
        raise Refused(Refusal.CONFLICT, f"A availability zone of {RESERVED_NAME} already exists.")


ROUTES = (
    *make_offer_routes(
        Offer(
            kind=AvailabilityZone,
            collection=make_collection(
                AvailabilityZone, AvailabilityZoneShown, singular="availability_zone", plural="availability_zones",
                target="availability-zone", key="name",
            ),
            path="/availabilityzones",
            argument="name",
            shown=AvailabilityZoneShown,
            create=AvailabilityZoneCreate,
            update=AvailabilityZoneUpdate,
            nulls_on_create={"description": "", "enabled": True},
            nulls_on_update={"description": "", "enabled": REFUSE},
            check=_check_zone,
        )
    ),
    *make_offer_routes(
        Offer(
            kind=AvailabilityZoneProfile,
            collection=make_collection(
                AvailabilityZoneProfile, AvailabilityZoneProfileShown, singular="availability_zone_profile",
                plural="availability_zone_profiles", links="availability_zone_profile_links",
                target="availability-zone-profile",
            ),
            path="/availabilityzoneprofiles",
            argument="availability_zone_profile_id",
            shown=AvailabilityZoneProfileShown,
            create=AvailabilityZoneProfileCreate,
            update=AvailabilityZoneProfileUpdate,
            nulls_on_create={},
            nulls_on_update=dict.fromkeys(("name", "provider_name", "availability_zone_data"), REFUSE),
            check=make_profile_check("availability_zone_data", ZoneData),
        )
    ),
)  # fmt: skip
