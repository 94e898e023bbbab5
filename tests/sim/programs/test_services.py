"""Redis, MQTT, DNS, Modbus and mail."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from typing import Any

from slirpy.testing.sim.network import Network
from tests.sim.programs.packages import Packages
from tests.sim.programs.redisserver import serve_redis


def test_redis(net: Network, package: Packages) -> None:
    redis = package("redis.asyncio")
    value = bytes(range(256)) * 400

    async def main() -> None:
        async with redis.Redis(host="server", protocol=2) as client:
            await client.set("key", value)
            assert await client.get("key") == value
            counts = await asyncio.gather(*(client.incr("counter") for _ in range(20)))
            assert sorted(counts) == list(range(1, 21))

    net.host("server").run(serve_redis)
    net.run(main, on="client")


def test_amqtt(net: Network, package: Packages) -> None:
    broker, client = package("amqtt.broker"), package("amqtt.client")
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": "0.0.0.0:1883"}}

    async def serve() -> None:
        await broker.Broker({"listeners": listeners, "plugins": plugins}).start()

    async def main() -> None:
        mqtt = client.MQTTClient(config={"auto_reconnect": False})
        await mqtt.connect("mqtt://server:1883/")
        await mqtt.subscribe([("topic", 2)])
        for number in range(5):
            await mqtt.publish("topic", b"%d" % number, qos=2)
        for number in range(5):
            assert (await mqtt.deliver_message()).data == b"%d" % number
        await mqtt.disconnect()

    net.run(serve, on="server")
    net.run(main, on="client")


def test_dnspython(net: Network, package: Packages) -> None:
    resolver, message, rrset = package("dns.asyncresolver"), package("dns.message"), package("dns.rrset")

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            query = message.from_wire(data)
            answer = message.make_response(query)
            answer.answer.append(rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.7"))
            self.transport.sendto(answer.to_wire(), addr)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Server, local_addr=("0.0.0.0", 53))

    async def main() -> None:
        dns = resolver.Resolver(configure=False)
        dns.nameservers = [net.host("server").address]
        for number in range(20):
            answer = await dns.resolve(f"name{number}.example", "A")
            assert answer[0].address == "192.0.2.7"

    net.run(serve, on="server")
    net.run(main, on="client")


def test_pymodbus(net: Network, package: Packages) -> None:
    server, client, datastore = (
        package("pymodbus.server"),
        package("pymodbus.client"),
        package("pymodbus.datastore"),
    )

    async def serve() -> None:
        block = datastore.ModbusSequentialDataBlock(1, [0] * 100)
        context = datastore.ModbusServerContext(datastore.ModbusDeviceContext(hr=block), single=True)
        await server.StartAsyncTcpServer(context, address=("0.0.0.0", 502))

    async def main() -> None:
        modbus = client.AsyncModbusTcpClient("server", port=502, timeout=20)
        assert await modbus.connect()
        await modbus.write_registers(3, [1, 2, 3])
        assert (await modbus.read_holding_registers(3, count=3)).registers == [1, 2, 3]
        modbus.close()

    net.host("server").run(serve)
    net.run_for(0.1)
    net.run(main, on="client")


def test_aiosmtpd_and_aiosmtplib(net: Network, package: Packages) -> None:
    smtpd, smtplib = package("aiosmtpd.smtp"), package("aiosmtplib")
    mails = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name
            mails.append(envelope)
            return "250 OK"

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: smtpd.SMTP(Handler(), hostname="server"), "0.0.0.0", 25)
        await server.serve_forever()

    async def main() -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "me@client", "you@server", "a long one"
        mail.set_content("line\n" * 10_000)
        await smtplib.send(mail, hostname="server", port=25, start_tls=False)

    net.host("server").run(serve)
    net.run(main, on="client")
    assert mails[0].rcpt_tos == ["you@server"]
    assert mails[0].content.count(b"line") == 10_000
