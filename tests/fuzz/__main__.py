"""`make fuzz`: mutations of each parser's corpus for some minutes; a find is kept beside the corpus and printed."""

import argparse
import logging
import random
import sys
import time
import traceback

import structlog

from tests.fuzz.mutate import mutate
from tests.fuzz.once import Hung, keep_find, try_once
from tests.fuzz.targets import CORPUS, TARGETS, load_corpus


def main() -> int:
    """Return 1 when something was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300.0, help="in all")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", choices=list(TARGETS), default=None)
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    # What is refused is told in the log, too; here it would be all that one sees.
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    names = [chosen.only] if chosen.only else list(TARGETS)
    finds = sum(_fuzz(name, random.Random(f"{seed} {name}"), chosen.seconds / len(names)) for name in names)
    print(f"{finds} finds")
    return min(finds, 1)


def _fuzz(name: str, dice: random.Random, seconds: float) -> int:
    corpus, end, tries = load_corpus(name), time.monotonic() + seconds, 0
    found: set[str] = set()
    while time.monotonic() < end:
        tries += 1
        data = mutate(dice, corpus)
        try:
            try_once(TARGETS[name], data)
        except (Exception, Hung) as error:
            where = str([(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)][-1])
            if where not in found:
                found.add(where)
                _keep(name, data, error)
    print(f"{name}: {tries} tries, {len(found)} finds", flush=True)
    return len(found)


def _keep(name: str, data: bytes, error: BaseException) -> None:
    path = keep_find(CORPUS / name, data, error)
    print(f"{path}: {type(error).__name__}: {str(error)[:200]}")
    traceback.print_exception(error, limit=-3)


if __name__ == "__main__":
    sys.exit(main())
