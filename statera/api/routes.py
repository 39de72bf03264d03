"""All operations: a new resource module adds its table here."""

from statera.api import (
    amphorae,
    availabilityzones,
    capabilities,
    explain,
    flavors,
    healthmonitors,
    keymanager,
    l7policies,
    l7rules,
    listeners,
    loadbalancers,
    members,
    neutron,
    plans,
    pools,
    projects,
    quotas,
    statistics,
)
from statera.api.call import Route
from statera.api.discovery import make_discovery_routes
from statera.api.openapi import make_document_routes

RESOURCES: tuple[Route, ...] = (
    *loadbalancers.ROUTES,
    *listeners.ROUTES,
    *pools.ROUTES,
    *members.ROUTES,
    *healthmonitors.ROUTES,
    *l7policies.ROUTES,
    *l7rules.ROUTES,
    *explain.ROUTES,
    *plans.ROUTES,
    *statistics.ROUTES,
    *amphorae.ROUTES,
    *quotas.ROUTES,
    *capabilities.ROUTES,
    *flavors.ROUTES,
    *availabilityzones.ROUTES,
    *neutron.ROUTES,
    *projects.ROUTES,
    *keymanager.ROUTES,
)


def make_routes() -> tuple[Route, ...]:
    """Return the routes of one application."""
    described = (*make_discovery_routes(), *RESOURCES)
    return (*described, *make_document_routes(described))
