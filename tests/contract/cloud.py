"""The unmodified openstack command in this process: its entry point is called, which saves a second for each command.

cloud = Cloud(folder, render_clouds_yaml(url))
cloud.ask("pool create --name a --protocol HTTP --lb-algorithm ROUND_ROBIN --loadbalancer web")   # its JSON
cloud.do("pool delete a")
cloud.refuse("pool delete a")                                                                     # what it complains of
Cloud(folder, text, "secret").ask("list")       # commands of another family
"""

import contextlib
import io
import json
import logging
import os
import shlex
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec

COMMANDS = frozenset(one.name.replace("_", " ") for one in entry_points(group="openstack.load_balancer.v2"))
"""What python-octaviaclient adds to the openstack command."""


class Done(msgspec.Struct, frozen=True):
    """What became of a command."""

    code: int
    out: str
    err: str


class Cloud:
    """The openstack command with one cloud; it remembers what went well and what was refused."""

    def __init__(self, folder: Path, clouds_yaml: str, family: str = "loadbalancer") -> None:
        """`family`: the words that all commands begin with."""
        self._family = family
        file = folder / "clouds.yaml"
        file.write_text(clouds_yaml, encoding="utf-8")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self.environment = clean | {"OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": "statera"}
        self.succeeded: set[str] = set()
        self.refused: set[str] = set()

    def run(self, words: str) -> Done:
        """Run `openstack <family>` with more words, quoted as for a shell."""
        # It takes a second of every process that merely collects the tests.
        from openstackclient.shell import main

        line = shlex.split(f"{self._family} {words}")
        out, err = io.StringIO(), io.StringIO()
        with self._at_home(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(line)
            except SystemExit as end:
                code = int(end.code or 0)
        (self.refused if code else self.succeeded).add(name_command(line))
        return Done(code, out.getvalue(), err.getvalue())

    @contextlib.contextmanager
    def _at_home(self) -> Iterator[None]:
        """Undo what a process of its own would not leave behind."""
        from osc_lib.clientmanager import ClientCache, ClientManager

        environment, root = dict(os.environ), logging.getLogger()
        handlers, level = list(root.handlers), root.level
        os.environ.clear()
        os.environ.update(self.environment)
        # It makes its clients once in the life of a process.
        for cache in vars(ClientManager).values():
            if isinstance(cache, ClientCache):
                cache._handle = None
        try:
            with warnings.catch_warnings():
                yield
        finally:
            os.environ.clear()
            os.environ.update(environment)
            root.handlers[:] = handlers
            root.setLevel(level)

    def ask(self, words: str) -> Any:
        done = self.run(f"{words} -f json")
        assert done.code == 0, f"{words}: {done.err}"
        return json.loads(done.out)

    def do(self, words: str) -> str:
        done = self.run(words)
        assert done.code == 0, f"{words}: {done.err}"
        return done.out

    def refuse(self, words: str) -> str:
        done = self.run(words)
        assert done.code != 0, f"{words}: {done.out}"
        return done.err


def name_command(line: list[str]) -> str:
    """Return the longest name of a command in `COMMANDS` that a line begins with, "" for one of another family."""
    begun = [" ".join(line[:count]) for count in range(1, 5)]
    return max((one for one in begun if one in COMMANDS), key=len, default="")
