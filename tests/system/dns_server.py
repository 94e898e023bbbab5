"""A DNS server for hosts that a test has made: ``dns_server.py ADDRESS... -- COMMAND...``.

It serves at port 53 of each address, over UDP and TCP, while the command runs, and ends with the command's status.
Every name below ``web.test`` has the address 192.0.2.77 and a TXT record; no other name exists.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

from dnslib import QTYPE, RR, TXT, A, DNSRecord


def answer(message: bytes) -> bytes:
    query = DNSRecord.parse(message)
    reply = query.reply()
    name = str(query.q.qname).lower()
    if not name.endswith("web.test."):
        reply.header.rcode = 3
    elif query.q.qtype == QTYPE.A:
        reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("192.0.2.77"), ttl=60))
    elif query.q.qtype == QTYPE.TXT:
        reply.add_answer(RR(query.q.qname, QTYPE.TXT, rdata=TXT("hello"), ttl=60))
    packed: bytes = reply.pack()
    return packed


def serve_udp(sock: socket.socket) -> None:
    while True:
        message, client = sock.recvfrom(65535)
        sock.sendto(answer(message), client)


def serve_tcp(sock: socket.socket) -> None:
    while True:
        client, _ = sock.accept()
        with client, client.makefile("rb") as file:
            while head := file.read(2):
                reply = answer(file.read(int.from_bytes(head, "big")))
                client.sendall(len(reply).to_bytes(2, "big") + reply)


def main() -> int:
    split = sys.argv.index("--")
    for address in sys.argv[1:split]:
        family, _, _, _, place = socket.getaddrinfo(address, 53, flags=socket.AI_NUMERICHOST)[0]
        udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family)
        udp.bind(place)
        tcp.bind(place)
        tcp.listen()
        threading.Thread(target=serve_udp, args=(udp,), daemon=True).start()
        threading.Thread(target=serve_tcp, args=(tcp,), daemon=True).start()
    return subprocess.run(sys.argv[split + 1 :], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
