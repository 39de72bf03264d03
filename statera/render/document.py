"""An amphora spec as what its engines read: each listener in the words of the engine that was chosen for it."""

import msgspec

from statera.model.datagrams import DatagramDocument, Failing
from statera.model.document import Document
from statera.model.engines import EngineName
from statera.model.spec import AmphoraSpec
from statera.render.datagrams import render_datagrams
from statera.render.engine import EngineCapabilities
from statera.render.haproxy import render_haproxy
from statera.render.lvs import render_lvs
from statera.render.nginx import render_nginx
from statera.render.paths import HaproxyPaths


def render_document(spec: AmphoraSpec, engine: EngineCapabilities, paths: HaproxyPaths) -> Document | None:
    """Render one amphora, None when it has nothing to serve. Raises `tokens.BadToken`."""
    streams = tuple(listener for listener in spec.listeners if listener.engine == EngineName.HAPROXY)
    datagrams = tuple(listener for listener in spec.listeners if listener.engine != EngineName.HAPROXY)
    document = Document()
    if streams:
        used = {pool_id for listener in streams for pool_id in listener.pool_ids()}
        pools = tuple(pool for pool in spec.pools if pool.id in used)
        document = render_haproxy(msgspec.structs.replace(spec, listeners=streams, pools=pools), engine, paths)
    if datagrams:
        document = msgspec.structs.replace(document, datagrams=render_datagrams(spec, datagrams))
    return document if spec.listeners else None


def render_engine_file(
    document: DatagramDocument, paths: HaproxyPaths, *, failing: Failing = (), module: str = ""
) -> str:
    """Return the file of the engine that serves datagrams, without the members that fail their checks."""
    if document.engine == EngineName.LVS:
        return render_lvs(document, failing=failing)
    return render_nginx(document, paths, failing=failing, module=module)
