"""A web server with TLS for the system tests: a folder of files under several names, with a CA of its own.

It speaks HTTP/1.1 and HTTP/2, whichever the client chooses by ALPN; of HTTP/2 as much as one request needs.
"""

from __future__ import annotations

import datetime
import ssl
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hpack
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "TlsWeb"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7


class Authority:
    """A CA. ``path`` is its certificate."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of a test")])
        self._folder = folder
        certificate = self._sign(self._name, self._key, x509.BasicConstraints(True, None))
        self.path = folder / "ca.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, name: x509.Name, key: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        today = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today).not_valid_after(today + datetime.timedelta(36500))
        )  # fmt: skip
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's context for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._sign(subject, key, alternatives, x509.BasicConstraints(False, None))
        pem = self._folder / "server.pem"
        plain = serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TlsWeb

    def setup(self) -> None:
        self.request.settimeout(20)
        self.request.getpeername()  # of a client that has gone, ssl would leave a socket open
        # Here, so that one client does not keep others waiting.
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def handle(self) -> None:
        """Speak the protocol of this connection."""
        if self.request.selected_alpn_protocol() == "h2":
            self._handle_http2()
        else:
            super().handle()

    def _handle_http2(self) -> None:
        self.rfile.read(len(_PREFACE))
        self.wfile.write(_frame(_SETTINGS, 0, 0))
        decoder = hpack.Decoder()
        while len(header := self.rfile.read(9)) == 9:
            payload = self.rfile.read(int.from_bytes(header[:3], "big"))
            kind, flags, stream = header[3], header[4], int.from_bytes(header[5:], "big")
            if kind == _SETTINGS and not flags & 1:
                self.wfile.write(_frame(_SETTINGS, 1, 0))
            elif kind == _HEADERS:
                self._answer(stream, decoder, payload[5 if flags & 32 else 0 :])
            elif kind == _GOAWAY:
                return

    def _answer(self, stream: int, decoder: hpack.Decoder, block: bytes) -> None:
        """Send a small file."""
        fields = dict(decoder.decode(block, raw=True))
        self.server.seen.append(("h2", fields))
        file = Path(self.translate_path(fields[b":path"].decode()))
        if file.is_dir():
            file /= "index.html"
        content = file.read_bytes() if file.exists() else b""
        kind = "text/html" if file.suffix == ".html" else "application/octet-stream"
        head = [(":status", "200" if file.exists() else "404"), ("content-type", kind)]
        answer = _frame(
            _HEADERS, 4, stream, hpack.Encoder().encode([*head, ("content-length", str(len(content)))])
        )
        for at in range(0, len(content), 16384):
            answer += _frame(_DATA, 0, stream, content[at : at + 16384])
        self.wfile.write(answer + _frame(_DATA, 1, stream))

    def send_head(self) -> Any:
        self.server.seen.append((self.headers.get("Host"), self.path))
        return super().send_head()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class TlsWeb(ThreadingHTTPServer):
    """Serves a folder at a port of 127.0.0.1 until the end of a with block.

    Attributes:
        seen: the requests.
        answers: content of paths that are no files.
    """

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, folder: Path) -> None:
        self.seen: list[Any] = []

        def handler(*arguments: Any) -> _Handler:
            return _Handler(*arguments, directory=str(folder))

        super().__init__(("127.0.0.1", 0), handler)
        self.context = context
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> TlsWeb:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """A client that was refused ends in the middle of its handshake."""
