"""Named tuples and structural types without :mod:`typing`, whose import takes longer than that of the TCP engine.

Type checkers must see the originals::

    if TYPE_CHECKING:
        from typing import NamedTuple, Protocol
    else:
        from slirpy.records import NamedTuple, Protocol
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["NamedTuple", "Protocol"]

_make: Callable[..., Any] = namedtuple  # under this name, mypy does not want to know the fields
_NOT_COPIED = {"__annotations__", "__module__"}


class _Maker(type):
    """Metaclass that replaces a class with annotated fields by a named tuple with its methods."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        fields = body.get("__annotations__", {})
        defaults = [body.pop(field) for field in fields if field in body]
        made = _make(name, fields, defaults=defaults, module=body["__module__"])
        made.__annotations__ = fields
        for key, value in body.items():
            if key not in _NOT_COPIED:
                setattr(made, key, value)
        assert isinstance(made, type)
        return made


NamedTuple = type.__new__(_Maker, "NamedTuple", (), {"__doc__": "Base of named tuples."})


class Protocol:
    """Base of structural types, which only type checkers check."""
