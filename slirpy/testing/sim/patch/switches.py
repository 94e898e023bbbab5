"""Replacing functions of Python's modules while a network runs, so that programs see another version of them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from operator import call, itemgetter
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
_TOOLS = "hypothesis."
"""Modules that measure real time while programs run, even in callbacks of the garbage collector."""


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
    def either(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        host = current_host()
        if host is None or part not in host.net.patch:
            return real(self, *args, **kwargs)
        return simulated(host, self, *args, **kwargs)

    return either


class Replacements:
    """All that is replaced, and the places in modules where it is.

    A function is replaced in every module, and in every class of a module, that has it, as ``from time import sleep``
    and ``clock = time.monotonic`` make them. Modules are searched once.
    """

    def __init__(self) -> None:
        self._values: dict[int, tuple[Any, Any]] = {}
        self._back: dict[int, tuple[Any, Any]] = {}
        self._attributes: list[tuple[Any, str, Any]] = []
        self._saved: list[Any] = []
        self._others: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._late: dict[str, Callable[[Replacements, ModuleType], None]] = {}
        self._searched: dict[str, ModuleType] = {}
        self._last = ""
        self._numbers: dict[int, int] = {}
        """Place of each module, by its number, in the three lists that follow."""
        self._names: list[dict[str, Any]] = []
        """The names of each module."""
        self._before: list[dict[str, Any]] = []
        """The names of each module that are replaced, with their real values."""
        self._after: list[dict[str, Any]] = []
        """The replaced names with their other values."""
        self._getters: list[Callable[[dict[str, Any]], Any]] = []
        """Functions that return the values of these names."""
        self._expected: list[Any] = []
        """The results of these functions after :meth:`install`."""
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

    def other(self, install: Callable[[], None], remove: Callable[[], None]) -> None:
        """Replace something else by calling ``install``, until ``remove`` is called."""
        self._others.append((install, remove))

    def late(self, module: str, replace: Callable[[Replacements, ModuleType], None]) -> None:
        """Call ``replace`` with this object and a module, once the module has been imported."""
        self._late[module] = replace

    def install(self) -> None:
        """Replace everything."""
        for name in [name for name in self._late if name in sys.modules]:
            self._late.pop(name)(self, sys.modules[name])
        self._search(forwards=True)
        # Loops in C: a test may make hundreds of networks a second. Neither function returns anything.
        any(map(dict.update, self._names, self._after))
        for owner, name, _, replacement in self._found:
            setattr(owner, name, replacement)
        self._saved = [vars(owner).get(name, _MISSING) for owner, name, _ in self._attributes]
        for owner, name, replacement in self._attributes:
            setattr(owner, name, replacement)
        for install, _ in self._others:
            install()

    def remove(self) -> None:
        """Undo :meth:`install`."""
        for _, remove in self._others:
            remove()
        for (owner, name, _), real in zip(self._attributes, self._saved, strict=True):
            if real is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, real)
        self._search(forwards=False)
        if self._is_intact():
            any(map(dict.update, self._names, self._before))
        else:  # somebody else has replaced something meanwhile
            for names, before, after in zip(self._names, self._before, self._after, strict=True):
                for name, value in after.items():
                    if names.get(name) is value:
                        names[name] = before[name]
        for owner, name, real, replacement in self._found:
            if vars(owner).get(name) is replacement:
                setattr(owner, name, real)

    def _is_intact(self) -> bool:
        """Report whether every name in a module has the value that :meth:`install` has given it."""
        if len(self._getters) != len(self._names):
            self._getters = [itemgetter(*after) for after in self._after]
            self._expected = list(map(call, self._getters, self._after))
        try:
            return list(map(call, self._getters, self._names)) == self._expected
        except KeyError:  # a name was deleted
            return False

    def _search(self, forwards: bool) -> None:
        """Search modules that have been imported since the last time.

        Args:
            forwards: whether they have the real functions; otherwise they were imported while those were replaced.
        """
        # Modules come last, so neither the number nor the last name alone shows that one has replaced another.
        last = next(reversed(sys.modules))
        if len(self._searched) == len(sys.modules) and last == self._last:
            return
        self._last = last
        known = self._values if forwards else self._back
        for key, module in list(sys.modules.items()):
            if self._searched.get(key) is module:
                continue
            self._searched[key] = module
            names = getattr(module, "__dict__", None)
            if type(names) is not dict or key.startswith(_OWN):
                continue
            keeps = key.startswith(_TOOLS)
            for name, value in list(names.items()):
                number = id(value)
                if number in known and keeps:
                    names[name] = known[number][0]
                elif number in known:
                    real, replacement = known[number]
                    place = self._numbers.setdefault(id(module), len(self._names))
                    if place == len(self._names):
                        self._names.append(names)
                        self._before.append({})
                        self._after.append({})
                    self._getters.clear()
                    self._before[place][name], self._after[place][name] = real, replacement
                elif isinstance(value, type) and value.__module__ == key:
                    for attribute, inner in list(vars(value).items()):
                        if id(inner) in known:
                            self._found.append((value, attribute, *known[id(inner)]))
        for key in [key for key in self._searched if key not in sys.modules]:
            del self._searched[key]


class _Missing:
    """The value of an attribute that the class itself does not have."""


_MISSING = _Missing()
