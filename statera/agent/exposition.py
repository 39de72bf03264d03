"""HAProxy's metrics under the names that tenants of the v2 API know. Pure.

Both sides are text exposition format 0.0.4. HAProxy's exporter tells of everything it has, the agent's own proxies too;
what goes out is what `contract/prometheus_metrics.csv` names, of one load balancer, with ids as labels. A pool is told
once for each listener that it serves: HAProxy counts them apart, and averages cannot be added up.
"""

import re
from collections.abc import Iterator, Mapping

_FRONTEND = """
bytes_in_total bytes_out_total connections_rate_max connections_total current_sessions denied_connections_total
denied_sessions_total failed_header_rewriting_total http_cache_hits_total http_cache_lookups_total
http_comp_bytes_bypassed_total http_comp_bytes_in_total http_comp_bytes_out_total http_comp_responses_total
http_requests_rate_max http_requests_total http_responses_total intercepted_requests_total limit_session_rate
limit_sessions max_session_rate max_sessions request_errors_total requests_denied_total responses_denied_total
sessions_total status
"""
_BACKEND = """
bytes_in_total bytes_out_total check_last_change_seconds check_up_down_total client_aborts_total
connect_time_average_seconds connection_attempts_total connection_errors_total connection_reuses_total current_queue
current_sessions downtime_seconds_total failed_header_rewriting_total http_cache_hits_total http_cache_lookups_total
http_comp_bytes_bypassed_total http_comp_bytes_in_total http_comp_bytes_out_total http_comp_responses_total
http_requests_total http_responses_total last_session_seconds limit_sessions loadbalanced_total
max_connect_time_seconds max_queue max_queue_time_seconds max_response_time_seconds max_session_rate max_sessions
max_total_time_seconds queue_time_average_seconds redispatch_warnings_total requests_denied_total
response_errors_total response_time_average_seconds responses_denied_total retry_warnings_total sessions_total status
total_time_average_seconds
"""
_SERVER = """
bytes_in_total bytes_out_total check_failures_total check_last_change_seconds check_up_down_total
client_aborts_total connect_time_average_seconds connection_attempts_total connection_errors_total
connection_reuses_total current_queue current_sessions current_throttle downtime_seconds_total
failed_header_rewriting_total http_responses_total idle_connections_current idle_connections_limit
last_session_seconds limit_sessions loadbalanced_total max_connect_time_seconds max_queue max_queue_time_seconds
max_response_time_seconds max_session_rate max_sessions max_total_time_seconds queue_limit
queue_time_average_seconds redispatch_warnings_total response_errors_total response_time_average_seconds
responses_denied_total retry_warnings_total server_aborts_total sessions_total status total_time_average_seconds weight
"""
_PROCESS = """
connections_total current_backend_ssl_key_rate current_connection_rate current_connections
current_frontend_ssl_key_rate current_session_rate current_ssl_connections current_ssl_rate dropped_logs_total
frontend_ssl_reuse http_comp_bytes_in_total http_comp_bytes_out_total limit_connection_rate limit_http_comp
limit_session_rate limit_ssl_rate listeners max_backend_ssl_key_rate max_connection_rate max_connections
max_frontend_ssl_key_rate max_session_rate max_ssl_connections max_ssl_rate requests_total ssl_cache_lookups_total
ssl_cache_misses_total ssl_connections_total
"""


def _same(here: str, there: str, names: str) -> dict[str, str]:
    return {f"haproxy_{there}_{name}": f"octavia_{here}_{name}" for name in names.split()}


NAMES: Mapping[str, str] = {
    **_same("listener", "frontend", _FRONTEND),
    **_same("pool", "backend", _BACKEND),
    **_same("member", "server", _SERVER),
    **_same("loadbalancer", "process", _PROCESS),
    **_same("memory", "process", "pool_allocated_bytes pool_failures_total pool_used_bytes"),
    "haproxy_backend_active_servers": "octavia_pool_active_members",
    "haproxy_backend_backup_servers": "octavia_pool_backup_members",
    "haproxy_backend_server_aborts_total": "octavia_pool_member_aborts_total",
}
"""By HAProxy's name, the name here."""
CPU, MEMORY = "octavia_loadbalancer_cpu", "octavia_loadbalancer_memory"
"""Not HAProxy's: shares of the sandbox, in percent."""
_IDLE = "haproxy_process_idle_time_percent"
_COMMENT = re.compile(r"# (HELP|TYPE) (\w+) (.*)")
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")
_PROXY = re.compile(r'proxy="([^":]*)(?::([^":]*))?"(?:,server="([^"]*)")?')
ID_LENGTH = 36


def translate_exposition(text: str, *, memory_percent: float) -> str:
    """Return the metrics of the load balancer from what HAProxy's exporter says."""
    return "".join(f"{line}\n" for line in _translate(text, memory_percent))


def _translate(text: str, memory_percent: float) -> Iterator[str]:
    idle = 100.0
    for line in text.splitlines():
        if line.startswith("#"):
            comment = _COMMENT.fullmatch(line)
            if comment is not None and comment[2] in NAMES:
                yield f"# {comment[1]} {NAMES[comment[2]]} {comment[3]}"
            continue
        sample = _SAMPLE.fullmatch(line)
        if sample is None:
            continue
        name, labels, value = sample.groups()
        if name == _IDLE:
            idle = float(value) if _PERCENT.fullmatch(value) else idle
        elif name in NAMES:
            ours = _translate_labels(labels) if labels else ""
            if ours is not None:
                yield f"{NAMES[name]}{ours} {value}"
    yield from _tell_share(CPU, "Processor time that HAProxy uses, in percent of one core.", 100.0 - idle)
    yield from _tell_share(
        MEMORY, "Memory that HAProxy uses, in percent of what the load balancer has.", memory_percent
    )


def _translate_labels(labels: str) -> str | None:
    """Return them with ids, braces around; None for a proxy that is not the tenant's."""
    proxy = _PROXY.match(labels)
    if proxy is None:
        return f"{{{labels}}}"
    first, listener_id, member_id = proxy.groups()
    rest = labels[proxy.end() :]
    if listener_id is None:
        return f'{{listener="{first}"{rest}}}' if len(first) == ID_LENGTH else None
    member = f',member="{member_id}"' if member_id is not None else ""
    return f'{{pool="{first}",listener="{listener_id}"{member}{rest}}}'


def _tell_share(name: str, words: str, percent: float) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} gauge"
    yield f"{name} {percent:.1f}"
