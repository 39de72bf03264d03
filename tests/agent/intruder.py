"""What somebody does who has taken over a process of a sandbox: tries everything on another one, and tells what worked.

A program of its own: it runs as a sandbox's user, with a Python that needs nothing of this installation.
Arguments: pids, separated by commas, then the folders to look into. It prints a line for each thing that it got.
"""

import os
import socket
import sys


def main(pids: str, *roots: str) -> None:
    for root in roots:
        _walk(root)
    for pid in pids.split(","):
        for name in ("environ", "mem", "maps", "fd", "root/run/statera-amphora/haproxy.cfg"):
            _try(f"/proc/{pid}/{name}")
        try:
            os.kill(int(pid), 0)
            print("signal", pid)
        except OSError:
            pass


def _walk(root: str) -> None:
    for folder, folders, files in os.walk(root):
        for name in (".", *folders, *files):
            _try(os.path.join(folder, name))


def _try(path: str) -> None:
    try:
        if os.path.isdir(path):
            os.listdir(path)
        elif path.endswith(("stats", "master", "exporter", "metrics")):
            with socket.socket(socket.AF_UNIX) as connection:
                os.chdir(os.path.dirname(path))  # A path may be longer than the kernel takes.
                connection.connect(os.path.basename(path))
        else:
            with open(path, "rb") as file:
                file.read(0 if path.startswith("/proc") else -1)
    except OSError:
        return
    print("read", path)
    try:
        os.close(os.open(path, os.O_WRONLY))
        print("write", path)
    except OSError:
        pass


main(*sys.argv[1:])
