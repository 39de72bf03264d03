"""What the processes of `statera up` do without: each of them would keep it in memory for ever."""

import subprocess
import sys


def test_no_process_draws_and_the_supervisor_needs_no_netlink() -> None:
    source = (
        "import sys, statera.cli.main, statera.cli.up\n"
        "print('pyroute2' in sys.modules)\n"
        "import statera.agent.server, statera.api.application, statera.control.worker, statera.health.service\n"
        "print('pyroute2' in sys.modules, 'rich' in sys.modules)\n"
        "import rich.console"
    )
    done = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True)
    assert (done.stderr, done.stdout.split()) == ("", ["False", "True", "False"])
