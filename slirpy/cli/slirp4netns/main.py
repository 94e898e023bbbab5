"""The program ``slirpy-slirp4netns``.

Like the entry point of ``slirpy``, it imports nothing before it knows that SIGINT ends it without a traceback.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from contextlib import ExitStack
    from typing import NoReturn

    from slirpy import Config, Slirp
    from slirpy.cli.attach.entry import Entry
    from slirpy.cli.serving import Ending
    from slirpy.cli.slirp4netns.arguments import Arguments
    from slirpy.interfaces import Link
    from slirpy.sandbox.root import PrivateRoot

__all__ = ["main"]

_SHOWN = ("/etc", "/run")
"""Folders of the root folder that slirp4netns makes with --enable-sandbox."""
_FAILED = 1
"""Exit status of every failure."""


def main() -> NoReturn:
    """Run the program with the arguments of the process, and exit.

    The exit status is 0 when the exit descriptor hangs up or the namespace ends, and 1 after a mistake. A signal ends
    the process as if it were not caught, once everything is removed.
    """
    import os
    import signal
    import sys

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import gc

    gc.set_threshold(10_000)
    from slirpy.cli import main as process
    from slirpy.cli.slirp4netns.arguments import UsageError, parse, usage
    from slirpy.errors import SlirpyError

    process.owns_process = True
    program = sys.argv[0] or "slirp4netns"
    status = _FAILED
    try:
        arguments = parse(program, sys.argv[1:])
        number = _Session(arguments).run()
        sys.stdout.flush()
        if number:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        status = 0
    except UsageError as error:
        if str(error):
            print(error, file=sys.stderr)
        if error.usage:
            sys.stdout.write(usage(program))
    except SlirpyError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        from slirpy.cli.streams import exhausted

        text = exhausted(error)
        if text is None:
            raise
        print(text, file=sys.stderr)
    raise SystemExit(status)


class _Session:
    """One run of the program."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._ended = False

    def run(self) -> int:
        """Serve the target until it ends. Returns the number of the signal that has ended it, or 0.

        Raises:
            SlirpyError: it cannot be had.
        """
        import sys

        from slirpy.errors import LinkError

        arguments = self._arguments
        for text, given in (
            ("IPv6", arguments.ipv6),
            ("--outbound-addr", arguments.outbound is not None),
            ("--outbound-addr6", arguments.outbound6 is not None),
            ("seccomp", arguments.seccomp),
        ):
            if given:
                print(f"WARNING: Support for {text} is experimental")
        sys.stdout.flush()  # before the fork
        self._check_descriptors()
        if sys.platform != "linux":
            raise LinkError("network namespaces need Linux")
        from slirpy.sandbox.root import PrivateRoot

        if arguments.target_type == "bess" or arguments.netns_type == "tapfd":
            return self._serve(None, PrivateRoot(_SHOWN) if arguments.sandbox else None)
        from slirpy.cli.attach.entry import Entry
        from slirpy.cli.attach.target import find_namespaces

        target = arguments.target
        if arguments.netns_type == "path" and "/" not in target:
            target = f"./{target}"
        namespaces = find_namespaces(target, userns_path=arguments.userns_path)
        root = None
        try:
            entry = Entry(namespaces, arguments.tap)
            if arguments.sandbox:
                root = PrivateRoot(_SHOWN, namespaces.user)
        finally:
            namespaces.close()
        with entry:  # it works while the modules are imported
            return self._serve(entry, root)

    def _check_descriptors(self) -> None:
        from slirpy.cli.attach.lifetime import check_descriptor

        arguments = self._arguments
        for option, number in (("--ready-fd", arguments.ready_fd), ("--exit-fd", arguments.exit_fd)):
            if number is not None:
                check_descriptor(option, number)
        if arguments.netns_type == "tapfd":
            check_descriptor("--netns-type=tapfd", int(arguments.target))

    def _serve(self, entry: Entry | None, root: PrivateRoot | None) -> int:
        """Serve the target.

        Args:
            entry: the way into its network namespace; None: the target is no namespace.
            root: the root folder to enter; None: there is none.
        """
        from contextlib import ExitStack

        from slirpy import Slirp
        from slirpy.cli import serving
        from slirpy.cli.attach import lifetime
        from slirpy.cli.confined import SelfSandbox, tell_lacking
        from slirpy.cli.slirp4netns.api import ApiSocket, Forwards

        arguments = self._arguments
        with ExitStack() as stack:
            signals = stack.enter_context(
                serving.Ending(lambda: serving.report([*net.closed_flows(), *net.flows()], net.stats))
            )
            serving.allow_descriptors()
            serving.keep_heap()
            config = self._config()
            shut_in = arguments.sandbox or arguments.seccomp
            confined = SelfSandbox("auto" if shut_in else "off", config, stack)
            net = stack.enter_context(Slirp(config))
            net.watch(signals.fileno(), signals.read)
            link = self._link(entry, net, signals, stack)
            if link is None:
                return self._signal(signals)
            forwards = Forwards(net, arguments.guest, arguments.guest6 if arguments.ipv6 else None)
            api = None
            if arguments.api_socket is not None:
                api = ApiSocket(arguments.api_socket, forwards.answer)
                stack.callback(api.close)
                api.start(net)
            if arguments.exit_fd is not None:
                lifetime.ExitDescriptor(arguments.exit_fd, self._end).watch(net)
            net.attach_link(link)
            tell_lacking(confined.enter(low_ports=True, root=root))
            self._report()
            if arguments.ready_fd is not None:
                lifetime.tell_ready(arguments.ready_fd)
            net.poll_until(lambda: signals.status is not None or self._ended, None if api is None else api.look)
            return self._signal(signals)

    @staticmethod
    def _signal(signals: Ending) -> int:
        """The signal that has ended the network, or 0."""
        signals.read()
        return 0 if signals.status is None else signals.status - 128

    def _config(self) -> Config:
        from slirpy import Action, Config, Outbound, RulePolicy

        arguments = self._arguments
        outbound = None
        if arguments.outbound is not None or arguments.outbound6 is not None:
            outbound = Outbound(arguments.outbound, arguments.outbound6, loopback=True)
        first, last = arguments.net.network_address, arguments.net.broadcast_address
        dns, silent = first + 3, None
        if not arguments.dns:
            # Connections to it time out. It must not be ours for that, since our own addresses refuse.
            dns, silent = last - 1, RulePolicy([f"drop {first + 3}"], Action.ALLOW)
        return Config(
            net=arguments.net,
            dns=dns,
            net6=arguments.net6,
            ipv6=arguments.ipv6,
            mtu=arguments.mtu,
            host_loopback=arguments.host_loopback,
            loopback_only=True,
            no_dns=not arguments.dns,
            policy=silent,
            outbound=outbound,
        )

    def _link(self, entry: Entry | None, net: Slirp, signals: Ending, stack: ExitStack) -> Link | None:
        """Open the link to the guest, and configure its interface if that is wanted. Returns None at an early end."""
        from slirpy.links.tap import TapLink

        arguments = self._arguments
        link: Link | None
        if arguments.target_type == "bess":
            from slirpy.links.seqpacket import SeqpacketLink

            print(f"Waiting for connection to {arguments.target}", flush=True)
            ends = (signals.fileno(), *(() if arguments.exit_fd is None else (arguments.exit_fd,)))
            link = SeqpacketLink.accept(arguments.target, until=ends, on_gone=self._end)
            if link is None:
                return None
        else:
            descriptor = int(arguments.target) if entry is None else entry.open()
            link = TapLink(descriptor, arguments.mtu, on_gone=self._end)
        stack.callback(link.close)
        if entry is not None:
            if arguments.configure:
                self._configure(entry, net)
            entry.close()
        return link

    def _configure(self, entry: Entry, net: Slirp) -> None:
        from slirpy.cli.namespace import Address, Settings

        arguments, config = self._arguments, net.config
        addresses = [Address(str(arguments.guest), arguments.net.prefixlen, str(config.host))]
        if arguments.ipv6:
            addresses.append(Address(str(arguments.guest6), arguments.net6.prefixlen, str(config.host6)))
        entry.configure(Settings(addresses, str(config.dns), arguments.mtu, tap=entry.name, mac=arguments.mac))

    def _report(self) -> None:
        """Tell what the network is like, in the form that people know."""
        arguments = self._arguments
        first = arguments.net.network_address
        rows = {
            "MTU": arguments.mtu,
            "Network": first,
            "Netmask": arguments.net.netmask,
            "Gateway": first + 2,
            "DNS": first + 3,
            "DHCP begin": first + 15,
            "DHCP end": first + 30,
            "Recommended IP": arguments.guest,
        }
        if arguments.api_socket is not None:
            rows["API Socket"] = arguments.api_socket
        if arguments.outbound is not None:
            rows["Outbound IPv4"] = arguments.outbound
        if arguments.outbound6 is not None:
            rows["Outbound IPv6"] = arguments.outbound6
        lines = ["Starting slirp", *(f"* {name + ':':<17}{value}" for name, value in rows.items())]
        try:
            print("\n".join(lines), flush=True)
        except OSError:
            pass  # nobody reads it

    def _end(self) -> None:
        self._ended = True
