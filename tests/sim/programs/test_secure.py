"""SSH and QUIC."""

from __future__ import annotations

import asyncio
from typing import Any

from slirpy.testing.sim.network import Network
from tests.sim.programs.packages import Packages
from tests.support.certificate import PEM


def test_asyncssh(net: Network, package: Packages) -> None:
    asyncssh: Any = package("asyncssh")
    key = asyncssh.generate_private_key("ssh-ed25519")

    class Server(asyncssh.SSHServer):  # type: ignore[misc] # of a package that may be absent
        def begin_auth(self, username: str) -> bool:
            return False

    async def capitals(process: Any) -> None:
        async for line in process.stdin:
            process.stdout.write(line.upper())
        process.exit(0)

    async def serve() -> None:
        await asyncssh.listen(port=22, server_host_keys=[key], server_factory=Server, process_factory=capitals)

    async def main() -> None:
        options = {
            "known_hosts": None,
            "username": "me",
            "client_keys": None,
            "config": None,
            "agent_path": None,
        }
        async with asyncssh.connect("server", **options) as connection:
            done = await connection.run("capitals", input="".join(f"line {number}\n" for number in range(1000)))
        assert done.stdout.split("\n")[:-1] == [f"LINE {number}" for number in range(1000)]

    net.run(serve, on="server")
    net.run(main, on="client")


def test_aioquic(net: Network, package: Packages) -> None:
    quic, configuration = package("aioquic.asyncio"), package("aioquic.quic.configuration").QuicConfiguration
    data = bytes(range(256)) * 800

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.write_eof()

    tasks = []

    async def serve() -> None:
        options = configuration(is_client=False)
        options.load_cert_chain(PEM, PEM)
        handler = lambda reader, writer: tasks.append(asyncio.create_task(back(reader, writer)))  # noqa: E731
        await quic.serve("0.0.0.0", 4433, configuration=options, stream_handler=handler)

    async def main() -> None:
        options = configuration(is_client=True)
        options.load_verify_locations(str(PEM))
        async with quic.connect("server", 4433, configuration=options) as connection:
            reader, writer = await connection.create_stream()
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data

    net.run(serve, on="server")
    net.run(main, on="client")
