"""The table of sockets, and the sockets of a host."""

from __future__ import annotations

from slirpy.interfaces import AcceptedStream, IcmpReport
from slirpy.links.faultypath import Faults
from slirpy.testing.sim.connections import find_connections
from slirpy.testing.sim.netstat import SocketInfo, netstat, repetitions, sockets_of
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.trace import FrameRecord
from slirpy.units import MS


class Owner:
    """A program that does nothing."""

    def connected(self) -> None: ...

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def failed(self, error: int) -> None: ...

    def datagram(self, payload: bytes, address: bytes, port: int) -> None: ...

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None: ...


def test_the_table() -> None:
    table = netstat(
        {
            "client": [
                SocketInfo("tcp", "198.18.0.1:40000", "198.18.0.2:80", "ESTABLISHED", 5, 1448, 2, 10_050_000)
            ],
            "server": [SocketInfo("tcp", "*:80", "*:*", "LISTEN"), SocketInfo("udp", "*:53", "*:*")],
            "idle": [],
        }
    )
    assert table.splitlines() == [
        "host    proto  local             remote         state        recv-q  send-q  again      rtt",
        "client  tcp    198.18.0.1:40000  198.18.0.2:80  ESTABLISHED       5    1448      2  10.1 ms",
        "server  tcp    *:80              *:*            LISTEN            0       0",
        "server  udp    *:53              *:*                              0       0",
    ]
    assert netstat({"idle": []}) == "no sockets"


def test_the_sockets_of_a_host() -> None:
    net = Network(path=Faults(delay=10 * MS))
    client, server = net.host("client"), net.host("server")
    accepted: list[AcceptedStream] = []

    def accept(stream: AcceptedStream) -> Owner:
        accepted.append(stream)
        return Owner()

    server.socket_layer.listen(bytes(4), 80, accept)
    server.socket_layer.bind(bytes(4), 53, Owner())
    bound = client.socket_layer.bind(client.packed_addresses[0], 5000, Owner())
    bound.remote = server.packed_addresses[0], 53
    stream = client.socket_layer.connect(server.packed_addresses[0], 80, Owner())
    net.until(lambda: accepted)
    net.run_for(0.1)
    net.path("client", "server").cut()
    stream.send([b"lost"])
    accepted[0].peer.send([b"arrives"])
    net.run_for(0.5)

    tcp, udp = sockets_of(client.stack, repetitions(find_connections(net.trace.records)))
    port = stream.local[1]
    assert tcp[:6] == ("tcp", f"198.18.0.1:{port}", "198.18.0.2:80", "ESTABLISHED", 7, 4)
    assert tcp.retransmits >= 1
    assert tcp.rtt == 20 * MS
    assert udp == SocketInfo("udp", "198.18.0.1:5000", "198.18.0.2:53")
    listening, opened, other = sockets_of(server.stack, {})
    assert listening == SocketInfo("tcp", "*:80", "*:*", "LISTEN")
    assert opened[:4] == ("tcp", "198.18.0.2:80", f"198.18.0.1:{port}", "ESTABLISHED")
    assert other == SocketInfo("udp", "*:53", "*:*")
    assert client.sockets() == [tcp, udp]


def test_a_closed_stream_stays_in_fin_wait_2_for_a_minute() -> None:
    net = Network()
    client, server = net.host("client"), net.host("server")
    server.socket_layer.listen(bytes(4), 80, lambda accepted: Owner())  # never closes
    stream = client.socket_layer.connect(server.packed_addresses[0], 80, Owner())
    net.run_for(1)
    stream.close()
    net.run_for(59)
    assert [each.state for each in sockets_of(client.stack, {})] == ["FIN-WAIT-2"]
    net.run_for(2)
    assert sockets_of(client.stack, {}) == []
    assert [each.state for each in sockets_of(server.stack, {})] == ["LISTEN", "CLOSE-WAIT"]


def test_a_closed_stream_whose_far_side_closes_too_ends_after_time_wait() -> None:
    net = Network()
    client, server = net.host("client"), net.host("server")
    accepted: list[AcceptedStream] = []

    def accept(stream: AcceptedStream) -> Owner:
        accepted.append(stream)
        return Owner()

    server.socket_layer.listen(bytes(4), 80, accept)
    stream = client.socket_layer.connect(server.packed_addresses[0], 80, Owner())
    net.run_for(1)
    stream.close()
    net.run_for(30)
    accepted[0].peer.close()
    net.run_for(40)  # longer than what was left in FIN-WAIT-2
    assert [each.state for each in sockets_of(client.stack, {})] == ["TIME-WAIT"]
    net.run_for(40)
    assert sockets_of(client.stack, {}) == []


def test_each_connection_has_its_own_repetitions() -> None:
    net = Network()
    client, server = net.host("client"), net.host("server")
    server.socket_layer.listen(bytes(4), 80, lambda accepted: Owner())
    streams = [client.socket_layer.connect(server.packed_addresses[0], 80, Owner()) for _ in range(2)]
    net.run_for(1)
    net.partition(["client"], ["server"], during=5)
    streams[1].send([b"hello"])
    net.run_for(20)
    streams[0].send([b"hello"])
    net.run_for(1)
    again = {each.local: each.retransmits for each in net.report().sockets["client"]}
    sent = [record for record in net.trace.records if isinstance(record, FrameRecord) and record.fault]
    assert again == {
        f"198.18.0.1:{streams[0].local_port}": 0,
        f"198.18.0.1:{streams[1].local_port}": len(sent),  # all but the first, and the one that arrived
    }
    assert len(sent) > 3
    assert [each.retransmits for each in net.report().sockets["server"]] == [0, 0, 0]
