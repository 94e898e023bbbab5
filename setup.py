"""The parts of the build that pyproject.toml cannot describe.

- Files that are made from the commands: manual pages, completions for shells, and units of systemd; see
  slirpy/cli/installed.py.
- Compiled modules, if the environment has ``SLIRPY_COMPILE=1``: mypyc compiles those that pyproject.toml lists under
  ``tool.slirpy``; see docs/howto/compiled.md.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from setuptools import Extension, setup
from setuptools.dist import Distribution
from setuptools.errors import CompileError, LinkError

HERE = Path(__file__).resolve().parent
MYPYC = "mypy~=2.4.1"
"""Requirement of the compiler. The generated C depends on its version, so the tests try a new one first."""
commands = Distribution()
install_data: Any = commands.get_command_class("install_data")
build_ext: Any = commands.get_command_class("build_ext")


class InstallMadeFiles(install_data):  # type: ignore[misc] # setuptools has no types for it
    """Installs the files that are made, in addition to those that are there."""

    def run(self) -> None:
        """Make and install them."""
        sys.path.insert(0, str(HERE))
        from slirpy.cli.installed import files

        with TemporaryDirectory() as folder:
            for place, text in files():
                path = Path(folder, place)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                self.data_files.append((os.path.dirname(place), [str(path)]))
            super().run()


class Compile(build_ext):  # type: ignore[misc] # setuptools has no types for it
    """Translates the modules to C, and compiles that."""

    def run(self) -> None:
        """Translate and compile. Commands that only look for sources finalize this one, but do not run it."""
        self.distribution.ext_modules = translated(self.get_finalized_command("build").build_base)
        self.initialize_options()
        self.finalize_options()
        try:
            super().run()
        except (CompileError, LinkError) as error:
            raise SystemExit(f"slirpy: SLIRPY_COMPILE=1: the C compiler failed ({error})") from error


UNTRANSLATED = [Extension("slirpy", [])]
"""Stands for the extension modules until they are known, so that the wheel is one of this platform."""


def translated(folder: str) -> list[Extension]:
    """Return the extension modules, whose C sources are written below ``folder``."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        raise SystemExit(f"slirpy: SLIRPY_COMPILE=1 needs mypyc: pip install '{MYPYC}'") from None
    check_compiler()
    listed = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["slirpy"]["compiled"]
    paths = [f"{module.replace('.', '/')}.py" for module in listed]
    # Without pyproject.toml's settings: `make types` checks the types, where everything is installed that they need.
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    return list(
        mypycify(
            [*options, *paths],
            opt_level="2",
            debug_level="0",
            multi_file=True,
            target_dir=folder,
            group_name="slirpy",
        )
    )


def check_compiler() -> None:
    """Fail if there is no C compiler. mypyc would take a minute until then."""
    import shlex
    import shutil
    import sysconfig

    command = os.environ.get("CC") or sysconfig.get_config_var("CC")
    if command and shutil.which(shlex.split(command)[0]) is None:  # Windows names none; setuptools looks for it
        raise SystemExit(
            f"slirpy: SLIRPY_COMPILE=1 needs a C compiler, and there is no {command!r}: install one, or set CC"
        )


def is_wanted() -> bool:
    """Report whether the environment asks for a compiled package."""
    value = os.environ.get("SLIRPY_COMPILE", "")
    if value not in ("", "0", "1"):
        raise SystemExit(f"slirpy: SLIRPY_COMPILE={value}: write 1 to compile, 0 or nothing for pure Python")
    return value == "1"


compiled = is_wanted()
setup(
    cmdclass={"install_data": InstallMadeFiles} | ({"build_ext": Compile} if compiled else {}),
    data_files=[("share/doc/slirpy", ["README.md", "CHANGELOG.md", "SECURITY.md"])],
    ext_modules=UNTRANSLATED if compiled else [],
    setup_requires=[MYPYC] if compiled else [],  # pip asks for it and installs it for the build alone
)
