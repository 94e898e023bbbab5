"""Attributes of an object, for tests that compare all of them."""

from __future__ import annotations

__all__ = ["slots"]


def slots(thing: object) -> list[str]:
    """Names of the attributes that the classes of an object declare. Compiled classes have another list of them."""
    names = [
        name
        for kind in type(thing).__mro__
        for name in vars(kind).get("__mypyc_attrs__") or vars(kind).get("__slots__", ())
        if not name.startswith("__")
    ]
    return list(dict.fromkeys(names))
