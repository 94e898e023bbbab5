"""Programs that wait for ever, or keep others waiting, when a peer dies or says nothing; docs/bugs.md tells more."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from slirpy.testing.sim.network import Network
from tests.sim.programs.bugs import ends_within, expect_bug, silent
from tests.sim.programs.packages import Packages

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def net(clear_net: Network) -> Network:
    """Hosts that are 50 ms apart, and a clear path."""
    return clear_net


def connect_and_die(net: Network, port: int, connections: int) -> None:
    """Let a client connect, say nothing, and lose its power; ten minutes pass."""

    async def connect() -> None:
        kept = [await asyncio.open_connection("server", port) for _ in range(connections)]
        await asyncio.Event().wait()
        del kept

    dying = net.host("dying")
    dying.run(connect)
    net.run_for(1)
    dying.crash()
    net.run_for(600)


def test_uvicorn_refuses_everybody_once_some_clients_have_died(net: Network, package: Packages) -> None:
    uvicorn, httpx = package("uvicorn"), package("httpx")

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    async def serve() -> None:
        config = uvicorn.Config(
            hello, "0.0.0.0", 80, limit_concurrency=3, timeout_keep_alive=5, lifespan="off", log_config=None
        )
        await uvicorn.Server(config).serve()

    async def ask() -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return int((await client.get("http://server/")).status_code)

    net.host("server").run(serve)
    assert net.run(ask, on="client") == 200
    connect_and_die(net, 80, connections=3)
    expect_bug("uvicorn", net.run(ask, on="client"), wrong=503, right=200)


def test_amqtt_broker_is_full_of_clients_that_have_died(net: Network, package: Packages) -> None:
    broker, client = package("amqtt.broker"), package("amqtt.client")
    logging.getLogger("amqtt").setLevel(logging.CRITICAL + 1)
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": "0.0.0.0:1883", "max_connections": 2}}

    async def connect() -> None:
        mqtt = client.MQTTClient(config={"auto_reconnect": False})
        await mqtt.connect("mqtt://server/")
        await mqtt.disconnect()

    async def serve() -> None:
        await broker.Broker({"listeners": listeners, "plugins": plugins}).start()

    net.run(serve, on="server")
    net.run(connect, on="client")
    connect_and_die(net, 1883, connections=2)
    expect_bug("amqtt", ends_within(net, 1, connect), wrong=False, right=True)


def test_amqtt_client_waits_for_a_silent_broker(net: Network, package: Packages) -> None:
    client = package("amqtt.client")

    async def connect() -> None:
        config = {"auto_reconnect": False, "connection_timeout": 5}
        await client.MQTTClient(config=config).connect("mqtt://server/")

    net.host("server").run(silent(1883))
    expect_bug("amqtt", ends_within(net, 24, connect), wrong=False, right=True)


def test_gmqtt_waits_for_a_silent_broker(net: Network, package: Packages) -> None:
    gmqtt = package("gmqtt")

    async def connect() -> None:
        await gmqtt.Client("me").connect("server", keepalive=10)

    net.host("server").run(silent(1883))
    expect_bug("gmqtt", ends_within(net, 1, connect), wrong=False, right=True)


def test_paho_publishes_to_a_silent_broker_for_ever(net: Network, package: Packages) -> None:
    publish = package("paho.mqtt.publish")
    net.host("server").run(silent(1883))
    ends = ends_within(net, 1, lambda: publish.single("topic", "on", qos=1, hostname="server", keepalive=60))
    expect_bug("paho-mqtt", ends, wrong=False, right=True)


def test_stomp_disregards_its_timeout(net: Network, package: Packages) -> None:
    stomp = package("stomp")

    def connect() -> None:
        connection = stomp.Connection([("server", 61613)], timeout=5)
        connection.connect("me", "secret", wait=False)
        connection.transport.wait_for_connection(timeout=5)

    net.host("server").run(silent(61613))
    expect_bug("stomp.py", ends_within(net, 1, connect), wrong=False, right=True)


def test_pymysql_disregards_its_connect_timeout(net: Network, package: Packages) -> None:
    pymysql = package("pymysql")
    net.host("server").run(silent(3306))
    ends = ends_within(net, 24, lambda: pymysql.connect(host="server", connect_timeout=5))
    expect_bug("PyMySQL", ends, wrong=False, right=True)
