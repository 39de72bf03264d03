"""All operations: a new resource module adds its table here."""

from statera.api import healthmonitors, listeners, loadbalancers, members, pools
from statera.api.call import Route

ROUTES: tuple[Route, ...] = (
    *loadbalancers.ROUTES,
    *listeners.ROUTES,
    *pools.ROUTES,
    *members.ROUTES,
    *healthmonitors.ROUTES,
)
