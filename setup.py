"""The part of the build that pyproject.toml cannot describe: files that are made from the commands.

The wheel contains manual pages, completions for shells, and units of systemd; see slirpy/cli/installed.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from setuptools import setup
from setuptools.dist import Distribution

HERE = Path(__file__).resolve().parent
install_data: Any = Distribution().get_command_class("install_data")


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


setup(
    cmdclass={"install_data": InstallMadeFiles},
    data_files=[("share/doc/slirpy", ["README.md", "CHANGELOG.md", "SECURITY.md"])],
)
