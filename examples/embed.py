"""A guest in one file: it finds the gateway by ARP, pings it, and talks to a server on the host's loopback.

Run it with ``python examples/embed.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import socket
import time
from ipaddress import ip_address

from slirpy import Config, Slirp
from slirpy.wire import arp, ethernet, icmp, ipv4, udp

MAC = bytes.fromhex("525400123456")
GUEST, GATEWAY = ip_address("10.0.2.15").packed, ip_address("10.0.2.2").packed


class Guest:
    """A very small operating system: it queues the frames that it receives, and knows how to build a packet."""

    def __init__(self, net: Slirp) -> None:
        self.net = net
        self.frames: list[bytes] = []
        self.nic = net.attach(self.frames.append)
        self.gateway_mac = bytes(6)

    def wait(self) -> bytes:
        """Return the next frame for this guest; the network works meanwhile."""
        end = time.monotonic() + 5
        while not self.frames:
            if time.monotonic() > end:
                raise TimeoutError("no frame within five seconds")
            self.net.poll(0.05)
        return self.frames.pop(0)

    def find_gateway(self) -> None:
        """Find the gateway's MAC address."""
        request = arp.build(arp.ArpPacket(arp.REQUEST, MAC, GUEST, bytes(6), GATEWAY))
        self.nic.send(ethernet.BROADCAST + MAC + b"\x08\x06" + request)
        answer = arp.parse(self.wait()[14:])
        assert answer is not None
        self.gateway_mac = answer.sender_mac

    def send_ip(self, protocol: int, payload: bytes) -> None:
        """Send an IPv4 packet to the gateway's address."""
        header = ipv4.build(GUEST, GATEWAY, protocol, len(payload))
        self.nic.send(self.gateway_mac + MAC + b"\x08\x00" + header + payload)


def main() -> None:
    """Run all steps, and print the results."""
    with Slirp(Config()) as net, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        guest = Guest(net)
        guest.find_gateway()
        print("the gateway is at", guest.gateway_mac.hex(":"))

        guest.send_ip(ipv4.ICMP, icmp.build(icmp.ECHO_REQUEST, 0, 1, b"anybody there?"))
        print("ping:", guest.wait()[42:])

        # The gateway's address stands for the host's 127.0.0.1.
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        port = server.getsockname()[1]
        question = b"how late is it?"
        guest.send_ip(ipv4.UDP, udp.build(GUEST, 5000, GATEWAY, port, question) + question)
        received, peer = server.recvfrom(2048)
        server.sendto(b"late", peer)
        print("the server got", received, "and the guest", guest.wait()[42:46])

        for flow in net.flows():
            print(
                f"{flow.protocol} {flow.guest[0]}:{flow.guest[1]} in {flow.bytes_in} out {flow.bytes_out} bytes"
            )
        print(net.stats.nonzero())


if __name__ == "__main__":
    main()
