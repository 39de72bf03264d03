"""Files of certificates and keys, in memory only: on a tmpfs, readable by root and the group of the sandbox's user.

`keys/<digest>` holds a content, `tls/<name>` leads to the one that the live document means. So a document can be taken
back without having its contents again, and HAProxy finds each file under a name that stays.
After a reboot nothing is left of them: the controller gives them again.
Where the run folder is on a disk, a tmpfs is mounted below it, and `keys` leads there.
"""

import contextlib
import hashlib
import hmac
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from statera.base.errors import Lasting, Transient
from statera.base.files import write_whole
from statera.base.secret import Secret
from statera.model.document import Document

KEYS, NAMES = "keys", "tls"
MEMORY, MEMORY_MIB = "memory", 256
"""Of a tmpfs of our own, in the run folder of all amphorae; it takes what is in it."""
_IN_MEMORY = ("tmpfs", "ramfs")


def ensure_memory(run_dir: Path) -> None:
    """Make sure that there is a place in memory below the run folder of all amphorae."""
    place = run_dir / MEMORY
    if is_in_memory(run_dir) or is_in_memory(place):
        return
    place.mkdir(parents=True, exist_ok=True)
    options = f"size={MEMORY_MIB}m,mode=0711,nosuid,nodev,noexec"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "statera-keys", place], check=True, capture_output=True)


def remove_memory(run_dir: Path) -> None:
    """Take that place away."""
    place = run_dir / MEMORY
    if place.is_dir():
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)


def keep_contents(run: Path, contents: Mapping[str, Secret[bytes]], group_id: int) -> None:
    """Put contents where links find them. Raises `Lasting` (slug `run-dir-not-in-memory`), `Transient`."""
    if not contents:
        return
    folder = run / KEYS
    if not folder.is_dir():
        _make_folder(run, folder)
    _guard(folder, group_id, 0o750)
    for digest, content in contents.items():
        if not hmac.compare_digest(hashlib.sha256(content.reveal()).hexdigest().encode(), digest.encode()):
            raise Transient("certificate-garbled", "A certificate did not arrive as it was sent.")
        if not (folder / digest).exists():
            write_whole(folder / digest, content.reveal(), 0o640, group_id=group_id)


def lend_contents(run: Path, beside: Path, group_id: int) -> None:
    """Put the contents that are in a folder into another one, too: what comes or goes in one of both stays there."""
    folder, other = run / KEYS, beside / KEYS
    if not folder.is_dir():
        return
    if folder.is_symlink():
        place = folder.readlink().with_name(beside.name)
        place.mkdir(exist_ok=True)
        other.symlink_to(place)
    else:
        other.mkdir()
    _guard(other, group_id, 0o750)
    # What is being written has a suffix.
    for path in [one for one in folder.iterdir() if not one.suffix]:
        # An edit may drop it this very moment.
        with contextlib.suppress(FileNotFoundError):
            os.link(path, other / path.name)


def own_contents(run: Path, group_id: int) -> None:
    """Let another group read the contents that are here, and no longer that of before."""
    folder = run / KEYS
    if folder.is_dir():
        _guard(folder, group_id, 0o750)
        for path in folder.iterdir():
            _guard(path, group_id, 0o640)


def _make_folder(run: Path, folder: Path) -> None:
    folder.unlink(missing_ok=True)
    if is_in_memory(run):
        folder.mkdir()
        return
    place = run.parents[1] / MEMORY
    if not is_in_memory(place):
        sentence = f"Keys are kept in memory only, and neither {run} nor {place} is on a tmpfs."
        raise Lasting("run-dir-not-in-memory", sentence)
    (place / run.name).mkdir(exist_ok=True)
    folder.symlink_to(place / run.name)


def forget_contents(run: Path) -> None:
    """Forget all contents that were kept for this folder itself."""
    folder = run / KEYS
    if folder.is_symlink() and folder.readlink().name == run.name:
        shutil.rmtree(folder.readlink(), ignore_errors=True)


def _guard(path: Path, group_id: int, mode: int) -> None:
    os.chown(path, -1, group_id)
    path.chmod(mode)


def list_missing(run: Path, document: Document) -> list[str]:
    """Return the digests of the contents that a document needs and that are not here."""
    return [digest for digest in document.files().values() if not (run / KEYS / digest).exists()]


def link_files(run: Path, document: Document) -> None:
    """Make each file that a document names lead to its content; what it does not name goes."""
    wanted, root = document.files(), run / NAMES
    for name, digest in wanted.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}")
        beside.unlink(missing_ok=True)
        beside.symlink_to(Path(*[".."] * len(path.relative_to(run).parts[:-1]), KEYS, digest))
        beside.replace(path)
    for path in sorted(root.rglob("*"), reverse=True) if root.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif str(path.relative_to(root)) not in wanted:
            path.unlink(missing_ok=True)


def drop_contents(run: Path, documents: Iterable[Document | None]) -> None:
    """Forget the contents that none of these documents needs."""
    needed = {digest for document in documents if document is not None for digest in document.files().values()}
    folder = run / KEYS
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in needed:
            path.unlink(missing_ok=True)
    if not needed:
        shutil.rmtree(run / NAMES, ignore_errors=True)


def read_content(run: Path, name: str, document: Document) -> bytes:
    """Return the content that a document means by a name."""
    return (run / KEYS / document.files()[name]).read_bytes()


def is_in_memory(path: Path) -> bool:
    """Say whether a folder is on a file system that no disk is behind (proc(5), mountinfo)."""
    real, found, kind = path.resolve(), -1, ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        words, _, rest = line.partition(" - ")
        place = Path(words.split()[4].encode().decode("unicode_escape"))
        if real.is_relative_to(place) and len(place.parts) >= found:
            found, kind = len(place.parts), rest.split()[0]
    return kind in _IN_MEMORY
