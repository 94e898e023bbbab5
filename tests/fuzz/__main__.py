"""``python -m tests.fuzz [TARGET ...]``: coverage-guided fuzzing of codecs and stacks with Atheris."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.fuzz import campaign, inputs
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Fuzz the targets one after the other; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; default: all"
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--seed", type=int, default=0, help="of libFuzzer; default: another one each time")
    parser.add_argument("--keep", action="store_true", help="keep the inputs that reach something new")
    given = parser.parse_args()
    for name in given.targets:
        if name not in TARGETS:
            parser.error(f"no target {name!r}; known are {', '.join(TARGETS)}")
    failed = False
    for target in given.targets or TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            outcome = campaign.fuzz(target, given.seconds, Path(folder), given.seed)
            print(f"{target}: {outcome.runs} inputs in {given.seconds} s", flush=True)
            if outcome.crash is not None:
                failed = True
                print(outcome.output[-4000:])
                print(f"{target} fails; the input, for tests/fuzz/corpus/{target}.hex:\n{outcome.crash.hex()}")
            elif given.keep:
                before = len(inputs.read(target))
                print(
                    f"{target}: {campaign.keep(target, Path(folder))} inputs kept, {before} before", flush=True
                )
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
