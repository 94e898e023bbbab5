"""Replacing functions of Python's modules while a network runs, so that programs see another version of them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Concatenate, ParamSpec, TypeVar

from slirpy.testing.sim.current import current_host
from slirpy.testing.sim.host import Host

__all__ = ["ALWAYS", "Replacements", "Switch"]

P = ParamSpec("P")
R = TypeVar("R")

ALWAYS = "always"
"""The part of what is replaced whatever the argument ``patch`` of the network."""
_OWN = "slirpy.testing.sim."


class Switch:
    """A function, or a class that is called, of which programs see another version.

    Code outside of programs gets the real one. It is no plain function, because a class that has it as an attribute
    must not bind it, just as it does not bind the built-in functions.

    Args:
        part: the part of the replacements that it belongs to; see ``patch`` of the network.
        real: the function.
        simulated: called in its place in programs, with the host first.
    """

    def __init__(self, part: str, real: Callable[P, R], simulated: Callable[Concatenate[Host, P], R]) -> None:
        functools.update_wrapper(self, real)
        self._part = part
        self._real = real
        self._simulated = simulated

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        host = current_host()
        if host is None or self._part not in host.net.patch:
            return self._real(*args, **kwargs)
        return self._simulated(host, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def method(part: str, real: Any, simulated: Any) -> Any:
    """Return a method that does in programs what ``simulated(host, self, ...)`` does, and elsewhere ``real``."""

    @functools.wraps(real)
    def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        host = current_host()
        if host is None or part not in host.net.patch:
            return real(self, *args, **kwargs)
        return simulated(host, self, *args, **kwargs)

    return call


class Replacements:
    """All that is replaced, and the places in modules where it is.

    A function is replaced in every module, and in every class of a module, that has it, as ``from time import sleep``
    and ``clock = time.monotonic`` make them. Modules are searched once.
    """

    def __init__(self) -> None:
        self._values: dict[int, tuple[Any, Any]] = {}
        self._back: dict[int, tuple[Any, Any]] = {}
        self._attributes: list[tuple[Any, str, Any]] = []
        self._saved: list[tuple[Any, str, Any]] = []
        self._late: dict[str, Callable[[Replacements, ModuleType], None]] = {}
        self._searched: dict[str, ModuleType] = {}
        self._modules: dict[int, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {}
        """Of each module: its names, and those of them that are replaced, with both values."""
        self._found: list[tuple[Any, str, Any, Any]] = []
        """Attributes of classes in modules."""

    def value(self, part: str, real: Any, simulated: Callable[..., Any]) -> None:
        """Replace a function, wherever a module has it."""
        self.object(real, Switch(part, real, simulated))

    def object(self, real: Any, replacement: Any) -> None:
        """Replace any object, wherever a module has it."""
        self._values[id(real)] = real, replacement
        self._back[id(replacement)] = real, replacement

    def method(self, part: str, owner: Any, name: str, simulated: Callable[..., Any]) -> None:
        """Replace a method of a class; in programs it is ``simulated(host, self, ...)``."""
        self.attribute(owner, name, method(part, getattr(owner, name), simulated))

    def attribute(self, owner: Any, name: str, replacement: Any) -> None:
        """Replace an attribute of a class."""
        self._attributes.append((owner, name, replacement))

    def late(self, module: str, replace: Callable[[Replacements, ModuleType], None]) -> None:
        """Call ``replace`` with this object and a module, once the module has been imported."""
        self._late[module] = replace

    def install(self) -> None:
        """Replace everything."""
        for name in [name for name in self._late if name in sys.modules]:
            self._late.pop(name)(self, sys.modules[name])
        self._search(forwards=True)
        for names, _, replacement in self._modules.values():
            names.update(replacement)
        for owner, name, _, replacement in self._found:
            setattr(owner, name, replacement)
        for owner, name, replacement in self._attributes:
            self._saved.append((owner, name, vars(owner).get(name, _MISSING)))
            setattr(owner, name, replacement)

    def remove(self) -> None:
        """Undo :meth:`install`."""
        while self._saved:
            owner, name, real = self._saved.pop()
            if real is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, real)
        self._search(forwards=False)
        for names, real, replacement in self._modules.values():
            if replacement.items() <= names.items():
                names.update(real)
                continue
            for name, value in replacement.items():
                if names.get(name) is value:  # nobody else has replaced it meanwhile
                    names[name] = real[name]
        for owner, name, real, replacement in self._found:
            if vars(owner).get(name) is replacement:
                setattr(owner, name, real)

    def _search(self, forwards: bool) -> None:
        """Search modules that have been imported since the last time.

        Args:
            forwards: whether they have the real functions; otherwise they were imported while those were replaced.
        """
        if len(self._searched) == len(sys.modules):
            return
        known = self._values if forwards else self._back
        for key, module in list(sys.modules.items()):
            if self._searched.get(key) is module:
                continue
            self._searched[key] = module
            names = getattr(module, "__dict__", None)
            if type(names) is not dict or key.startswith(_OWN):
                continue
            for name, value in list(names.items()):
                number = id(value)
                if number in known:
                    real, replacement = known[number]
                    _, before, after = self._modules.setdefault(id(module), (names, {}, {}))
                    before[name], after[name] = real, replacement
                elif isinstance(value, type) and value.__module__ == key:
                    for attribute, inner in list(vars(value).items()):
                        if id(inner) in known:
                            self._found.append((value, attribute, *known[id(inner)]))
        for key in [key for key in self._searched if key not in sys.modules]:
            del self._searched[key]


class _Missing:
    """The value of an attribute that the class itself does not have."""


_MISSING = _Missing()
