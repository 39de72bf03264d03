"""Play many seeds, or one with its story: `make simulate`, `make simulate SEEDS=500`, `make simulate SEED=42`."""

import argparse
import multiprocessing
import os
import sys
import time

from tests.simulation.scenario import Failed, simulate


def play(seed: int) -> tuple[int, str]:
    """Return the seed and its story if it failed, else ""."""
    try:
        simulate(seed)
    except Failed as error:
        return seed, str(error)
    return seed, ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, default=None, help="play only this one and print its story")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        try:
            print("\n".join(simulate(chosen.seed).story.lines))
        except Failed as error:
            print(error)
            return 1
        return 0
    return play_many(range(chosen.first, chosen.first + chosen.seeds))


def play_many(seeds: range) -> int:
    began = time.monotonic()
    failed: list[int] = []
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for count, (seed, story) in enumerate(pool.imap_unordered(play, seeds, chunksize=10), start=1):
            if story:
                failed.append(seed)
                print(story if len(failed) <= 3 else f"{seed}: {story.splitlines()[-2]}", flush=True)
            if count % 1000 == 0:
                print(f"{count} seeds played, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(seeds)} seeds, {len(failed)} failed{': ' if failed else ''}{sorted(failed)[:50] if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
