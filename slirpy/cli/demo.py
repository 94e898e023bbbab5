"""``slirpy demo``: the complete path of a frame, in one process, without privileges and on any system.

A guest in pure Python gets its network from slirpy through the public API. Behind slirpy are real sockets of the
host, connected to a DNS resolver and an HTTP server that are part of the demo. No packet leaves the machine.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from random import SystemRandom
from typing import NoReturn

import click
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.text import Text

from slirpy import Config, Resolver, Slirp
from slirpy.cli.demo_servers import LOOPBACK, NAME, DnsServer, WebServer, serving
from slirpy.cli.flags import Command
from slirpy.cli.tables import amount, console_for, counter_table, flow_table
from slirpy.errortext import strerror
from slirpy.ladder.diagram import ladder
from slirpy.testing.guest import Guest
from slirpy.testing.guest.tcp import GuestStream
from slirpy.units import MS, SECOND

__all__ = ["demo"]

PINGS = 3
STEP_LIMIT = 5.0
"""Seconds without progress after which a step has failed."""
_WIDTH = 80
_FIRST, _LAST = 6, 6


class _StepError(Exception):
    """Failure of a step. The text is one line."""


class _Demo:
    """The guest, connected to slirpy, and the steps that it takes."""

    def __init__(self, net: Slirp, console: Console) -> None:
        self._net = net
        self._console = console
        self._started = time.monotonic()
        self._first: list[tuple[int, str, bytes]] = []
        self._last: deque[tuple[int, str, bytes]] = deque(maxlen=_LAST)
        self._tcp_frames = 0
        self._connecting = False
        nic = net.attach(self._to_guest)
        self._send = nic.send
        self.guest = Guest(self._from_guest, random=SystemRandom(), now=time.monotonic_ns(), hostname="demo")

    def _to_guest(self, frame: bytes) -> None:
        self._capture("out", frame)
        self.guest.input(frame, time.monotonic_ns())

    def _from_guest(self, frame: bytes) -> None:
        self._capture("in", frame)
        self._send(frame)

    def _capture(self, direction: str, frame: bytes) -> None:
        """Keep the first and the last frames of the HTTP connection for the ladder diagrams."""
        if not self._connecting or frame[23:24] != b"\x06":
            return
        kept = time.monotonic_ns(), direction, frame
        self._tcp_frames += 1
        if len(self._first) < _FIRST:
            self._first.append(kept)
        else:
            self._last.append(kept)

    def _until(self, what: str, done: Callable[[], object], progress: Callable[[], int] = lambda: 0) -> None:
        """Drive the network until ``done()``.

        Raises:
            _StepError: ``progress()`` has not changed for :data:`STEP_LIMIT` seconds.
        """
        seen, since = progress(), time.monotonic()
        while not done():
            deadline = self.guest.deadline()
            wait = 0.05 if deadline is None else min(max(deadline - time.monotonic_ns(), 0) / SECOND, 0.05)
            self._net.poll(wait)
            now = time.monotonic()
            self.guest.advance(time.monotonic_ns())
            if (value := progress()) != seen:
                seen, since = value, now
            elif now - since > STEP_LIMIT:
                raise _StepError(f"{what} within {STEP_LIMIT:g} seconds")

    def say(self, step: str, text: str, style: str = "bold cyan") -> None:
        """Print one line: time, step, and result."""
        elapsed = time.monotonic() - self._started
        line = Text.assemble((f"{elapsed:5.2f} s  ", "dim"), (f"{step:<6}", style), text)
        self._console.print(line, soft_wrap=True)

    def show(self, title: str, body: RenderableType) -> None:
        """Print a table or a drawing with a title."""
        self._console.print()
        self._console.print(Text(title, style="bold"))
        _print_trimmed(self._console, body)

    # ------------------------------------------------------------------------------------- the steps

    def lease(self) -> None:
        """Get an address."""
        client = self.guest.dhcp()
        self._until("no DHCP lease", lambda: client.bound)
        lease = client.lease
        assert lease is not None
        servers = ", ".join(map(str, lease.dns))
        self.say("DHCP", f"{lease.address}/{lease.prefix} for {lease.seconds // 3600} h; "
                         f"router {lease.router}, DNS {servers}, MTU {lease.mtu}")  # fmt: skip

    def ping(self) -> None:
        """Ping the gateway."""
        gateway = str(self._net.config.host)
        times = [self._one_ping(gateway) for _ in range(PINGS)]
        self.say("ping", f"{gateway}: {PINGS} of {PINGS} replies, {sum(times) / PINGS:.2f} ms on average")

    def _one_ping(self, address: str) -> float:
        """The round-trip time in milliseconds."""
        ping = self.guest.ping(address)
        self._until(f"no echo reply from {address}", lambda: ping.reply is not None)
        if ping.reply != ping.payload or ping.rtt is None:
            raise _StepError(f"{address} answered the ping with other bytes")
        return ping.rtt / MS

    def resolve(self, port: int) -> str:
        """Resolve the web server's name."""
        lookup = self.guest.resolve(NAME)
        self._until(f"no answer for {NAME}", lambda: lookup.done)
        if len(lookup.answers) != 1 or lookup.answered_at is None:
            raise _StepError(f"{NAME} was not found: {lookup.rcode or 'no answer'}")
        address = lookup.answers[0]
        took = (lookup.answered_at - lookup.sent_at) / MS
        self.say("DNS", f"{NAME} is {address}, says {LOOPBACK}:{port} after {took:.1f} ms")
        return address

    def download(self, address: str, port: int, size: int, digest: str) -> None:
        """Fetch the file and check it."""
        self._connecting = True
        began = time.monotonic()
        stream = self.guest.connect(address, port)
        self._until(f"no connection to {address}:{port}", lambda: stream.established or stream.error)
        if stream.error:
            raise _StepError(f"connection to {address}:{port}: {strerror(stream.error)}")
        path = f"http://{NAME}:{port}/"
        self.say("TCP", f"connected to {address}:{port}, on the host {LOOPBACK}:{port}")
        stream.write(f"GET / HTTP/1.1\r\nHost: {NAME}:{port}\r\nConnection: close\r\n\r\n".encode("ascii"))
        self._until("no HTTP response", lambda: b"\r\n\r\n" in stream.received or stream.closed)
        head, _, body = stream.read().partition(b"\r\n\r\n")
        length = _content_length(head)
        if length != size:
            raise _StepError(f"the HTTP response announces {length} bytes in place of {size}")
        self._receive(stream, body, size, digest, path, began)
        stream.shutdown()
        self._until("no end of the connection", lambda: stream.closed)
        self._show_ladder()

    def _show_ladder(self) -> None:
        """Draw the start and end of the connection."""
        between = self._tcp_frames - len(self._first) - len(self._last)
        drawing = ladder(
            [*self._first, *self._last],
            width=_WIDTH,
            omitted=(len(self._first), between),
            ascii_only=self._console.options.ascii_only,
        )
        self.show("The connection, from its handshake to its end", drawing)

    def _receive(
        self, stream: GuestStream, body: bytes, size: int, digest: str, path: str, began: float
    ) -> None:
        count = 0
        hashed = hashlib.sha256()
        flows: RenderableType | None = None
        with self._progress() as progress:
            task = progress.add_task("", total=size)
            refreshed = 0.0
            while True:
                count += len(body)
                hashed.update(body)
                if flows is None and count >= size // 2:
                    flows = flow_table(self._net.flows(), self._console.width)
                now = time.monotonic()
                if now - refreshed > 0.1 and not progress.disable:
                    refreshed = now
                    progress.update(task, completed=count, refresh=True)
                if stream.closed or (stream.eof and not stream.received):
                    break
                self._until("no more of the download", lambda: stream.received or stream.eof or stream.closed)
                body = stream.read()
        seconds = time.monotonic() - began
        if count != size or hashed.hexdigest() != digest:
            raise _StepError(f"the download is not what the server has: {count} of {size} bytes came")
        rate = size * 8 / seconds / 1e6
        self.say("HTTP", f"{path}: {amount(size)} in {seconds:.2f} s, {rate:.0f} Mbit/s")
        self.say("check", f"sha256 {digest[:16]}..., as the server has it", "bold green")
        assert flows is not None
        self.show("Flows, half-way through the download", flows)

    def _progress(self) -> Progress:
        columns = TextColumn(" " * 8), BarColumn(), DownloadColumn(binary_units=True)
        return Progress(
            *columns,
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def counters(self) -> None:
        """Show the counters of the stack, and the errors that the guest found."""
        self.show("Counters", counter_table(self._net.stats, self._console.width))
        seen = self.guest.counters
        if seen.bad_checksum or seen.malformed:
            raise _StepError(
                f"the guest got {seen.bad_checksum} bad checksums and {seen.malformed} malformed frames"
            )
        self._console.print()
        frames = f"{seen.frames_in} frames to the guest, {seen.frames_out} from it"
        self.say("done", f"{frames}; every checksum right", "bold green")


def _content_length(head: bytes) -> int:
    lines = head.decode("latin-1").split("\r\n")
    if " 200 " not in lines[0] + " ":
        raise _StepError(f"the HTTP server says: {lines[0]}")
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdigit():
            return int(value)
    raise _StepError("the HTTP response has no Content-Length")


def _print_trimmed(console: Console, body: RenderableType) -> None:
    """Print without the trailing spaces of tables, unless standard output is a terminal."""
    if console.is_terminal:
        console.print(body, markup=False, soft_wrap=isinstance(body, str))
        return
    with console.capture() as capture:
        console.print(body, markup=False, soft_wrap=isinstance(body, str))
    for line in capture.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)


def _fail(text: str) -> NoReturn:
    print(f"slirpy demo: {text}", file=sys.stderr)
    raise SystemExit(1)


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--size", type=click.IntRange(1, 4096), default=32, show_default=True, metavar="MIB",
              help="How much to download, in MiB.")  # fmt: skip
def demo(size: int) -> None:
    """See slirpy work, on any system and without privileges.

    A guest inside this process gets an address by DHCP, pings the gateway, resolves a name and downloads a file
    over TCP. Slirpy relays all of it through ordinary sockets to the demo's own servers on 127.0.0.1; nothing
    leaves this machine.
    """
    console = console_for(sys.stdout)
    if console.is_terminal and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, _interrupted)
    try:
        console.print(Text("A guest in this process, slirpy as its network, ordinary sockets behind it.\n"))
        _run(console, size << 20)
    except _StepError as error:
        _fail(str(error))


def _interrupted(number: int, _: object) -> None:
    """Die of the signal, but not while the progress bar hides the cursor."""
    os.write(1, b"\x1b[?25h\n")  # not by the console, which may be in the middle of an operation
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _run(console: Console, size: int) -> None:
    gateway = str(Config().host)
    try:
        web, dns = WebServer(size), DnsServer(gateway)
    except OSError as error:
        _fail(f"the servers of the demo on {LOOPBACK}: {error.strerror or error}")
    with serving(web) as web_port, serving(dns) as dns_port:
        config = Config(resolvers=[Resolver("127.0.0.1", dns_port)])
        with Slirp(config) as net:
            steps = _Demo(net, console)
            steps.lease()
            steps.ping()
            address = steps.resolve(dns_port)
            steps.download(address, web_port, size, web.digest)
            steps.counters()
