"""`statera clean`: remove what this installation built on this host, and what a crashed demonstration left."""

import os
import sys
from pathlib import Path

from statera.app import has_agents, open_embedded_postgres, purge_host
from statera.base.errors import Lasting
from statera.base.settings import Settings
from statera.cli.demo import remove_crashed_demo
from statera.cli.preflight import check_ready, describe_faults
from statera.cli.up import lock_data_dir


def run_clean(settings: Settings) -> int:
    """Remove sandboxes, namespaces, bridges, processes; keep the database and certificates of an installation."""
    if os.geteuid() != 0 and has_agents(settings):
        sys.stderr.write(describe_faults(check_ready(settings)))
        return 1
    if os.geteuid() == 0 and not remove_crashed_demo():
        print("A demonstration is running: Ctrl-C there removes it.")
    if Path(settings.data_dir).exists():
        try:
            _clean_installation(settings)
        except Lasting as error:
            if error.reason.slug != "already-running":
                raise
            sys.stderr.write(f"statera: {error.sentence}\n  how to mend it: stop it first, then clean.\n")
            return 1
    print("Removed what was left on this host.")
    return 0


def _clean_installation(settings: Settings) -> None:
    # With the lock: whoever starts Statera meanwhile would build what is being removed.
    with lock_data_dir(settings):
        if settings.database.is_private:
            open_embedded_postgres(settings).stop()
        if has_agents(settings):
            purge_host(settings)
