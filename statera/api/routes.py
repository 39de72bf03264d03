"""All operations: a new resource module adds its table here."""

from statera.api import (
    amphorae,
    availabilityzones,
    capabilities,
    discovery,
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
    """Return all routes, those of the document that describes them, too."""
    described = (*discovery.ROUTES, *RESOURCES)
    return (*described, *make_document_routes(described))
