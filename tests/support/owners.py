"""Owners of streams and datagram sockets, and far ends of streams, that write down each call."""

from __future__ import annotations

from slirpy.interfaces import IcmpReport

__all__ = ["DatagramNotes", "Notes", "PeerNotes", "StreamNotes"]


class StreamNotes:
    """Owner of a stream. ``calls`` has the names of the methods called, ``errors`` what :meth:`failed` was given."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.errors: list[int] = []

    def connected(self) -> None:
        self.calls.append("connected")

    def readable(self) -> None:
        self.calls.append("readable")

    def writable(self) -> None:
        self.calls.append("writable")

    def failed(self, error: int) -> None:
        self.calls.append("failed")
        self.errors.append(error)


class PeerNotes:
    """Far end of a stream that notes how it is ended. ``calls`` has the names of the methods called."""

    def __init__(self, calls: list[str] | None = None) -> None:
        self.calls: list[str] = [] if calls is None else calls

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def abort(self) -> None:
        self.calls.append("abort")

    def close(self) -> None:
        self.calls.append("close")


class DatagramNotes:
    """Owner of a datagram socket: payloads with their senders, and errors with their reports."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[bytes, int]]] = []
        self.errors: list[int] = []
        self.reports: list[IcmpReport | None] = []

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        self.received.append((payload, (address, port)))

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        self.errors.append(error)
        self.reports.append(report)


class Notes(StreamNotes, DatagramNotes):
    """Owner of either, whose ``errors`` are those of both."""

    def __init__(self) -> None:
        DatagramNotes.__init__(self)
        StreamNotes.__init__(self)
