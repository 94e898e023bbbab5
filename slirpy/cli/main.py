"""Entry point of the command ``slirpy``.

Nothing is imported before :func:`main` runs, which gives SIGINT its default action first: an interrupt while the
rest is imported then ends the process without a traceback.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 2 ms that importing typing takes
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["fail", "main"]

INSTALL = "pip install 'slirpy[cli]'"
_PARTS = ("click", "rich")
"""Packages that the command line needs in addition to the library's."""
owns_process = False
"""True if this process is the command, and not a program that calls commands, such as a test."""


def fail(text: str, status: int = 2) -> NoReturn:
    """End the program with one line on standard error."""
    from slirpy.cli import streams

    streams.tell(" ".join(text.split()))
    raise SystemExit(status)


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit.

    The exit status is 0, or 2 after a mistake, or 1 when a system resource is exhausted, or the one that the
    subcommand returns. Each failure is one line on standard error.
    """
    global owns_process
    owns_process = True
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import gc
    import sys

    from slirpy.cli import streams

    gc.set_threshold(10_000)  # imports make many objects that stay: collections among them took 10 ms
    output = streams.StandardOutput()
    try:
        status = _command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except (OSError, MemoryError, ImportError, SystemError, SyntaxError) as error:
        status = 1
        if not output.failed:  # otherwise it is reported below
            text = streams.exhausted(error)
            if text is None:
                raise
            streams.tell(text)
    why = output.finish()
    if why is not None and status in (0, 1):
        if why:
            streams.tell(f"standard output: {why}")
        status = 1
    streams.flush_errors(sys.stderr)
    raise SystemExit(status)


def _command() -> int:
    """Run the subcommand. Returns the exit status."""
    from slirpy.errors import SlirpyError

    try:
        import click

        from slirpy.cli.app import app

        status = app(prog_name="slirpy", standalone_mode=False)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PARTS:
            raise
        fail(f"the command line needs more than the library does: {INSTALL}")
    except click.UsageError as error:
        if error.format_message().startswith("Usage:"):  # without a command, show the complete help
            error.show()
            raise SystemExit(2) from None
        command = error.ctx.command_path if error.ctx else "slirpy"
        fail(f"{error.format_message().rstrip('.')}; see {command} --help")
    except click.ClickException as error:
        fail(error.format_message())
    except SlirpyError as error:
        fail(str(error))
    return status if isinstance(status, int) else 0
