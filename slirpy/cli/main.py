"""Entry point of the command ``slirpy``.

Nothing is imported before :func:`main` runs, which gives SIGINT its default action first: an interrupt while the
rest is imported then ends the process without a traceback.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 2 ms that importing typing takes
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["EndedBySignal", "fail", "main", "run"]

INSTALL = "pip install 'slirpy[cli]'"
_PARTS = ("click", "rich")
"""Packages that the command line needs in addition to the library's."""
owns_process = False
"""True if this process is the command, and not a program that calls commands, such as a test."""


class EndedBySignal(SystemExit):
    """The end of a command because of a signal. Everything has been cleaned up; :func:`main` raises the signal again.

    The exit status is 128 plus its number where that is not possible, as a shell reports it.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def fail(text: str, status: int = 2) -> NoReturn:
    """End the program with one line on standard error."""
    from slirpy.cli import streams

    streams.tell(" ".join(text.split()), level="error")
    raise SystemExit(status)


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit.

    The exit status is 0, or 2 after a mistake, or 1 when a system resource is exhausted, or the one that the
    subcommand returns. A command that a signal ended ends by that signal. Each failure is one line on standard error.
    """
    run(_command)


def run(command: Callable[[], int]) -> NoReturn:
    """Run a program to its end, and exit with the status that it returns; see :func:`main`."""
    global owns_process
    owns_process = True
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import gc
    import sys

    from slirpy.cli import streams

    gc.set_threshold(100_000)  # imports make many objects that stay: collections among them took 10 ms
    output = streams.StandardOutput()
    number = None
    try:
        status = command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
        number = end.number if isinstance(end, EndedBySignal) else None
    except (OSError, MemoryError, ImportError, SystemError, SyntaxError) as error:
        status = 1
        if not output.failed:  # otherwise it is reported below
            text = streams.exhausted(error)
            if text is None:
                raise
            streams.tell(text, level="error")
    why = output.finish()
    if why is not None and status in (0, 1):
        if why:
            streams.tell(f"standard output: {why}", level="error")
        status = 1
    streams.flush_errors(sys.stderr)
    if number is not None:
        _die(number)
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End this process without taking the interpreter apart, which takes 3 ms and ends with the process anyway.

    Threads that are left keep the usual end, which waits for those that are no daemons.
    """
    import atexit
    import os
    import threading

    if threading.active_count() > 1:
        raise SystemExit(status)
    atexit._run_exitfuncs()
    os._exit(status)


def _die(number: int) -> None:
    """End this process by a signal, so that its parent learns why it ended. Returns if that is not possible."""
    import os
    import signal
    import sys

    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # for SIGQUIT
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _command() -> int:
    """Run the subcommand. Returns the exit status."""
    import errno
    import sys

    from slirpy.errors import SlirpyError

    if sys.platform == "linux" and sys.argv[1:2] == ["run"]:
        from slirpy.cli import sandbox

        sandbox.prepare()
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
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
                raise cause from None  # no mistake in the arguments, wherever descriptors ran out
            cause = cause.__context__
        fail(str(error))
    return status if isinstance(status, int) else 0
