"""Streams in pieces, as TCP delivers them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from slirpy.checks import octets

__all__ = ["cuts"]


def cuts(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Cut a stream as TCP may deliver it: in any pieces, none of them empty, which joined are the stream.

    For every parser that takes bytes as they come, without a network. Example with h11::

        @given(cuts(RESPONSE))
        def test_any_pieces(pieces):
            client = h11.Connection(h11.CLIENT)
            client.send(REQUEST)
            for piece in pieces:
                client.receive_data(piece)
            assert body_of(client) == b"hello"

    The simplest example is the stream in one piece; examples shrink to fewer pieces. Pieces of one size
    (single bytes, too) are frequent.

    Args:
        data: the stream; an empty one has no pieces.

    Raises:
        ConfigError: it is not bytes.
    """
    octets("data", data)
    stream = bytes(data)
    if len(stream) < 2:
        return st.just([stream] if stream else [])
    size = len(stream)
    inner = st.integers(1, size - 1)
    places = st.one_of(
        st.just(frozenset[int]()),
        inner.map(lambda place: frozenset((place,))),
        inner.map(lambda piece: frozenset(range(size - piece, size, size - piece))),  # pieces of one size
        st.frozensets(inner, max_size=20),
    )
    return places.map(lambda chosen: _cut(stream, chosen))


def _cut(stream: bytes, inner: frozenset[int]) -> list[bytes]:
    places = [0, *sorted(inner), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(places)]
