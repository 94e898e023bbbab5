"""A DNS server on the loopback of the host, which knows three names."""

from __future__ import annotations

import socket
import threading

from dnslib import AAAA, QTYPE, RR, TXT, A, DNSRecord

NAME = "server.test"
ADDRESS = "192.0.2.77"
SIX = "six.test"
ADDRESS6 = "2001:db8::77"
LONG = "long.test"
LONG_TEXTS = [f"{number:03}-" + "x" * 196 for number in range(15)]  # 3 KB


class Resolver:
    """Answers over UDP and TCP at one port of the loopback; over UDP with TC what the client has no room for.

    Args:
        address: the loopback address.
        port: the port; 0: one that is free.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.queries: list[tuple[str, str, str]] = []
        self.silent = False
        """Hear everything, and answer nothing."""
        self._tcp, self._udp = self._bind(address, port)
        self.port: int = self._tcp.getsockname()[1]
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    @staticmethod
    def _bind(address: str, port: int) -> tuple[socket.socket, socket.socket]:
        """Bind a TCP and a UDP socket to one free port; tries another if its UDP port is in use."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        while True:
            tcp = socket.create_server((address, port), family=family)
            udp = socket.socket(family, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                udp.close()
                if port:
                    raise
            else:
                return tcp, udp

    def close(self) -> None:
        for sock in (self._udp, self._tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            except OSError:
                pass
            sock.close()

    def _answer(self, data: bytes, transport: str) -> bytes:
        query = DNSRecord.parse(data)
        name, kind = str(query.q.qname).rstrip(".").lower(), QTYPE[query.q.qtype]
        self.queries.append((transport, name, kind))
        reply = query.reply()
        if (name, kind) == (NAME, "A"):
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(ADDRESS), ttl=60))
        elif (name, kind) == (SIX, "AAAA"):
            reply.add_answer(RR(query.q.qname, QTYPE.AAAA, rdata=AAAA(ADDRESS6), ttl=60))
        elif (name, kind) == (LONG, "TXT"):
            for text in LONG_TEXTS:
                reply.add_answer(RR(query.q.qname, QTYPE.TXT, rdata=TXT(text), ttl=60))
        elif name not in (NAME, SIX, LONG):
            reply.header.rcode = 3  # NXDOMAIN
        packed: bytes = reply.pack()
        room = max([512, *(rr.rclass for rr in query.ar if rr.rtype == QTYPE.OPT)])
        if transport == "udp" and len(packed) > room:
            reply = query.reply()
            reply.header.tc = 1
            packed = reply.pack()
        return packed

    def _serve_udp(self) -> None:
        while True:
            try:
                data, client = self._udp.recvfrom(65535)
                if not data:
                    return
                answer = self._answer(data, "udp")
                if not self.silent:
                    self._udp.sendto(answer, client)
            except OSError:
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                client, _ = self._tcp.accept()
            except OSError:
                return
            with client, client.makefile("rb") as file:
                client.settimeout(20)
                while head := file.read(2):
                    answer = self._answer(file.read(int.from_bytes(head, "big")), "tcp")
                    client.sendall(len(answer).to_bytes(2, "big") + answer)
