"""Names of a package that are imported when they are first used (PEP 562).

A package may export many names and still load fast: each module is imported when the first of its names is used.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 2 ms that importing typing takes
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["exports"]


def exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    Args:
        package: the name of the package, ``__name__``.
        modules: for each module, by its name within the package, or its full name, the names that it provides,
            separated by spaces.
    """
    origins = {name: module for module, names in modules.items() for name in names.split()}
    namespace = vars(sys.modules[package])

    def getattribute(name: str) -> object:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = origins[name]
        origin = module if module.startswith("slirpy.") else f"{package}.{module}"
        __import__(origin)  # not by importlib, which has to be imported itself
        value = namespace[name] = getattr(sys.modules[origin], name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *origins})

    return getattribute, names
