"""Floor 3: HTTP in and out. One module per v2 resource, wire structs, errors, policy.

Not here: SQL, drivers, decisions about amphorae. Only this room writes desired rows; only `errors.py` knows the status
codes of errors.

A request passes `door.py` (request id, content negotiation, identity), then Litestar's routing, then the `Route` of its
resource module with a `Call`. Start with `application.py`, then any resource, `listeners.py` say: its wire structs
(`wire.py`, `fields.py`), its conversions to and from the model, its handlers and its table of routes.

What is not built yet has its place: quotas, flavors and zones are resource modules of their own
(`absent.py` answers for them now); TLS options are fields of listeners and pools that `unsupported.py` refuses now;
Keystone is one more `Identity` in `identity.py`.
"""
