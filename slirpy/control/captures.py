"""Captures: into a file, in memory with a ladder, or as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from slirpy.control.faults import Links
from slirpy.control.shapes import CaptureRow, Captures, NewCapture
from slirpy.control.subject import Subject
from slirpy.control.taps import Capture
from slirpy.errors import StateError
from slirpy.ladder.diagram import ladder
from slirpy.links.memory import RecordQueue, RecordRing
from slirpy.wire import pcapng

__all__ = ["MEMORY_BYTES", "STREAM_BYTES", "router"]

STREAM_BYTES = 4 << 20
"""Bytes of a stream that wait for its reader; frames beyond are dropped and counted."""
MEMORY_BYTES = 4 << 20
"""Bytes of the last frames that a capture in memory keeps."""
DRAWN_MAX = 500
"""Maximum number of packets in a ladder."""
_TYPES = {"pcap": "application/vnd.tcpdump.pcap", "pcapng": "application/x-pcapng"}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _TYPES.values()}}
}

Number = Annotated[int, Path(ge=1, le=1 << 53, description="Of the capture, as the list shows it.")]
Format = Annotated[Literal["pcap", "pcapng"], Query(alias="format", description="Of the stream.")]


def router(subject: Subject) -> APIRouter:
    """The paths of this part."""
    routes = APIRouter(tags=["captures"])
    taps = subject.taps

    @routes.get("/captures", response_model=Captures, operation_id="captures")
    async def captures() -> JSONResponse:
        """List the captures, including those that have ended, as far as they are remembered."""
        rows = await subject.do(lambda: [_row(each) for each in taps.captures()])
        return JSONResponse({"captures": rows})

    @routes.post("/captures", response_model=CaptureRow, status_code=201, operation_id="start_capture")
    async def start_capture(body: NewCapture, request: Request) -> JSONResponse:
        """Start a capture: into a file of the machine of the network, or in memory, which keeps the last 4 MiB.

        Links that are attached later are recorded, too, unless `links` names some. Files need a Unix socket; they are
        for their owner only, and existing ones are left alone, unless `overwrite` permits replacing earlier captures.
        """
        if body.file is not None and request.client is not None:
            error = (
                "a file is written only for clients of a Unix socket; leave it out, or use /v1/captures/stream"
            )
            return JSONResponse({"error": error}, 403)
        target = RecordRing(MEMORY_BYTES) if body.file is None else body.file
        form = "pcapng" if body.file is None else body.format

        def start() -> dict[str, Any]:
            return _row(
                taps.start(
                    target,
                    body.links,
                    file_format=form,
                    max_bytes=body.max_bytes,
                    max_files=body.max_files,
                    overwrite=body.overwrite,
                )
            )

        return JSONResponse(await subject.do(start), 201)

    @routes.get(
        "/captures/stream", operation_id="stream_capture", response_class=StreamingResponse, responses=_FILE
    )
    async def stream_capture(link: Links = None, file_format: Format = "pcapng") -> StreamingResponse:
        """Stream frames as they pass, for Wireshark. What a slow reader misses is dropped, and counted."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(arrived.set)
            except RuntimeError:
                pass  # the loop has been closed

        queue = RecordQueue(STREAM_BYTES, wake)
        capture = await subject.do(lambda: taps.start(queue, link, file_format=file_format))

        async def stream() -> AsyncIterator[bytes]:
            try:
                while True:
                    await arrived.wait()
                    arrived.clear()
                    ended = queue.ended
                    if data := queue.take():
                        yield data
                    if ended:
                        return
            finally:
                subject.later(lambda: taps.remove(capture))

        return StreamingResponse(
            stream(), media_type=_TYPES[file_format], headers={"Cache-Control": "no-store"}
        )

    @routes.post("/captures/{number}/stop", response_model=CaptureRow, operation_id="stop_capture")
    async def stop_capture(number: Number) -> JSONResponse:
        """End a capture. It stays in the list, and what is in memory can be read."""

        def stop() -> dict[str, Any] | None:
            capture = taps.capture(number)
            if capture is None:
                return None
            taps.stop(capture)
            return _row(capture)

        return _found(number, await subject.do(stop))

    @routes.delete("/captures/{number}", response_model=CaptureRow, operation_id="remove_capture")
    async def remove_capture(number: Number) -> JSONResponse:
        """End a capture, and forget it. Its files stay."""

        def remove() -> dict[str, Any] | None:
            capture = taps.capture(number)
            if capture is None:
                return None
            taps.remove(capture)
            return _row(capture)

        return _found(number, await subject.do(remove))

    @routes.get(
        "/captures/{number}/file", operation_id="capture_file", response_class=Response, responses=_FILE
    )
    async def capture_file(number: Number) -> Response:
        """Download what a capture in memory has kept, as pcapng."""
        kept = await subject.do(lambda: _kept(taps.capture(number)))
        if kept is None:
            return _found(number, None)
        header, records = kept
        return Response(
            b"".join((header, *records)),
            media_type=_TYPES["pcapng"],
            headers={"Content-Disposition": f'attachment; filename="slirpy-{number}.pcapng"'},
        )

    @routes.get(
        "/captures/{number}/ladder",
        operation_id="capture_ladder",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def capture_ladder(
        number: Number,
        last: Annotated[int, Query(ge=1, le=DRAWN_MAX, description="Maximum number of packets.")] = 60,
        width: Annotated[int, Query(ge=60, le=200, description="Characters of a line.")] = 110,
    ) -> Response:
        """Draw the last packets that a capture in memory has kept as a ladder, in text."""
        kept = await subject.do(lambda: _kept(taps.capture(number)))
        if kept is None:
            return _found(number, None)
        return PlainTextResponse(_ladder(kept[1][-last:], width))

    return routes


def _row(capture: Capture) -> dict[str, Any]:
    target, recorder = capture.target, capture.recorder
    kind = (
        "memory" if isinstance(target, RecordRing) else "stream" if isinstance(target, RecordQueue) else "file"
    )
    return {
        "number": capture.number,
        "kind": kind,
        "file": target if isinstance(target, str) else None,
        "links": capture.links,
        "running": capture.running,
        "began": round(capture.began, 3),
        "frames": recorder.frames,
        "lost": recorder.dropped,
        "evicted": target.evicted if isinstance(target, RecordRing) else 0,
        "error": None if recorder.error is None else recorder.error.strerror or str(recorder.error),
    }


def _found(number: int, row: dict[str, Any] | None) -> JSONResponse:
    if row is None:
        return JSONResponse({"error": f"there is no capture {number}; /v1/captures lists them"}, 404)
    return JSONResponse(row)


def _kept(capture: Capture | None) -> tuple[bytes, list[bytes]] | None:
    """Return the header and the records that a capture has kept; None: there is no such capture.

    Raises:
        StateError: it is not in memory.
    """
    if capture is None:
        return None
    if not isinstance(capture.target, RecordRing):
        raise StateError(f"capture {capture.number} is not in memory; leave `file` out when you start one")
    return capture.target.contents()


def _ladder(records: list[bytes], width: int) -> str:
    """Draw records. It works in the thread of HTTP, since the network does not wait for pictures."""
    frames = []
    for record in records:
        time, inbound, frame = pcapng.read_record(record)
        frames.append((time, "in" if inbound else "out", frame))
    return ladder(frames, "*", "*", width=width)
