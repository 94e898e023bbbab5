"""``python -m tests.mutation [AREA ...]``: changes of the package that its fast tests do not notice."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.mutation import mutmut
from tests.support.repository import REPOSITORY


def main() -> int:
    """Run the mutants of each area and print the survivors; 1 if too many of them are not listed."""
    areas = mutmut.areas()
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"one of {', '.join(areas)}; default: all")
    parser.add_argument("--most", type=int, help="mutants to run of each area, chosen by chance; default: all")
    parser.add_argument("--seed", type=int, default=1, help="for that choice (1)")
    parser.add_argument("--only", default="*", help="pattern of modules, such as slirpy.nat.udp")
    parser.add_argument("--least", type=float, default=90.0, help="percentage that must be killed (90)")
    given = parser.parse_args()
    for name in given.areas:
        if name not in areas:
            parser.error(f"no area {name!r}; known are {', '.join(areas)}")
    weak = False
    for name in given.areas or areas:
        folder: Path = REPOSITORY / "build" / "mutation" / name
        figures = mutmut.run(name, folder, most=given.most, seed=given.seed, only=given.only)
        unknown = [change for change in figures.survivors if not mutmut.is_listed(change)]
        counted = figures.killed + len(unknown)
        rate = 100 * figures.killed / counted if counted else 100.0
        weak = weak or rate < given.least
        print(
            f"{name}: {figures.tried} of {figures.mutants} mutants run, {figures.killed} killed,"
            f" {len(figures.survivors) - len(unknown)} listed, {len(unknown)} others survived: {rate:.1f} %",
            flush=True,
        )
        for change in unknown:
            print(
                f"\n[[survivor]]\nfunction = {json.dumps(change.function)}\nwas = {json.dumps(change.was)}\n"
                f"becomes = {json.dumps(change.becomes)}"
            )
    return int(weak)


if __name__ == "__main__":
    raise SystemExit(main())
