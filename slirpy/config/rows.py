"""Rows of the table of options: the description of one option."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from slirpy.config.kinds import Kind

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["Group", "Option"]


class Group(StrEnum):
    """Headings under which options appear, in this order."""

    NETWORK = "Network"
    SERVICES = "Forwards and services"
    DNS = "DNS"
    DHCP = "DHCP"
    BOOT = "TFTP and boot"
    FIREWALL = "Firewall"
    BORDER = "Border"
    """Command line only."""
    WATCHING = "Watching"
    """Command line only."""
    SERVICE = "Service"
    """Command line only."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option."""

    name: str
    """The argument and attribute of :class:`~slirpy.config.Config`."""
    group: Group
    kind: Kind
    default: Any
    """None is accepted for an option only if it is the default."""
    default_text: str = ""
    """The default in words, where the value alone is not clear."""
    help: str
    """Purpose of the option; ``{guest}`` stands for the guest of a command."""
    more: str = ""
    """Additional text for the documentation."""
    flag: str | None
    """The flag of the command line; None: Python only. The flag of a switch inverts its default;
    that of one that begins with ``--no-`` has its counterpart."""
    flag_help: str = ""
    """Help of the flag, where it differs in meaning from the option."""
    qemu: str | None = None
    """The key in QEMU's option string."""
    item: str = ""
    """Name of a single value of a list in error messages, if it differs from the name of the option."""

    def check(self, value: Any) -> Any:
        """The value as :class:`~slirpy.config.Config` keeps it.

        Raises:
            ConfigError: the value is not allowed; the text names the option and what is allowed.
        """
        return None if value is None and self.default is None else self.kind.check(self.name, value)

    def shown_default(self) -> str:
        """The default, for the documentation."""
        if self.default_text:
            return self.default_text
        return "none" if self.default is None or self.default == () else str(self.default)
