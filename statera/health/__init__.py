"""Floor 3: heartbeats in, observations out.

`receiver.py` takes UDP datagrams and verifies them, `memory.py` keeps the last word of each amphora, `judge.py` notices
who keeps silent, `writer.py` derives the statuses of load balancers with news and writes what changes. `service.py`
runs all of it. Not here: status rules (`model/status.py`), repairs (a silent amphora only makes its load balancer due
for the reconciler). Nothing is lost with this process: the next heartbeats tell all again. Start with `service.py`.
"""

from statera.health.service import run_health

__all__ = ["run_health"]
