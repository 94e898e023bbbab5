"""The TFTP server of the virtual network (RFC 1350, 2347 to 2349, 7440), at port 69 of the gateway.

As RFC 1350 demands, each transfer has its own port. The port belongs to that transfer alone, identified by both
addresses and both ports: the other ports of the gateway lead to the host's loopback, and packets that other programs
of the guest send there must still arrive. Guests behind their own NAT, or with a firewall that accepts answers from
port 69 only, need ``Config.tftp_single_port``, which is what libslirp and QEMU always do. Transfers are then
identified by the guest's address and port alone, which is enough for every client.
"""

from __future__ import annotations

from pathlib import Path

from slirpy.config import Config
from slirpy.interfaces import Datagram, ServiceNetwork
from slirpy.services.tftp.files import (
    NetasciiSink,
    NetasciiSource,
    Sink,
    Source,
    open_callable,
    open_read,
    open_write,
)
from slirpy.services.tftp.reading import Reading
from slirpy.services.tftp.transfer import PORT, Start, Transfer, Transfers, negotiate
from slirpy.services.tftp.writing import Writing
from slirpy.units import SECOND
from slirpy.wire.tftp import (
    ERROR,
    HEADER,
    MAX_REQUEST,
    RRQ,
    WRQ,
    Code,
    RefusalError,
    Request,
    codec,
    error,
    read_request,
)

__all__ = ["TftpService"]

_ERROR = ERROR.to_bytes(2, "big")
REPEATED = SECOND
"""A request that comes again within this time is a repetition; later it is from a guest that was restarted."""


class TftpService:
    """A :class:`~slirpy.interfaces.Service`.

    Args:
        config: the options of TFTP; its ``tftp`` is not None.
        network: where the guests are.
    """

    def __init__(self, config: Config, network: ServiceNetwork) -> None:
        assert config.tftp is not None
        codec()
        self._source = config.tftp
        self._write = config.tftp_write
        self._ignore_case = config.tftp_ignore_case
        self._single_port = config.tftp_single_port
        self._mtu = config.mtu
        self._network = network
        self._transfers = Transfers(network)

    def close(self) -> None:
        """End all transfers, and remove files that are not complete."""
        self._transfers.close()

    def datagram(self, datagram: Datagram) -> None:
        """Take a packet, for port 69 or for the port of a transfer."""
        stats = self._network.stats
        payload = datagram.payload
        client = datagram.source, datagram.source_port
        if datagram.source == b"\0\0\0\0" or not datagram.source_port:
            stats.drop_tftp_malformed += 1
            return
        if len(payload) < HEADER.size:
            stats.drop_tftp_malformed += 1
            is_new = datagram.destination_port == PORT and client not in self._transfers.by_client
            if is_new and bytes(payload[:2]) != _ERROR:
                self._send_error(datagram.destination, *client, RefusalError(Code.ILLEGAL, "malformed packet"))
            return
        opcode, number = HEADER.unpack_from(payload)
        if opcode in (RRQ, WRQ) and datagram.destination_port == PORT:
            self._request(datagram.destination, *client, bytes(payload[:MAX_REQUEST]), datagram.link)
            return
        transfer = self._transfers.by_client.get(client)
        if transfer is not None and transfer.port == datagram.destination_port:
            if opcode == ERROR:
                transfer.aborted()
            else:
                transfer.block(opcode, number, payload)
                self._transfers.take_turns()
            return
        stats.drop_tftp_unknown += 1
        if opcode != ERROR:  # an error is never answered (RFC 1350, section 7)
            code = Code.UNKNOWN_ID if opcode in range(RRQ, ERROR) else Code.ILLEGAL
            self._send_error(datagram.destination, *client, RefusalError(code, "no such transfer"))

    def _request(self, server: bytes, guest: bytes, guest_port: int, payload: bytes, link: object) -> None:
        network, transfers = self._network, self._transfers
        old = transfers.by_client.get((guest, guest_port))
        if old is not None:
            if (
                not old.done
                and old.request == payload
                and (not old.answered or network.now - old.started < REPEATED)
            ):
                network.stats.drop_tftp_duplicate += 1
                if not old.answered and network.now > old.active:
                    old.active = network.now
                    old.again()
                    transfers.take_turns()
                return
            transfers.remove(old)
        try:
            transfer = self._open(server, guest, guest_port, payload)
        except RefusalError as why:
            if why.code == Code.ILLEGAL:
                network.stats.drop_tftp_malformed += 1
            network.stats.tftp_refused += 1
            self._send_error(server, guest, guest_port, why)
            return
        transfer.link = link
        transfers.add(transfer)
        transfers.take_turns()

    def _open(self, server: bytes, guest: bytes, guest_port: int, payload: bytes) -> Transfer:
        """Begin the transfer that a request asks for.

        Raises:
            RefusalError: it cannot begin; the guest receives the reason.
        """
        request = read_request(payload)
        if request.mode not in ("octet", "netascii"):
            raise RefusalError(Code.ILLEGAL, "the mode must be octet or netascii")
        source = None if request.write else self._open_source(request)
        sink = None
        try:
            size = None if source is None else source.size
            terms = negotiate(request.options, mtu=self._mtu, size=size, write=request.write)
            if source is None:
                sink = self._open_sink(request, terms.size)
        except RefusalError:
            if source is not None:
                source.close()
            raise
        self._transfers.make_room(guest)
        port = PORT
        if not self._single_port:
            port = self._network.open_port(server, guest, guest_port, self)
        start = Start(server, guest, guest_port, port, payload, terms)
        if source is not None:
            self._network.stats.tftp_reads += 1
            return Reading(self._transfers, start, source)
        assert sink is not None
        self._network.stats.tftp_writes += 1
        return Writing(self._transfers, start, sink)

    def _open_source(self, request: Request) -> Source:
        source: Source
        if isinstance(self._source, Path):
            source = open_read(self._source, request.name, self._ignore_case)
        else:
            source = open_callable(self._source, request.name)
        return NetasciiSource(source) if request.mode == "netascii" else source

    def _open_sink(self, request: Request, size: int | None) -> Sink:
        if not self._write or not isinstance(self._source, Path):
            raise RefusalError(Code.ACCESS, "writing is not allowed")
        sink = open_write(self._source, request.name, self._network.random, size, self._ignore_case)
        return NetasciiSink(sink) if request.mode == "netascii" else sink

    def _send_error(self, server: bytes, guest: bytes, guest_port: int, why: RefusalError) -> None:
        self._network.send_datagram(server, PORT, guest, guest_port, error(why.code, why.text))
