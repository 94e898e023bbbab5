"""Text from guests on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.audit.text import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.org", "example.org"),
        ("größer 猫", "größer 猫"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\r\nb\x7f\x9b", "a\\x0d\\x0ab\\x7f\\x9b"),
        ("a\u202eb\u2028", "a\\u202eb\\u2028"),
        ("\U000e0001\udc80", "\\U000e0001\\udc80"),
    ],
)
def test_escapes(text: str, expected: str) -> None:
    assert plain(text) == expected


@given(st.text())
def test_the_result_is_printable(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(plain(text)) == plain(text)
