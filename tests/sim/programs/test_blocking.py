"""Plain functions: http.server, urllib, requests, redis-py, smtplib, dnspython, paho, tftpy, ftplib, xmlrpc."""

from __future__ import annotations

import asyncio
import gc
import http.client
import http.server
import smtplib
import socketserver
import threading
import time
import urllib.request
import warnings
import xmlrpc.client
import xmlrpc.server
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from slirpy.testing.sim.network import Network
from tests.sim.programs.packages import Packages
from tests.sim.programs.redisserver import serve_redis
from tests.support.certificate import client_context, server_context

BODY = bytes(range(256)) * 400


class Handler(http.server.BaseHTTPRequestHandler):
    """Returns what was sent, or :data:`BODY`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(BODY)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


def serve_http() -> None:
    http.server.ThreadingHTTPServer(("", 80), Handler).serve_forever()


def serve_https() -> None:
    server = http.server.HTTPServer(("", 443), Handler)
    server.socket = server_context().wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def test_urllib_and_http_server(net: Network) -> None:
    def program() -> str:
        with urllib.request.urlopen("http://server/") as answer:
            assert answer.read() == BODY
            return str(answer.headers["Date"])

    net.host("server").run(serve_http)
    assert net.run(program, on="client").startswith("Thu, 01 Jan 2026 00:00:0")


def test_http_client_over_tls(net: Network) -> None:
    def program() -> None:
        connection = http.client.HTTPSConnection("server", context=client_context())
        for _ in range(2):
            connection.request("POST", "/", BODY)
            assert connection.getresponse().read() == BODY
        connection.close()

    net.host("server").run(serve_https)
    net.run(program, on="client")


@pytest.mark.parametrize("kind", ["http.server", "uvicorn"])
def test_requests(net: Network, package: Packages, kind: str) -> None:
    requests = package("requests")

    def program() -> None:
        with requests.Session() as session:
            for _ in range(3):
                assert session.post("http://server/", data=BODY, timeout=30).content == BODY

    net.host("server").run(serve_http if kind == "http.server" else _uvicorn(package("uvicorn")))
    net.run(program, on="client")


def _uvicorn(uvicorn: Any) -> Callable[[], Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def serve() -> None:
        config = uvicorn.Config(app, host="0.0.0.0", port=80, log_config=None, lifespan="off")
        await uvicorn.Server(config).serve()

    return serve


def test_redis(net: Network, package: Packages) -> None:
    redis = package("redis")

    def program() -> bytes:
        with redis.Redis(host="server", protocol=2) as client:
            client.set("key", BODY)
            assert client.get("key") == BODY
            for _ in range(10):
                client.incr("counter")
            return bytes(client.get("counter"))

    net.host("server").run(serve_redis)
    assert net.run(program, on="client") == b"10"


def test_smtplib_and_aiosmtpd(net: Network, package: Packages) -> None:
    smtp = package("aiosmtpd.smtp")
    received: list[bytes] = []

    class Mailbox:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            received.append(envelope.content)
            return "250 kept"

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await (await loop.create_server(lambda: smtp.SMTP(Mailbox()), port=25)).serve_forever()

    def program() -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "a@client", "b@server", "greeting"
        message.set_content("hello\n" * 1000)
        with smtplib.SMTP("server") as connection:
            connection.send_message(message)

    net.host("server").run(serve)
    net.run(program, on="client")
    assert received[0].count(b"hello") == 1000


def test_dnspython(net: Network, package: Packages) -> None:
    resolver, message, rrset = package("dns.resolver"), package("dns.message"), package("dns.rrset")

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, socket = self.request
            query = message.from_wire(data)
            answer = message.make_response(query)
            answer.answer.append(rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.7"))
            socket.sendto(answer.to_wire(), self.client_address)

    def program() -> None:
        dns = resolver.Resolver(configure=False)
        dns.nameservers = [net.host("server").address]
        for number in range(20):
            assert dns.resolve(f"name{number}.example", "A")[0].address == "192.0.2.7"

    net.host("server").run(lambda: socketserver.UDPServer(("", 53), Answer).serve_forever())
    net.run(program, on="client")


def test_paho_with_its_thread_and_amqtt(net: Network, package: Packages) -> None:
    mqtt, broker = package("paho.mqtt.client"), package("amqtt.broker")
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": "0.0.0.0:1883"}}

    async def serve() -> None:
        await broker.Broker({"listeners": listeners, "plugins": plugins}).start()

    def program() -> list[bytes]:
        received: list[bytes] = []
        subscribed, complete = threading.Event(), threading.Event()

        def on_message(client: Any, data: Any, message: Any) -> None:
            received.append(message.payload)
            if len(received) == 5:
                complete.set()

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_message = on_message
        client.on_connect = lambda client, *_: client.subscribe("topic", 2)
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect("server")
        client.loop_start()
        assert subscribed.wait(30)
        for number in range(5):
            client.publish("topic", b"%d" % number, qos=2)
        assert complete.wait(60)
        client.disconnect()
        client.loop_stop()
        return received

    net.run(serve, on="server")
    assert net.run(program, on="client") == [b"0", b"1", b"2", b"3", b"4"]


def test_aiomqtt_and_amqtt(net: Network, package: Packages) -> None:
    """Paho's blocking sockets in an asyncio program, by ``add_reader``."""
    mqtt, broker = package("aiomqtt"), package("amqtt.broker")
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": "0.0.0.0:1883"}}

    async def serve() -> None:
        await broker.Broker({"listeners": listeners, "plugins": plugins}).start()

    async def program() -> list[bytes]:
        async with mqtt.Client("server") as client:
            await client.subscribe("topic", qos=1)
            for number in range(5):
                await client.publish("topic", b"%d" % number, qos=1)
            received: list[bytes] = []
            async for message in client.messages:
                received.append(message.payload)
                if len(received) == 5:
                    return received
        return []

    net.run(serve, on="server")
    assert sorted(net.run(program, on="client")) == [b"0", b"1", b"2", b"3", b"4"]


def test_tftpy_on_a_clean_path(package: Packages, tmp_path: Path) -> None:
    tftpy = package("tftpy")
    warnings.simplefilter("ignore", ResourceWarning)  # it leaves its files open
    (tmp_path / "file").write_bytes(BODY)
    with Network() as net:
        net.host("server").run(lambda: tftpy.TftpServer(str(tmp_path)).listen("0.0.0.0", 69))
        net.run(lambda: tftpy.TftpClient("server", 69).download("file", str(tmp_path / "copy")), on="client")
    assert (tmp_path / "copy").read_bytes() == BODY
    gc.collect()


def test_xmlrpc(net: Network) -> None:
    def serve() -> None:
        server = xmlrpc.server.SimpleXMLRPCServer(("", 8000), logRequests=False)
        server.register_function(lambda base, exponent: base**exponent, "power")
        server.serve_forever()

    def program() -> list[Any]:
        with xmlrpc.client.ServerProxy("http://server:8000/") as proxy:
            return [proxy.power(2, exponent) for exponent in range(5)]

    net.host("server").run(serve)
    assert net.run(program, on="client") == [1, 2, 4, 8, 16]


def test_a_run_repeats_to_the_byte(net: Network) -> None:
    def run() -> str:
        with Network(5, path=net.path("server", "client").faults) as other:
            other.host("server").run(serve_http)
            other.run(lambda: urllib.request.urlopen("http://server/").read(), on="client")
            other.run(lambda: time.sleep(1), on="client")
            return other.trace.digest()

    assert run() == run()
