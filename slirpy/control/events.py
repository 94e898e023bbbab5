"""Events of the network for those who listen: the records of the audit log, as server-sent events.

Nothing is recorded while nobody listens, unless there is an audit log. Each listener has a bounded queue; one that
reads too slowly loses events, which are counted, and gets their number.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from slirpy.audit.trail import AuditTrail, Record
from slirpy.control.subject import Subject
from slirpy.stack import Stack

__all__ = ["router"]

QUEUE_MAX = 4096
"""Events that wait for a listener."""
KEEP_ALIVE = 15.0
"""Seconds after which a comment shows that the connection lives."""

Kinds = Annotated[
    str | None,
    Query(max_length=200, description="Only these kinds of events, separated by commas, such as open,end."),
]


class _Listener:
    """A bounded queue from the network's thread to one reader."""

    def __init__(self, stack: Stack, kinds: frozenset[str] | None) -> None:
        self._stack = stack
        self._kinds = kinds
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Record] = deque()
        self._lost = 0
        self._arrived = asyncio.Event()
        self._woken = False

    def put(self, record: Record) -> None:
        """Take a record. Called by the network's thread."""
        if self._kinds is not None and record["event"] not in self._kinds:
            return
        if len(self._waiting) >= QUEUE_MAX:
            self._lost += 1
            self._stack.stats.control_events_lost += 1
            return
        self._waiting.append(record)
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:
                pass  # the loop has been closed

    async def read(self) -> AsyncIterator[bytes]:
        """The events, as they are sent."""
        yield b": events of slirpy\n\n"
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await self._arrived.wait()
            except TimeoutError:
                yield b":\n\n"
                continue
            self._arrived.clear()
            self._woken = False
            while self._waiting:
                record = self._waiting.popleft()
                yield _message(record["event"], record, record["seq"])
            lost, self._lost = self._lost, 0
            if lost:
                yield _message("lost", {"event": "lost", "count": lost})


def _message(kind: str, data: Record, number: int | None = None) -> bytes:
    head = f"event: {kind}\n" if number is None else f"id: {number}\nevent: {kind}\n"
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def _listen(put: Callable[[Record], None], stack: Stack) -> Callable[[], None]:
    """Pass the network's records to a function; returns a function that ends this."""
    events = stack.network.events
    trail = events if isinstance(events, AuditTrail) else None
    own = trail is None
    if trail is None:
        config = stack.config
        trail = AuditTrail(wall=time.time_ns)
        nets = [net for on, net in ((config.ipv4, config.net), (config.ipv6, config.net6)) if on]
        trail.started(stack, nets, stack.policy)
        for port in stack.ports:
            trail.link_changed(port.link, port, True)
        stack.network.events = trail
        stack.watch_leases()
    trail.add(put)

    def end() -> None:
        trail.remove(put)
        if own and not trail.has_readers and stack.network.events is trail:
            stack.network.events = None

    return end


def router(subject: Subject) -> APIRouter:
    """The path of events."""
    routes = APIRouter(tags=["events"])

    @routes.get(
        "/events",
        operation_id="events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(kinds: Kinds = None) -> StreamingResponse:
        """Stream events as they happen (server-sent events): the records of the audit log, as its reference says.

        The event `lost` says how many a slow reader has missed.
        """
        stack = await subject.ask(lambda stack: stack)
        chosen = None if kinds is None else frozenset(kinds.split(","))
        listener = _Listener(stack, chosen)
        end = await subject.do(lambda: _listen(listener.put, stack))

        async def stream() -> AsyncIterator[bytes]:
            try:
                async for message in listener.read():
                    yield message
            finally:
                subject.later(end)

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    return routes
