"""Which servers' health a new worker takes over at a reload. Pure. Format: HAProxy 2.6 management guide, `show servers

state`: a version line, a header line, then rows of backend id and name, server id and name, and the state.
"""

from statera.model.document import Document, Server, ServersPart

HEADER_LINES = 2
BACKEND_COLUMN, SERVER_COLUMN = 1, 3


def keep_unchanged(state: str, live: Document, wanted: Document) -> str:
    """Return the state with only the rows of servers that stay as they are.

    A row would also bring back an address or a maintenance of before the edit, so what changed starts from the file.
    """
    before, after = _servers(live), _servers(wanted)
    lines = state.splitlines()
    kept = lines[:HEADER_LINES]
    for line in lines[HEADER_LINES:]:
        words = line.split()
        if len(words) > SERVER_COLUMN:
            place = (words[BACKEND_COLUMN], words[SERVER_COLUMN])
            server = after.get(place)
            if server is not None and server.enabled and before.get(place) == server:
                kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _servers(document: Document) -> dict[tuple[str, str], Server]:
    parts = [part for part in document.parts if isinstance(part, ServersPart)]
    return {(part.backend, server.name): server for part in parts for server in part.servers}
