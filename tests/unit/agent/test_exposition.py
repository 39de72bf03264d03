"""HAProxy's metrics in the names of the v2 API: nothing of others, nothing twice, whatever HAProxy says."""

from statera.agent.exposition import NAMES, translate_exposition
from tests.contract.tables import read_table

WEB, API, POOL, ONE = (f"{number}" * 36 for number in range(1, 5))
TEXT = f"""\
# HELP haproxy_process_idle_time_percent Idle.
# TYPE haproxy_process_idle_time_percent gauge
haproxy_process_idle_time_percent 97.5
# HELP haproxy_process_requests_total Requests.
# TYPE haproxy_process_requests_total counter
haproxy_process_requests_total 12
haproxy_process_build_info{{version="2.6.12"}} 1
# HELP haproxy_frontend_http_responses_total Responses.
# TYPE haproxy_frontend_http_responses_total counter
haproxy_frontend_http_responses_total{{proxy="{WEB}",code="2xx"}} 7
haproxy_frontend_http_responses_total{{proxy="exporter",code="2xx"}} 9
haproxy_backend_active_servers{{proxy="{POOL}:{WEB}"}} 2
haproxy_backend_active_servers{{proxy="{POOL}:{API}"}} 1
haproxy_backend_active_servers{{proxy="metrics-{WEB}"}} 1
haproxy_server_status{{proxy="{POOL}:{WEB}",server="{ONE}",state="DOWN"}} 0
haproxy_server_status{{proxy="metrics-{WEB}",server="agent",state="UP"}} 1
haproxy_server_bytes_in_total{{proxy="{POOL}:{WEB}",server="{ONE}"}} NaN
haproxy_server_of_tomorrow_total{{proxy="{POOL}:{WEB}",server="{ONE}"}} 3
what is this
"""


def test_names_are_those_of_the_contract() -> None:
    table = {row["derived_from_haproxy_metric"]: row["metric"] for row in read_table("prometheus_metrics")}
    assert {there: here for there, here in table.items() if there.startswith("haproxy_")} == NAMES


def test_ids_become_labels_and_the_rest_stays_away() -> None:
    assert translate_exposition(TEXT, memory_percent=12.34).splitlines() == [
        "# HELP octavia_loadbalancer_requests_total Requests.",
        "# TYPE octavia_loadbalancer_requests_total counter",
        "octavia_loadbalancer_requests_total 12",
        "# HELP octavia_listener_http_responses_total Responses.",
        "# TYPE octavia_listener_http_responses_total counter",
        f'octavia_listener_http_responses_total{{listener="{WEB}",code="2xx"}} 7',
        f'octavia_pool_active_members{{pool="{POOL}",listener="{WEB}"}} 2',
        f'octavia_pool_active_members{{pool="{POOL}",listener="{API}"}} 1',
        f'octavia_member_status{{pool="{POOL}",listener="{WEB}",member="{ONE}",state="DOWN"}} 0',
        f'octavia_member_bytes_in_total{{pool="{POOL}",listener="{WEB}",member="{ONE}"}} NaN',
        "# HELP octavia_loadbalancer_cpu Processor time that HAProxy uses, in percent of one core.",
        "# TYPE octavia_loadbalancer_cpu gauge",
        "octavia_loadbalancer_cpu 2.5",
        "# HELP octavia_loadbalancer_memory Memory that HAProxy uses, in percent of what the load balancer has.",
        "# TYPE octavia_loadbalancer_memory gauge",
        "octavia_loadbalancer_memory 12.3",
    ]
