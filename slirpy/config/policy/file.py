"""Policies in TOML files.

=============  ======================================================================================
``rules``      a list of what :func:`~slirpy.config.policy.parse_rule` reads
``default``    the action where no rule matches: ``"reject"``, ``"drop"``, ``"allow"`` or ``"ask"``; if it is
               left out, ``"reject"``
``profile``    the name of a profile (:mod:`slirpy.config.policy.profiles`), whose rules come first
``include``    a list of other policies, by paths relative to this file. Their rules come behind those of this
               file, in order, and their defaults do not count
=============  ======================================================================================
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from slirpy import paths
from slirpy.config.policy.profiles import profile_rules
from slirpy.config.policy.rule import Rule
from slirpy.config.policy.text import parse_rule
from slirpy.config.values import path as path_of
from slirpy.errors import ConfigError
from slirpy.errortext import strerror
from slirpy.interfaces import Action

__all__ = ["read_policy"]

_KEYS = ("rules", "default", "include", "profile")
FILES_MAX = 64
"""Files that one policy may consist of."""


def read_policy(path: str | os.PathLike[str]) -> tuple[list[Rule], Action]:
    """Read a policy's rules and default.

    Raises:
        ConfigError: the file, or one that it includes, cannot be read; the text names the part.
    """
    seen: list[str] = []
    rules, default = _read(Path(path_of("path", path)), os.fspath(path), seen, [])
    return rules, default


def _read(path: Path, shown: str | bytes, seen: list[str], within: list[str]) -> tuple[list[Rule], Action]:
    """Read one file. ``seen`` are all files so far, ``within`` those that include this one."""
    real = os.path.realpath(path)
    try:
        if real in within:
            raise ConfigError("it includes itself")
        if len(seen) >= FILES_MAX:
            raise ConfigError(f"it consists of more than {FILES_MAX} files")
        seen.append(real)
        found = _load(path)
        rules, default = _from_table(found)
        for name in found.get("include", []):
            rules += _read(path.parent / name, name, seen, [*within, real])[0]
    except ConfigError as error:
        raise ConfigError(f'policy "{_shown(shown)}": {error}') from None
    return rules, default


def _shown(path: str | bytes) -> str:
    return path if isinstance(path, str) else os.fsdecode(path)


def _load(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb", opener=paths.open_again) as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(strerror(error.errno or 0).lower()) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not TOML: {error}") from None


def _from_table(found: dict[str, Any]) -> tuple[list[Rule], Action]:
    for key in found:
        if key not in _KEYS:
            raise ConfigError(f'unknown key "{key}"; known are {", ".join(_KEYS)}')
    if not found:  # an empty file is probably an accident
        raise ConfigError('there are neither rules nor a default; write rules = ["allow ..."]')
    profile = found.get("profile")
    if profile is not None and not isinstance(profile, str):
        raise ConfigError(f'profile is not a name such as "agent": {profile!r}')
    rules = found.get("rules", [])
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        raise ConfigError(f'rules is not a list of texts such as ["allow any:443"]: {rules!r}')
    include = found.get("include", [])
    if not isinstance(include, list) or not all(isinstance(name, str) and name for name in include):
        raise ConfigError(f'include is not a list of files such as ["base.toml"]: {include!r}')
    default = found.get("default", "reject")
    known = [action.value for action in Action]
    if default not in known:
        raise ConfigError(f'default "{default}" is not one of {", ".join(known)}')
    first = [] if profile is None else profile_rules(profile)
    return [*first, *map(parse_rule, rules)], Action(default)
