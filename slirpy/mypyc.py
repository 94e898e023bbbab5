"""Marks for mypyc, which compiles a part of the package on request (docs/howto/compiled.md).

mypyc finds them in the text of the program and never calls them. Interpreted, they do nothing, so the package needs
mypy_extensions for type checkers only. The other names are those of :mod:`typing` and :mod:`dataclasses`, or what
:mod:`slirpy.records` has in their place: mypyc supports no choice between two imports in a module that it compiles.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from dataclasses import replace
    from typing import Final

    from mypy_extensions import mypyc_attr, trait
else:
    from slirpy.records import replace

    Final = None

    def mypyc_attr(**attributes):
        """Return a decorator for a class with attributes such as ``allow_interpreted_subclasses=True``."""
        return lambda cls: cls

    def trait(cls):
        """Mark a class that others may inherit from in addition to their base."""
        return cls


__all__ = ["Final", "mypyc_attr", "replace", "trait"]
