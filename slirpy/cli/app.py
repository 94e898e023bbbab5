"""The command group. Subcommands are imported on demand, so that ``slirpy --version`` is fast."""

from __future__ import annotations

import importlib

import click

from slirpy._version import __compiled__, __version__

__all__ = ["app"]

COMMANDS = {
    "run": ("slirpy.cli.run:run", "Run a command whose only network is slirpy (Linux)."),
    "attach": (
        "slirpy.cli.attach.command:attach",
        "Give an existing namespace slirpy as its network (Linux).",
    ),
    "qemu": ("slirpy.cli.qemu:qemu", "Run QEMU with its network card already connected to slirpy."),
    "listen": ("slirpy.cli.listen:listen", "Serve guests, such as QEMU's, that connect by a socket."),
    "ctl": ("slirpy.cli.ctltaps:ctl", "Inspect and change a running network."),
    "audit": ("slirpy.cli.audit:audit", "Show what audit logs say: who reached what, and what was refused."),
    "policy": ("slirpy.cli.policycheck:policy", "Check a policy: which rule decides, and what it leaves open."),
    "switch": ("slirpy.cli.switch:switch", "Join guests, TAP interfaces and other switches to one network."),
    "unit": ("slirpy.cli.unit:unit", "Print units with which systemd runs slirpy listen."),
    "packetdrill": ("slirpy.cli.packetdrill:packetdrill", "Run scripts of packetdrill on the TCP engine."),
    "replay": ("slirpy.cli.replay:replay", "Run a failed test in virtual time again, and draw it."),
    "demo": ("slirpy.cli.demo:demo", "See it work: no privileges, any system, a few seconds."),
}
"""Name of each subcommand, the location of its click command, and a one-line description."""


class LazyGroup(click.Group):
    """A group that lists its commands by name, and imports one only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command. Returns None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"slirpy %(version)s{' (compiled)' if __compiled__ else ''}")
def app() -> None:
    """A user-mode TCP/IP stack: a whole network for a guest, carried by ordinary sockets.

    \b
    Examples:
      slirpy demo                                see it work, in seconds
      slirpy run -- bash                         a shell behind slirpy
      slirpy run --hostfwd tcp::8080-:80 -- CMD  let the host reach port 80 of CMD
      slirpy run --help                          all that run can do
    """
