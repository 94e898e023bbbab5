"""Scenarios in virtual time for ``test_same_bytes.py``: each returns a network whose transcript is compared.

They use public names only where there are any, so that they outlive a change of the files beneath.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import dnslib

from slirpy import Config
from slirpy.testing import Echo, Guest, Resetter, Sink, Source, VirtualNetwork

SECOND = 1_000_000_000
MS = 1_000_000
WEB = bytes((192, 0, 2, 7))
OTHER = bytes((192, 0, 2, 8))
RESOLVER = bytes((192, 0, 2, 53))
LOOPBACK = bytes((127, 0, 0, 1))
TEXT = bytes(range(256))

Scenario = Callable[[], VirtualNetwork]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Register a scenario by its name."""
    SCENARIOS[function.__name__] = function
    return function


def network(seed: int = 1, *, latency: int = 5 * MS, link: int = MS, **config: Any) -> VirtualNetwork:
    """A network with the usual servers outside, and a guest that has a lease."""
    config.setdefault("resolvers", ["192.0.2.53"])
    net = VirtualNetwork(Config(**config), seed=seed, latency_ns=latency, link_latency_ns=link)
    net.host.serve_tcp(WEB, 7, Echo)
    net.host.serve_tcp(WEB, 9, Sink)
    net.host.serve_tcp(WEB, 80, lambda: Source(TEXT * 800))
    net.host.serve_tcp(WEB, 666, lambda: Resetter(after=5000))
    net.host.serve_udp(WEB, 7, lambda payload, address, port: payload[::-1])
    net.host.serve_udp(RESOLVER, 53, answers)
    net.boot()
    return net


def answers(message: bytes, address: object, port: int) -> bytes:
    """A resolver that knows every name, also in TXT records that are too long for 512 bytes."""
    query = dnslib.DNSRecord.parse(message)
    answer = query.reply()
    name = str(query.q.qname)
    if name.startswith("missing"):
        answer.header.rcode = dnslib.RCODE.NXDOMAIN
    elif query.q.qtype == dnslib.QTYPE.TXT:
        for number in range(12):
            answer.add_answer(*dnslib.RR.fromZone(f'{name} 60 TXT "{number:03d}{"x" * 90}"'))
    else:
        answer.add_answer(*dnslib.RR.fromZone(f"{name} 60 A 192.0.2.7"))
    return bytes(answer.pack())


def lossy(net: VirtualNetwork, seed: int, loss: float, late: float = 0.0, direction: str | None = None) -> None:
    """Lose and delay TCP frames from now on."""
    chance = Random(seed)

    def fault(way: str, frame: bytes) -> int | None:
        if frame[23:24] != b"\x06" or frame[47] & 4 or (direction is not None and way != direction):
            return 0
        drawn = chance.random()
        return None if drawn < loss else 7 * MS if drawn < loss + late else 0

    net.fault = fault


def transfer(net: VirtualNetwork, port: int = 7, size: int = 120_000, guest: Guest | None = None) -> None:
    """Send, and wait for the end of both directions."""
    stream = (guest or net.guest).connect("192.0.2.7", port)
    stream.write((TEXT * (size // 256 + 1))[:size])
    stream.shutdown()
    net.run_until(lambda: stream.eof or stream.error, 900 * SECOND)
    net.run(10 * SECOND)


# ------------------------------------------------------------------------------------------------ DHCP


@scenario
def dhcp_lease() -> VirtualNetwork:
    return network()


@scenario
def dhcp_renew_and_release() -> VirtualNetwork:
    net = (
        network(dhcp_lease_time=600) if "dhcp_lease_time" in Config.__annotations__ else network(lease_time=600)
    )
    net.run(1500 * SECOND)
    net.guest.dhcp().release()
    net.run(2 * SECOND)
    net.boot()
    return net


@scenario
def dhcp_many_options() -> VirtualNetwork:
    return network(
        hostname="box",
        domainname="example.org",
        dnssearch=["a.example.org", "b.example.org"],
        bootfile="boot.img",
        tftp_server_name="boot.example.org",
        mtu=1400,
    )


@scenario
def dhcp_three_guests() -> VirtualNetwork:
    net = network()
    for _ in range(2):
        net.boot(net.add_guest())
    return net


@scenario
def dhcp_other_network() -> VirtualNetwork:
    return network(net="192.168.7.0/24", host="192.168.7.1", dns="192.168.7.9", dhcpstart="192.168.7.100")


@scenario
def dhcp_static_lease() -> VirtualNetwork:
    return network(static_leases=["52:54:00:12:34:56=10.0.2.77,fixed"])


# ------------------------------------------------------------------------------------------------- DNS


@scenario
def dns_forwarded_and_cached() -> VirtualNetwork:
    net = network()
    for name in ("one.test", "two.test", "one.test", "missing.test", "missing.test"):
        lookup = net.guest.resolve(name)
        net.run_until(lambda lookup=lookup: lookup.done)  # type: ignore[misc] # mypy infers no lambda with a default
    return net


@scenario
def dns_own_names() -> VirtualNetwork:
    net = network(
        dns_records=["web.example.org=192.0.2.7", "*.wild.test=192.0.2.8", "alias.test=web.example.org"]
    )
    for name in ("web.example.org", "a.wild.test", "alias.test", "gateway", "host.internal", "guest0"):
        lookup = net.guest.resolve(name)
        net.run_until(lambda lookup=lookup: lookup.done)  # type: ignore[misc] # mypy infers no lambda with a default
    return net


@scenario
def dns_no_server_answers() -> VirtualNetwork:
    net = network(resolvers=["192.0.2.61", "192.0.2.62"])
    net.host.black_hole(bytes((192, 0, 2, 61)))
    lookup = net.guest.resolve("web.test")
    net.run_until(lambda: lookup.done, 120 * SECOND)
    return net


@scenario
def dns_fails_over() -> VirtualNetwork:
    net = network(resolvers=["192.0.2.61", "192.0.2.53"])
    net.host.black_hole(bytes((192, 0, 2, 61)))
    for name in ("one.test", "two.test"):
        lookup = net.guest.resolve(name)
        net.run_until(lambda lookup=lookup: lookup.done, 60 * SECOND)  # type: ignore[misc] # mypy infers no lambda with a default
    return net


@scenario
def dns_over_tcp() -> VirtualNetwork:
    net = network()
    stream = net.guest.connect("10.0.2.3", 53)
    for name, kind in (("one.test", "A"), ("long.test", "TXT"), ("gateway", "A")):
        query = dnslib.DNSRecord.question(name, kind)
        query.header.id = 77
        packed = bytes(query.pack())
        stream.write(struct.pack("!H", len(packed)) + packed)
        seen = stream.count
        net.run_until(lambda seen=seen: stream.count > seen, 60 * SECOND)  # type: ignore[misc] # mypy infers no lambda with a default
    stream.shutdown()
    net.run_until(lambda: stream.eof, 60 * SECOND)
    return net


@scenario
def dns_long_answer_over_udp() -> VirtualNetwork:
    net = network()
    lookup = net.guest.resolve("long.test", "TXT")
    net.run_until(lambda: lookup.done, 60 * SECOND)
    return net


# ------------------------------------------------------------------------------------------------ TFTP


def read_file(net: VirtualNetwork, options: bytes = b"", name: bytes = b"file", *, acks: bool = True) -> None:
    """Read by TFTP as a simple client does: one acknowledgement a block."""
    socket = net.guest.udp()
    socket.send(b"\0\1" + name + b"\0octet\0" + options, "10.0.2.2", 69)
    taken = 0
    for _ in range(400):
        net.run(20 * MS)
        messages = list(socket.received)[taken:]
        taken += len(messages)
        for message in messages:
            kind = message.payload[:2]
            block = b"\0\0" if kind == b"\0\6" else message.payload[2:4]
            if kind in (b"\0\3", b"\0\6") and acks:
                socket.send(b"\0\4" + block, "10.0.2.2", message.port)
        if not messages and taken:
            break


def files(name: str, *_: object) -> bytes | None:
    """Return the files that are served by TFTP."""
    return TEXT * 40 if name == "file" else None


@scenario
def tftp_plain() -> VirtualNetwork:
    net = network(tftp=files)
    read_file(net)
    return net


@scenario
def tftp_large_blocks() -> VirtualNetwork:
    net = network(tftp=files)
    read_file(net, b"\0".join((b"blksize", b"4000", b"tsize", b"0", b"")))
    return net


@scenario
def tftp_missing_file_and_write() -> VirtualNetwork:
    net = network(tftp=files)
    read_file(net, name=b"none")
    socket = net.guest.udp()
    socket.send(b"\0\2file\0octet\0", "10.0.2.2", 69)
    net.run(SECOND)
    return net


@scenario
def tftp_without_acknowledgements() -> VirtualNetwork:
    net = network(tftp=files)
    read_file(net, acks=False)
    net.run(120 * SECOND)
    return net


# ------------------------------------------------------------------------------------------------- TCP


@scenario
def tcp_echo() -> VirtualNetwork:
    net = network()
    transfer(net)
    return net


@scenario
def tcp_download_and_upload() -> VirtualNetwork:
    net = network()
    transfer(net, 80, 10)
    transfer(net, 9, 300_000)
    return net


def _tcp_faults(seed: int, loss: float, late: float, direction: str | None, **config: Any) -> VirtualNetwork:
    net = network(seed, **config)
    lossy(net, seed, loss, late, direction)
    transfer(net)
    return net


for _number, (_loss, _late, _direction) in enumerate(
    [
        (0.01, 0.0, None),
        (0.05, 0.02, None),
        (0.1, 0.0, "in"),
        (0.1, 0.0, "out"),
        (0.0, 0.2, None),
        (0.2, 0.1, None),
    ]
):

    def _under_faults(
        number: int = _number, loss: float = _loss, late: float = _late, direction: str | None = _direction
    ) -> VirtualNetwork:
        return _tcp_faults(number + 10, loss, late, direction)

    SCENARIOS[f"tcp_faults_{_number}"] = _under_faults


@scenario
def tcp_reno_under_loss() -> VirtualNetwork:
    return _tcp_faults(3, 0.03, 0.0, None, congestion="reno")


@scenario
def tcp_small_mtu() -> VirtualNetwork:
    net = network(mtu=576)
    transfer(net)
    return net


@scenario
def tcp_long_path() -> VirtualNetwork:
    net = network(latency=100 * MS, link=50 * MS)
    transfer(net, 80, 10)
    return net


@scenario
def tcp_refused_unreachable_silent() -> VirtualNetwork:
    net = network()
    net.host.unreachable(bytes((192, 0, 2, 99)), error=errno.EHOSTUNREACH)
    net.host.black_hole(bytes((192, 0, 2, 98)))
    streams = [net.guest.connect(*far) for far in (("192.0.2.7", 1), ("192.0.2.99", 80), ("192.0.2.98", 80))]
    net.run_until(lambda: all(stream.error for stream in streams), 600 * SECOND)
    return net


@scenario
def tcp_reset_by_server_and_guest() -> VirtualNetwork:
    net = network()
    transfer(net, 666, 40_000)
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    stream.abort()
    net.run(5 * SECOND)
    return net


@scenario
def tcp_slow_reader() -> VirtualNetwork:
    net = network()
    stream = net.guest.connect("192.0.2.7", 80, rcv_buffer=4096)
    net.run(5 * SECOND)
    net.run_until(lambda: stream.eof, 300 * SECOND)
    return net


@scenario
def tcp_keepalive() -> VirtualNetwork:
    net = network(tcp_keepalive=60)
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    net.run(200 * SECOND)
    net.fault = lambda direction, frame: None
    net.run(1200 * SECOND)
    return net


@scenario
def tcp_twenty_connections() -> VirtualNetwork:
    net = network()
    streams = [net.guest.connect("192.0.2.7", 7) for _ in range(20)]
    for number, stream in enumerate(streams):
        stream.write(TEXT * (number + 1))
        stream.shutdown()
    net.run_until(lambda: all(stream.eof for stream in streams), 60 * SECOND)
    net.run(120 * SECOND)
    return net


@scenario
def tcp_short_writes_of_the_host() -> VirtualNetwork:
    net = network()
    net.host.short_sends = net.host.short_recvs = 0.4
    transfer(net)
    return net


# ------------------------------------------------------------------------------------- UDP, ICMP, fragments


@scenario
def udp_sizes() -> VirtualNetwork:
    net = network()
    socket = net.guest.udp()
    for size in (0, 1, 512, 1472, 1473, 5000, 20_000):
        socket.send(bytes(size), "192.0.2.7", 7)
        net.run(50 * MS)
    return net


@scenario
def udp_without_receiver() -> VirtualNetwork:
    net = network()
    socket = net.guest.udp()
    for far in ("192.0.2.7", "10.0.2.2", "10.0.2.3", "10.0.2.99", "255.255.255.255", "10.0.2.255"):
        socket.send(b"knock", far, 4)
        net.run(100 * MS)
    net.run(300 * SECOND)
    return net


@scenario
def ping_near_and_far() -> VirtualNetwork:
    net = network()
    net.host.answer_ping()
    for far, size, ttl in (
        ("10.0.2.2", 56, 64),
        ("10.0.2.3", 8, 1),
        ("192.0.2.7", 56, 64),
        ("192.0.2.7", 3000, 64),
    ):
        net.guest.ping(far, bytes(size), ttl=ttl)
        net.run(SECOND)
    net.guest.ping("192.0.2.7", bytes(56), ttl=1)
    net.run(SECOND)
    return net


@scenario
def fragments_lost_and_out_of_order() -> VirtualNetwork:
    net = network()
    chance = Random(5)
    net.fault = lambda direction, frame: None if chance.random() < 0.1 else int(chance.random() * 3 * MS)
    socket = net.guest.udp()
    for number in range(30):
        socket.send(bytes((number,)) * 6000, "192.0.2.7", 7)
        net.run(20 * MS)
    net.run(60 * SECOND)
    return net


# ------------------------------------------------------------------------------- forwards, guestfwd, policy


@scenario
def hostfwd_tcp_and_udp() -> VirtualNetwork:
    net = network(hostfwd=["tcp:127.0.0.1:8080-:80", "udp:127.0.0.1:5353-:53"])
    listener = net.guest.listen(80)
    caller = net.host.connect(LOOPBACK, 8080)
    caller.write(b"hello")
    net.host.send_udp(b"knock", LOOPBACK, 5353)
    net.run_until(lambda: listener.accepted and listener.accepted[0].received == b"hello")
    listener.accepted[0].write(TEXT * 100)
    listener.accepted[0].shutdown()
    net.run(5 * SECOND)
    caller.finish()
    net.run(5 * SECOND)
    return net


@scenario
def hostfwd_without_listener() -> VirtualNetwork:
    net = network(hostfwd=["tcp:127.0.0.1:8080-:80", "tcp:127.0.0.1:8081-10.0.2.99:80"])
    for port in (8080, 8081):
        net.host.connect(LOOPBACK, port)
    net.run(200 * SECOND)
    return net


@scenario
def guestfwd_to_a_server() -> VirtualNetwork:
    net = network(guestfwd=["tcp:10.0.2.100:80-tcp:192.0.2.7:7", "tcp:*:81-tcp:192.0.2.7:7"])
    for far in (("10.0.2.100", 80), ("203.0.113.9", 81), ("10.0.2.100", 82)):
        stream = net.guest.connect(*far)
        stream.write(b"hello")
        net.run(SECOND)
        stream.shutdown()
        net.run(5 * SECOND)
    return net


@scenario
def policy_allow_reject_drop_redirect() -> VirtualNetwork:
    net = network(
        policy=["redirect tcp:any:88=192.0.2.7:7", "drop 192.0.2.8", "deny udp:any:9", "allow 192.0.2.0/24"]
    )
    socket = net.guest.udp()
    for far in ("192.0.2.7", "192.0.2.8", "198.51.100.1"):
        net.guest.connect(far, 88)
        net.guest.connect(far, 7)
        socket.send(b"knock", far, 9)
        net.guest.ping(far)
        net.run(10 * SECOND)
    return net


@scenario
def restrict() -> VirtualNetwork:
    net = network(restrict=True, hostfwd=["tcp:127.0.0.1:8080-:80"])
    net.guest.listen(80)
    net.host.connect(LOOPBACK, 8080).write(b"hello")
    net.guest.connect("192.0.2.7", 7)
    net.guest.udp().send(b"knock", "192.0.2.7", 7)
    net.guest.ping("10.0.2.2")
    net.run(30 * SECOND)
    return net


@scenario
def no_host_loopback() -> VirtualNetwork:
    net = network(host_loopback=False)
    net.guest.connect("10.0.2.2", 80)
    net.guest.udp().send(b"knock", "10.0.2.2", 80)
    net.run(30 * SECOND)
    return net


# ----------------------------------------------------------------------------------------- several guests


def pair(**config: Any) -> tuple[VirtualNetwork, Guest, Guest]:
    """Two guests on one network."""
    net = network(**config)
    other = net.add_guest()
    net.boot(other)
    return net, net.guest, other


@scenario
def switch_tcp_between_guests() -> VirtualNetwork:
    net, one, two = pair()
    listener = two.listen(80)
    stream = one.connect(str(two.address), 80)
    stream.write(TEXT * 200)
    stream.shutdown()
    net.run_until(lambda: listener.accepted and listener.accepted[0].eof, 60 * SECOND)
    listener.accepted[0].write(TEXT * 50)
    listener.accepted[0].shutdown()
    net.run(120 * SECOND)
    return net


@scenario
def switch_as_a_hub() -> VirtualNetwork:
    net, one, two = pair(hub=True)
    third = net.add_guest()
    net.boot(third)
    one.ping(str(two.address))
    two.udp().send(b"to all", "255.255.255.255", 9)
    net.run(SECOND)
    return net


@scenario
def switch_spoofed_address() -> VirtualNetwork:
    net, one, two = pair()
    one.ping("10.0.2.2")
    net.run(100 * MS)
    two.configure(str(one.address), 24, "10.0.2.2")
    two.ping("10.0.2.2")
    net.run(SECOND)
    one.ping("10.0.2.2")
    net.run(SECOND)
    return net


# ------------------------------------------------------------------------------------------- floods, garbage


def inject(net: VirtualNetwork, frames: list[bytes]) -> None:
    """Frames from the first guest's link, as they are."""
    for number, frame in enumerate(frames):
        net.guest._out.append(frame)
        if number % 50 == 49:
            net.guest.flush()
            net.run(MS)
    net.guest.flush()
    net.run(SECOND)


@scenario
def garbage_frames() -> VirtualNetwork:
    net = network()
    random = Random(9)
    header = bytes.fromhex("52550a000202525400123456")
    kinds = (b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00", b"\x88\xcc")
    frames = [header + kinds[n % 5] + random.randbytes(random.randrange(200)) for n in range(400)]
    frames += [random.randbytes(random.randrange(100)) for _ in range(100)]
    inject(net, frames)
    transfer(net, size=1000)
    return net


@scenario
def flood_of_syns() -> VirtualNetwork:
    net = network()
    net.host.black_hole(bytes((192, 0, 2, 98)))
    for _ in range(300):
        net.guest.connect("192.0.2.98", 80)
    net.run(3 * SECOND)
    transfer(net, size=1000)
    net.run(200 * SECOND)
    return net


@scenario
def flood_of_datagrams() -> VirtualNetwork:
    net = network()
    socket = net.guest.udp()
    for number in range(2000):
        socket.send(b"%d" % number, f"192.0.2.{number % 250}", 1 + number % 1000)
        if number % 100 == 99:
            net.run(MS)
    net.run(30 * SECOND)
    return net


@scenario
def everything_at_once() -> VirtualNetwork:
    net, one, two = pair(hostfwd=["tcp:127.0.0.1:8080-:80"], tftp=files)
    lossy(net, 4, 0.02, 0.02)
    listener = one.listen(80)
    caller = net.host.connect(LOOPBACK, 8080)
    caller.write(TEXT * 10)
    for guest in (one, two):
        guest.resolve("web.test")
        guest.ping("10.0.2.2")
        guest.udp().send(bytes(3000), "192.0.2.7", 7)
    streams = [guest.connect("192.0.2.7", port) for guest in (one, two) for port in (7, 9, 80)]
    for stream in streams:
        stream.write(TEXT * 100)
        stream.shutdown()
    net.run_until(lambda: listener.accepted and all(s.eof or s.error for s in streams), 900 * SECOND)
    listener.accepted[0].abort()
    net.run(300 * SECOND)
    net.stack.close()
    net.run(SECOND)
    return net
