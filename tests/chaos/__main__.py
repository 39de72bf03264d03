"""`make chaos`: a long chaos. `--seed` replays one; `--seconds` says how long faults go on, `--pause` how far apart."""

import argparse
import random
import sys

import msgspec

from tests.chaos.run import Chaos


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--pause", type=float, default=1.0)
    wanted = options.parse_args()
    print(f"Seed {wanted.seed}, {wanted.seconds:.0f} s", flush=True)
    outcome = Chaos(wanted.seed, wanted.seconds, wanted.pause, "chaos", lambda line: print(line, flush=True)).run()
    print(msgspec.json.format(msgspec.json.encode(outcome), indent=2).decode())
    return int(bool(outcome.wrong))


if __name__ == "__main__":
    sys.exit(main())
