"""Where the command ``slirpy`` begins."""

from __future__ import annotations

import sys
from typing import NoReturn

from slirpy.errors import SlirpyError

__all__ = ["fail", "main"]


def fail(text: str, status: int = 2) -> NoReturn:
    """End the program with one line on standard error."""
    print("slirpy:", " ".join(text.split()), file=sys.stderr)
    raise SystemExit(status)


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit.

    The exit status is 0, or 2 after a mistake that is told in one line, or what the subcommand says.
    """
    try:
        from slirpy.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        fail("the command line needs more than the library does: pip install 'slirpy[cli]'")
    try:
        app(prog_name="slirpy")
    except SlirpyError as error:
        fail(str(error))
    raise SystemExit(0)
