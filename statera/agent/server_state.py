"""The state of servers that a worker starts with. Pure. Format: HAProxy 2.6 management guide, `show servers state`:

a version line, a header line, then rows of backend id and name, server id and name, and the state.
"""

from statera.model.document import Document, Server

VERSION = "1"
HEADER = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
HEADER_LINES = 2
BACKEND_COLUMN, SERVER_COLUMN = 1, 3
_RUNNING = 2
"""Of `srv_op_state`."""
_NOT_YET = 1
"""Of `srv_check_status`: no check has been made."""
_CONFIGURED = 2
"""Of `srv_check_state`: there are checks; the bit 4 would say that they are switched on."""


def make_state(now: str, live: Document | None, wanted: Document) -> str:
    """Return the state for a worker that begins with `wanted`.

    `now` tells of the worker before it, "" of none. Only rows of servers that stay as they are count: a row would also
    bring back an address or a maintenance of before the edit. Servers whose checks are switched off have a row that
    says so: the configuration cannot.
    """
    before, after = live.list_servers() if live is not None else {}, wanted.list_servers()
    rows = []
    for line in now.splitlines()[HEADER_LINES:]:
        words = line.split()
        if len(words) > SERVER_COLUMN:
            place = (words[BACKEND_COLUMN], words[SERVER_COLUMN])
            server = after.get(place)
            if server is not None and server.enabled and before.get(place) == server and _is_watched(server):
                rows.append(line)
    rows += [_unwatched_row(backend, server) for (backend, _), server in after.items() if not _is_watched(server)]
    return "".join(f"{line}\n" for line in (VERSION, HEADER, *rows)) if rows else f"{VERSION}\n"


def _is_watched(server: Server) -> bool:
    # One in maintenance is not checked; its checks are set when it is brought back into use.
    return server.checking or not (server.checked and server.enabled)


def _unwatched_row(backend: str, server: Server) -> str:
    # Where it would be checked is left to the configuration: HAProxy takes this from no server without checks.
    health = f"{_RUNNING} 0 {server.weight} {server.weight} 0 {_NOT_YET} 0 1 {_CONFIGURED}"
    return f"0 {backend} 0 {server.name} {server.address} {health} 0 0 0 - {server.port} - 0 0 - - 0"
