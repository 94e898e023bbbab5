"""A web server that dies in the middle of an answer."""

from __future__ import annotations

import http.server

__all__ = ["Failing"]


class Failing(http.server.BaseHTTPRequestHandler):
    """Announces 100,000 bytes, and dies after half of them."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(bytes(50_000))

    def log_message(self, *args: object) -> None: ...
