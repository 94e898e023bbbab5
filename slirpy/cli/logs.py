"""The form of what a command says on standard error: ``--log-level`` and ``--log-format``."""

from __future__ import annotations

TYPE_CHECKING = False  # as in main.py: this is imported at every start
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FORMATS", "LEVELS", "LogStyle", "style"]

LEVELS = ("debug", "info", "warning", "error")
"""Least severe first. Errors end the command, or what was being done."""
FORMATS = ("text", "json")


class LogStyle:
    """The messages that are written, and their form."""

    level = "info"
    """The least severe of :data:`LEVELS` that is written."""
    format = "text"
    """One of :data:`FORMATS`."""

    def says(self, level: str) -> bool:
        """Report whether messages of this level are written."""
        return LEVELS.index(level) >= LEVELS.index(self.level)

    def line(self, level: str, message: str, *, prefix: str = "", **more: Any) -> str:
        """A message as one line.

        Args:
            level: one of :data:`LEVELS`.
            message: the text.
            prefix: put before it, unless the form is JSON.
            more: further fields, for JSON.
        """
        if self.format == "text":
            return prefix + message
        import json
        from datetime import UTC, datetime

        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
        return json.dumps({"time": now, "level": level, "message": message, **more})


style = LogStyle()
"""The style of this process."""
