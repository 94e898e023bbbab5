"""A token bucket for each link."""

from __future__ import annotations

from collections.abc import Container

from slirpy.core.port import LinkPort
from slirpy.fair import TokenBucket

__all__ = ["LinkBuckets"]


class LinkBuckets:
    """A token bucket for each link, so that one guest's flood does not silence the answers to another.

    Args:
        ports: the links that are attached; buckets of others are thrown away when a new one is made.
        rate: messages a second to each link, and as many at once.
    """

    __slots__ = ("_buckets", "_ports", "_rate")

    def __init__(self, ports: Container[LinkPort], rate: int) -> None:
        self._ports = ports
        self._rate = rate
        self._buckets: dict[LinkPort | None, TokenBucket] = {}

    def take(self, port: LinkPort | None, now: int) -> bool:
        """Whether one more message may be sent by ``port``, at ``now`` in nanoseconds."""
        bucket = self._buckets.get(port)
        if bucket is None:
            self._buckets = {p: b for p, b in self._buckets.items() if p in self._ports}
            bucket = self._buckets[port] = TokenBucket(self._rate, self._rate, now)
        return bucket.take(now)
