"""Flavors, which tenants choose from, and flavor profiles, which say what a flavor means."""

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.catalog import Offer, make_collection, make_offer_routes, make_profile_check
from statera.api.fields import Text, Uuid
from statera.api.wire import REFUSE, Name, OptionalFlag, Wire
from statera.model.catalog import Flavor, FlavorData, FlavorProfile

MOST_DATA = 4096
"""Characters of a profile's data."""


class FlavorUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    description: Name = UNSET
    enabled: OptionalFlag = UNSET


class FlavorCreate(FlavorUpdate, frozen=True, kw_only=True):
    name: Annotated[str, Text()]
    flavor_profile_id: Annotated[str, Uuid()]


class FlavorShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    description: str
    enabled: bool
    flavor_profile_id: str


class FlavorProfileUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    provider_name: Name = UNSET
    flavor_data: Annotated[str | UnsetType | None, Text(MOST_DATA)] = UNSET


class FlavorProfileCreate(Wire, frozen=True, kw_only=True):
    name: Annotated[str, Text()]
    provider_name: Annotated[str, Text()]
    flavor_data: Annotated[str, Text(MOST_DATA)]


class FlavorProfileShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    provider_name: str
    flavor_data: str


ROUTES = (
    *make_offer_routes(
        Offer(
            kind=Flavor,
            collection=make_collection(
                Flavor, FlavorShown, singular="flavor", plural="flavors", target="flavor"
            ),
            path="/flavors",
            argument="flavor_id",
            shown=FlavorShown,
            create=FlavorCreate,
            update=FlavorUpdate,
            nulls_on_create={"description": "", "enabled": True},
            nulls_on_update={"name": REFUSE, "description": "", "enabled": REFUSE},
        )
    ),
    *make_offer_routes(
        Offer(
            kind=FlavorProfile,
            collection=make_collection(
                FlavorProfile, FlavorProfileShown, singular="flavorprofile", plural="flavorprofiles",
                links="flavorprofile_links", target="flavor-profile",
            ),
            path="/flavorprofiles",
            argument="flavorprofile_id",
            shown=FlavorProfileShown,
            create=FlavorProfileCreate,
            update=FlavorProfileUpdate,
            nulls_on_create={},
            nulls_on_update=dict.fromkeys(("name", "provider_name", "flavor_data"), REFUSE),
            check=make_profile_check("flavor_data", FlavorData),
        )
    ),
)  # fmt: skip
