"""A process of its own that explains one request: `python -m statera.api.judge`.

It reads a `Judged` as JSON and writes the `Explanation`. It imports little, so that it starts at once.
"""

import sys

import msgspec

from statera.model.l7 import Request, explain
from statera.model.tree import Tree


class Judged(msgspec.Struct, frozen=True):
    """What is to be explained."""

    tree: Tree
    request: Request


def main() -> None:
    judged = msgspec.json.decode(sys.stdin.buffer.read(), type=Judged)
    sys.stdout.buffer.write(msgspec.json.encode(explain(judged.tree, judged.request)))


if __name__ == "__main__":
    main()
