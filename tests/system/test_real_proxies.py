"""``--proxy`` with the proxies that people run: tinyproxy and microsocks.

Each test has a network namespace of its own, whose loopback has an address of the outside, with a web server. Only
the proxy knows that address by its name.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.documents import FENCE
from tests.support.repository import REPOSITORY
from tests.system.tlsweb import Authority
from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

WORLD = r"""
set -e
ip link set lo up
ip addr add 198.51.100.7/32 dev lo
python3 -m http.server --bind 198.51.100.7 8000 --directory www >server.log 2>&1 & pids=$!
unshare --mount sh -c 'mount --bind hosts /etc/hosts; exec PROXY' >proxy.log 2>&1 & pids="$pids $!"
trap 'kill $pids' EXIT
for place in 198.51.100.7/8000 127.0.0.1/3128; do
    n=0
    until bash -c "exec 3<>/dev/tcp/$place" 2>/dev/null; do n=$((n + 1)); [ $n -lt 500 ]; sleep 0.02; done
done
"$@"
"""
INSIDE = """
curl -sS -m 10 http://198.51.100.7:8000/hello
curl -sS -m 10 http://good.example:8000/hello
curl -sS -m 10 http://198.51.100.7:9/ 2>&1 || echo refused
"""
TINYPROXY = """
Port 3128
Listen 127.0.0.1
Timeout 30
BasicAuth me secret
ConnectPort 8000
ConnectPort 9
"""


@pytest.mark.parametrize(
    ("scheme", "command"),
    [
        ("http", "tinyproxy -d -c tinyproxy.conf"),
        ("socks5", "microsocks -i 127.0.0.1 -p 3128 -u me -P secret"),
    ],
)
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_real_proxies(slirpy: User, folder: Path, need: Need, scheme: str, command: str, password: str) -> None:
    need(command.split()[0], "curl", "unshare", "ip", "bash", "python3")
    if slirpy.name != "root":
        pytest.skip("makes a network namespace for the proxy")
    (folder / "www").mkdir()
    (folder / "www" / "hello").write_text("hello\n")
    (folder / "hosts").write_text("127.0.0.1 localhost\n198.51.100.7 good.example\n")
    (folder / "tinyproxy.conf").write_text(TINYPROXY)
    (folder / "auth").write_text(f"me:{password}\n")
    run = [
        sys.executable, "-m", "slirpy", "run", "--proxy", f"{scheme}://localhost:3128", "--proxy-auth-file", "auth",
        "--dns-record", "good.example A 198.51.100.7", "--", "sh", "-c", INSIDE,
    ]  # fmt: skip
    world = ["unshare", "--net", "sh", "-c", WORLD.replace("PROXY", command), "sh", *run]
    result = subprocess.run(
        world, cwd=folder, env=slirpy.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    log = (folder / "proxy.log").read_text()
    if password == "wrong":
        assert result.stdout.count("refused") == 1, result
        assert "hello" not in result.stdout
        assert "the proxy" in result.stderr
    else:
        lines = result.stdout.splitlines()
        assert lines[:2] == ["hello", "hello"], (result, log)
        assert lines[-1] == "refused"
        assert "good.example" in log  # the second came by its name
    assert "secret" not in result.stderr


SERVER = """
import ssl, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(self.headers.get("Authorization")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
server = HTTPServer(("198.51.100.7", 8000), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""
THROUGH_TLS = """
curl -sS -m 10 https://api.example.org:8000/user; echo
curl -sS -m 10 -d secret https://api.example.org:8000/user 2>&1 || echo refused
cat token 2>&1
"""


@pytest.mark.stress
def test_the_recipe_with_mitmproxy(slirpy: User, folder: Path, need: Need) -> None:
    """The add-on of the page adds the token outside, and lets requests pass that only read."""
    need("mitmdump", "curl", "unshare", "ip", "bash", "python3")
    if slirpy.name != "root":
        pytest.skip("makes a network namespace for the proxy")
    page = REPOSITORY / "docs" / "howto" / "proxy.md"
    (addon,) = (match[2] for match in FENCE.finditer(page.read_text()) if match[1] == "python")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "guard.py").write_text(addon)
    (outside / "token").write_text("t0ken\n")
    (folder / "server.py").write_text(SERVER)
    (folder / "hosts").write_text("127.0.0.1 localhost\n198.51.100.7 api.example.org\n")
    authority = Authority(folder)
    authority.context("api.example.org")
    command = (
        "cd outside && exec mitmdump --listen-host 127.0.0.1 --listen-port 3128 --set confdir=run-ca -s guard.py"
        " --set ssl_verify_upstream_trusted_ca=../ca.pem"
    )
    inside = "export CURL_CA_BUNDLE=$PWD/outside/run-ca/mitmproxy-ca-cert.pem\n" + THROUGH_TLS
    run = [
        sys.executable, "-m", "slirpy", "run", "--proxy", "http://127.0.0.1:3128", "--allow", "api.example.org:8000",
        "--dns-record", "api.example.org A 198.51.100.7", "--", "sh", "-c", inside,
    ]  # fmt: skip
    script = WORLD.replace("exec PROXY", command).replace(
        "python3 -m http.server --bind 198.51.100.7 8000 --directory www", "python3 server.py"
    )
    result = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", *run],
        cwd=folder, env=slirpy.environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    log = (folder / "proxy.log").read_text()
    assert result.stdout.splitlines()[0] == "Bearer t0ken", (result, log)
    assert "refused" in result.stdout
    assert "No such file" in result.stdout
    assert "api.example.org" in log
