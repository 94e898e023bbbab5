"""QEMU's framing of frames on a stream, each behind its length, written apart from :mod:`slirpy.links.framing`."""

from __future__ import annotations

__all__ = ["framed", "take_frames"]


def framed(*frames: bytes) -> bytes:
    """Frames as they go over a stream."""
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


def take_frames(buffer: bytearray) -> list[bytes]:
    """Whole frames at the front of ``buffer``, which keeps the rest."""
    frames, start = [], 0
    while len(buffer) - start >= 4:
        end = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
        if len(buffer) < end:
            break
        frames.append(bytes(buffer[start + 4 : end]))
        start = end
    del buffer[:start]
    return frames
