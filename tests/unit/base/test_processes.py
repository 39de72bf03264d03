"""What the kernel tells of processes is read as it is."""

import os
import subprocess

import pytest

from statera.base.processes import is_alive, list_family, read_status


def test_a_line_of_the_status_is_given_by_its_words() -> None:
    assert read_status(os.getpid(), "PPid") == [str(os.getppid())]
    assert read_status("self", "Uid")[0] == str(os.getuid())
    assert read_status("self", "Name") != []
    assert read_status("self", "Pid") == [str(os.getpid())], "not the end of PPid"
    assert read_status("self", "Nothing") == []


def test_a_family_is_a_process_with_its_children_and_not_theirs() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo; wait"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        family = list_family(parent.pid)
        assert family[0] == parent.pid
        assert len(family) == 2
        assert parent.pid in list_family(os.getpid())
        assert family[1] not in list_family(os.getpid())
        for pid in family:
            os.kill(pid, 9)


def test_a_process_that_has_gone_has_no_status_and_no_family() -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    assert not is_alive(gone.pid)
    assert list_family(gone.pid) == [gone.pid]
    with pytest.raises(FileNotFoundError):
        read_status(gone.pid, "Uid")
