"""Log records of programs, as lines of the trace."""

from __future__ import annotations

import logging
import re

from slirpy.testing.sim.current import current_host
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.trace import Trace

__all__ = ["LogCapture"]

_FORMAT = logging.Formatter("%(levelname)s %(name)s: %(message)s")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


class LogCapture(logging.Handler):
    """A handler of the root logger that adds what programs log to the trace, with their host and the virtual time.

    It takes what the levels of the loggers let pass, and changes none of them. Addresses of objects are left out, for
    they differ from run to run.

    Args:
        trace: the trace.
        scheduler: the time.
    """

    def __init__(self, trace: Trace, scheduler: Scheduler) -> None:
        super().__init__()
        self._trace = trace
        self._scheduler = scheduler
        self.setFormatter(_FORMAT)

    def emit(self, record: logging.LogRecord) -> None:
        """Add a record of a program of the network."""
        host = current_host()
        if host is None or host.net.trace is not self._trace:
            return
        try:
            text = self.format(record)
        except Exception:  # whatever the arguments of a message do, as in logging's own handlers
            self.handleError(record)
            return
        self._trace.note(self._scheduler.now, host.name, "log", _ADDRESS.sub("0x...", text))

    def start(self) -> None:
        """Begin to listen."""
        logging.getLogger().addHandler(self)

    def stop(self) -> None:
        """Stop listening."""
        logging.getLogger().removeHandler(self)
