"""The host's side of ``slirpy demo``: an HTTP server and a DNS server on the loopback."""

from __future__ import annotations

import hashlib
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import dnslib

__all__ = ["LOOPBACK", "NAME", "DnsServer", "WebServer", "serving"]

LOOPBACK = "127.0.0.1"
NAME = "web.slirpy.test"  # RFC 6761: .test is reserved


class WebServer(socketserver.ThreadingTCPServer):
    """Serves one file of random bytes by HTTP/1.1.

    It is not an ``HTTPServer``, because that looks up the name of 127.0.0.1 in the host's DNS.
    """

    daemon_threads = True

    def __init__(self, size: int) -> None:
        super().__init__((LOOPBACK, 0), _WebHandler)
        self.content = os.urandom(size)
        self.digest = hashlib.sha256(self.content).hexdigest()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the guest's side reports what went wrong."""


class _WebHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the file in a single call, during which the guest can use the interpreter."""
        assert isinstance(self.server, WebServer)
        content = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:
            pass  # the demo has been interrupted

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


class DnsServer(socketserver.UDPServer):
    """Answers for :data:`NAME` with its address in the virtual network."""

    def __init__(self, address: str) -> None:
        super().__init__((LOOPBACK, 0), _DnsHandler)
        self.answer = dnslib.A(address)


class _DnsHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Answer one query."""
        assert isinstance(self.server, DnsServer)
        message, sock = self.request
        try:
            query = dnslib.DNSRecord.parse(message)
        except dnslib.DNSError:
            return
        answer = query.reply()
        if str(query.q.qname).rstrip(".") == NAME and query.q.qtype == dnslib.QTYPE.A:
            answer.add_answer(dnslib.RR(NAME, rdata=self.server.answer, ttl=60))
        else:
            answer.header.rcode = dnslib.RCODE.NXDOMAIN
        sock.sendto(answer.pack(), self.client_address)


@contextmanager
def serving(server: WebServer | DnsServer) -> Iterator[int]:
    """Run a server in a thread. Yields its port."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
