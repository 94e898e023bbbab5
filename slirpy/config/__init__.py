"""The configuration of a network: given once, checked once, frozen.

:class:`Config` is made from one table of options (:mod:`slirpy.config.options`). Beside it are the types of the
values and their text forms.
"""

from __future__ import annotations

from slirpy.lazy import exports

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from slirpy.config.model import Config
    from slirpy.config.options import OPTIONS, option
    from slirpy.config.rows import Group, Option

__all__ = ["OPTIONS", "Config", "Group", "Option", "option"]

_MODULES = {
    "model": "Config",
    "options": "OPTIONS option",
    "rows": "Group Option",
}

if not TYPE_CHECKING:  # a type checker assumes that a module with this function has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
