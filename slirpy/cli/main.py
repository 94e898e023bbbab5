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
        import click

        from slirpy.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        fail("the command line needs more than the library does: pip install 'slirpy[cli]'")
    try:
        status = app(prog_name="slirpy", standalone_mode=False)
    except click.UsageError as error:
        if error.format_message().startswith("Usage:"):  # no command at all is answered by the whole help
            error.show()
            raise SystemExit(2) from None
        command = error.ctx.command_path if error.ctx else "slirpy"
        fail(f"{error.format_message().rstrip('.')}; see {command} --help")
    except click.ClickException as error:
        fail(error.format_message())
    except click.Abort:
        fail("interrupted", 130)
    except SlirpyError as error:
        fail(str(error))
    raise SystemExit(status if isinstance(status, int) else 0)
