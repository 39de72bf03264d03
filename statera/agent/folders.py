"""Where the agent keeps things on its host, and what it remembers of each amphora between its own lives.

`<data_dir>/amphorae/<id>/` outlives a reboot: the record and the heartbeat key. `<run_dir>/amphorae/<id>/` is on a
tmpfs: the live configuration, HAProxy's sockets, its pid and its words.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from statera.agent.contents import (
    KEYS,
    NAMES,
    ensure_memory,
    forget_contents,
    lend_contents,
    link_files,
    own_contents,
    remove_memory,
)
from statera.agent.users import User, claim_user, release_user
from statera.agent.words import Words
from statera.base.files import write_whole
from statera.base.ids import is_uuid
from statera.base.listening import pinned_socket
from statera.base.secret import Secret
from statera.base.settings import AgentSettings, Settings
from statera.base.unreadable import UNREADABLE
from statera.model.document import Document
from statera.model.protocol import FIRST_PROTOCOL, PROTOCOL
from statera.model.spec import SandboxSpec

TOMBSTONE_KEPT_S = 3600.0
"""A removed amphora's epoch is remembered so long: a late request of a former worker must not build it again."""

NEVER = -1
"""Below every epoch: that of a spare is 0."""
BESIDE = "check-"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of one amphora, as far as the agent was told."""

    sandbox: SandboxSpec
    epoch: int
    deployment_id: str = ""
    sandbox_digest: str = ""
    """As it came with `sandbox`; "" when none came."""
    is_built: bool = False
    """Whether building to `sandbox` succeeded: what was cut off or refused must not be taken for done."""
    generation: int = 0
    document: Document | None = None
    document_digest: str = ""
    """As it came with `document`; "" when none came."""
    protocol: int = FIRST_PROTOCOL
    """Of the agent that wrote it."""
    user_id: int = 0
    """Of its processes, and of their group; 0 while it has none of its own."""

    def read_again(self) -> "Record":
        """Return it as an agent of this version remembers it.

        An older or a newer one has kept other attributes of what it was told, so a digest that came says nothing of
        what is here: this one computes it, and is told again what is missing.
        """
        if self.protocol == PROTOCOL:
            return self
        return msgspec.structs.replace(self, protocol=PROTOCOL, sandbox_digest="", document_digest="")

    def tell_sandbox_digest(self) -> str:
        """Return the digest that whoever ordered the sandbox knows it by."""
        return self.sandbox_digest or self.sandbox.digest()

    def tell_document_digest(self) -> str:
        """Return the digest that whoever sent the document knows it by, "" without one."""
        return "" if self.document is None else self.document_digest or self.document.digest()


class AmphoraFolders:
    """The two folders of one amphora."""

    def __init__(self, keep: Path, run: Path) -> None:
        self.keep = keep
        self.run = run

    @property
    def configuration(self) -> Path:
        return self.run / "haproxy.cfg"

    @property
    def lists(self) -> Path:
        """Values that rules of the configuration read, one file for each list."""
        return self.run / "lists"

    @property
    def pid(self) -> Path:
        return self.run / "pid"

    @property
    def words(self) -> Path:
        """What HAProxy printed."""
        return self.run / "words"

    @property
    def vrrp(self) -> Path:
        """The configuration of the keepalived that shares the VIPs."""
        return self.run / "keepalived.conf"

    @property
    def changing(self) -> Path:
        """There while what is live may be another configuration than the one that is remembered."""
        return self.run / "changing"

    @property
    def live(self) -> Path:
        """The only folder that HAProxy's user may write in: its sockets."""
        return self.run / "live"

    def make(self, user: User) -> None:
        """Make both folders with the right owners; again is fine."""
        self.keep.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.run.mkdir(parents=True, exist_ok=True)
        self.live.mkdir(exist_ok=True)
        self.own(user)
        self.write("ping", PING_SCRIPT, mode=0o755)

    def own(self, user: User) -> None:
        """Let this user in and nobody else; sockets that are there become the user's, too."""
        _guard_run(self.run, user)
        own_contents(self.run, user.group_id)
        if self.live.is_dir():
            os.chown(self.live, user.user_id, user.group_id)
            self.live.chmod(0o700)
            for path in self.live.iterdir():
                _own_live(path, user)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Replace a file of the run folder at once, so that nobody reads half of it."""
        write_whole(self.run / name, text.encode(), mode)

    def write_document(self, document: Document) -> None:
        """Write a configuration with its lists: before it what it reads, after it goes what it reads no more."""
        link_files(self.run, document)
        lists = document.lists()
        self.lists.mkdir(exist_ok=True)
        self.lists.chmod(0o755)
        for name, text in lists.items():
            _write_anew(self.lists / name, text.encode())
        self.write(self.configuration.name, document.text())
        for path in self.lists.iterdir():
            if path.name not in lists:
                path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def beside(self, user: User) -> Iterator["AmphoraFolders"]:
        """Give a run folder like this one for a while, to write another configuration into: the rest is the same."""
        self.run.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=BESIDE, dir=self.run.parent))
        try:
            _guard_run(folder, user)
            for path in self.run.iterdir() if self.run.is_dir() else ():
                if path not in (self.configuration, self.lists, self.run / NAMES, self.run / KEYS):
                    (folder / path.name).symlink_to(path)
            lend_contents(self.run, folder, user.group_id)
            yield AmphoraFolders(self.keep, folder)
        finally:
            forget_contents(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, record: Record) -> None:
        write_whole(self.keep / "record.json", msgspec.json.encode(record), 0o600)

    def save_key(self, key: Secret[bytes]) -> None:
        write_whole(self.keep / "key", key.reveal(), 0o600)

    def load(self) -> tuple[Record, Secret[bytes]] | None:
        """Return what is remembered; None when it is missing or was cut off while being written."""
        try:
            record = msgspec.json.decode((self.keep / "record.json").read_bytes(), type=Record).read_again()
            key = Secret((self.keep / "key").read_bytes())
        except (OSError, *UNREADABLE):
            return None
        if self.changing.exists():
            # An agent was killed in between: nobody knows what is live, so the next configuration is loaded anew.
            record = msgspec.structs.replace(record, document=None)
        return record, key

    def remove(self) -> None:
        """Remove both; the kept one last, because it is what says that there may be something to remove."""
        forget_contents(self.run)
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.rmtree(self.keep, ignore_errors=True)
        release_user(self.keep)


def _guard_run(folder: Path, user: User) -> None:
    os.chown(folder, 0, user.group_id)
    folder.chmod(0o750)


def _own_live(path: Path, user: User) -> None:
    """Give a socket to a user; what else is another one's goes: it may be a link to what root alone may have."""
    with contextlib.suppress(OSError):
        if path.lstat().st_uid == user.user_id:
            return
        try:
            with pinned_socket(path) as pinned:
                os.chown(pinned, user.user_id, user.group_id)
        except OSError:
            path.unlink()


def _write_anew(path: Path, content: bytes) -> None:
    # There may be a thousand lists, and an edit changes one of them.
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    write_whole(path, content, 0o644)


# HAProxy calls it with: proxy address, proxy port, server address, server port (configuration manual, external-check).
PING_SCRIPT = '#!/bin/sh\nexec ping -q -c 1 -w 30 "$3" >/dev/null 2>&1\n'


class HostFolders:
    """The folders of all amphorae of one installation on this host."""

    def __init__(self, settings: Settings) -> None:
        self._keep = Path(settings.data_dir) / "amphorae"
        self._run = Path(settings.run_dir) / "amphorae"
        self._tombstones = Path(settings.data_dir) / "tombstones"
        self._deployments = Path(settings.data_dir) / "deployments"

    def of(self, amphora_id: str) -> AmphoraFolders:
        return AmphoraFolders(self._keep / amphora_id, self._run / amphora_id)

    @contextlib.contextmanager
    def lend_user(self, agent: AgentSettings) -> Iterator[User]:
        """Give a user for a while, for a look at a configuration that has no sandbox. Raises `Lasting`."""
        self._run.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=BESIDE, dir=self._run))
        try:
            number = claim_user(agent, place)
            yield User(number, number)
        finally:
            place.rmdir()
            release_user(place)

    def ensure_memory(self) -> None:
        """Make sure that there is a place for keys. Raises `OSError`, `CalledProcessError`."""
        self._run.parent.mkdir(parents=True, exist_ok=True)
        ensure_memory(self._run.parent)

    def clear(self) -> None:
        """Remove what a check that was cut off has left."""
        for path in self._run.glob(f"{BESIDE}*"):
            forget_contents(path)
            shutil.rmtree(path, ignore_errors=True)

    def list_ids(self) -> list[str]:
        """Return the amphorae that left a trace in either place."""
        names: set[str] = set()
        for place in (self._keep, self._run):
            with contextlib.suppress(FileNotFoundError):
                names |= set(os.listdir(place))
        return sorted(name for name in names if is_uuid(name))

    # Epochs of removed amphorae

    def load_tombstone(self, amphora_id: str) -> int:
        """Return the epoch of the removal, `NEVER` when none is remembered."""
        try:
            return int((self._tombstones / amphora_id).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return NEVER

    def save_tombstone(self, amphora_id: str, epoch: int) -> None:
        self._tombstones.mkdir(parents=True, exist_ok=True)
        write_whole(self._tombstones / amphora_id, str(epoch).encode(), 0o600)

    def trim(self) -> None:
        """Forget what is long over: removals, and what programs have printed, of each member that came and went say."""
        for folder in list(self._run.iterdir()) if self._run.is_dir() else ():
            # It may be going this very moment.
            with contextlib.suppress(OSError):
                for path in list(folder.glob("*words")):
                    Words(path).trim()
        for path in self._list_tombstones():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > TOMBSTONE_KEPT_S:
                    path.unlink()

    def _list_tombstones(self) -> Iterator[Path]:
        if self._tombstones.is_dir():
            yield from list(self._tombstones.iterdir())

    def remove(self) -> None:
        """Remove everything, after the amphorae themselves are gone."""
        remove_memory(self._run.parent)
        for place in (self._keep, self._run, self._tombstones, self._deployments):
            shutil.rmtree(place, ignore_errors=True)
