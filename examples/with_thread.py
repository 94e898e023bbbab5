"""A network in a background thread: the emulator's own threads only send, and receive from a queue.

Run it with ``python examples/with_thread.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import queue
import socket
import threading
from ipaddress import ip_address

from slirpy import Config, Nic, Slirp
from slirpy.wire import ethernet, ipv4, udp

GATEWAY = ip_address("10.0.2.2").packed
GATEWAY_MAC = ethernet.virtual_mac(GATEWAY)


def guest(nic: Nic, number: int, port: int) -> None:
    """Run a guest in its own thread: it sends a datagram to the host."""
    mac, address = bytes([0x52, 0x54, 0, 0, 0, number]), ip_address(f"10.0.2.{number}").packed
    data = b"guest %d" % number
    segment = udp.build(address, 5000, GATEWAY, port, data) + data
    nic.send(GATEWAY_MAC + mac + b"\x08\x00" + ipv4.build(address, GATEWAY, ipv4.UDP, len(segment)) + segment)


def main() -> None:
    """Run four guests, each with a thread and a card, and one thread for the network."""
    with Slirp(Config()) as net, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        arrived: queue.Queue[bytes] = queue.Queue()
        cards = [net.attach(arrived.put) for _ in range(4)]
        net.start()
        for number, nic in enumerate(cards, 20):
            threading.Thread(target=guest, args=(nic, number, server.getsockname()[1])).start()
        for _ in cards:
            data, peer = server.recvfrom(2048)
            server.sendto(b"welcome, " + data, peer)
        answers = 0
        while answers < len(cards):
            frame = arrived.get(timeout=5)  # on_frame, in the network's thread, only puts it there
            if frame[23] == ipv4.UDP:
                print(frame[42 : 34 + int.from_bytes(frame[38:40], "big")].decode())
                answers += 1
        for flow in net.flows():  # any thread may ask
            print(flow.guest[0], "sent", flow.bytes_in, "bytes and received", flow.bytes_out)
        net.stop()  # close() would do it too; exceptions of on_frame are raised here


if __name__ == "__main__":
    main()
