"""Check what a source distribution and a wheel contain; or list the extras that users install (``--extras``)."""

from __future__ import annotations

import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OF_DEVELOPERS = {"dev", "docs", "plots", "programs", "mutation", "fuzz", "wine"}
IN_SOURCES = (
    "Makefile", "README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Containerfile",
    "mkdocs.yml",
    "tests/conftest.py", "tests/unit/test_docs.py", "docs/index.md", "docs/hooks.py", "examples/embed.py", ".ci/run",
    "slirpy/audit/schema.json", "benchmarks/__main__.py",
)  # fmt: skip
IN_WHEEL = (
    "share/man/man1/slirpy.1", "share/man/man1/slirpy-listen.1", "share/bash-completion/completions/slirpy",
    "share/zsh/site-functions/_slirpy", "share/fish/vendor_completions.d/slirpy.fish",
    "lib/systemd/system/slirpy@.service", "lib/systemd/user/slirpy@.socket",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    """Check the files, or list the extras."""
    if arguments == ["--extras"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        print(*(name for name in extras if name not in OF_DEVELOPERS))
        return
    for path in map(Path, arguments):
        if path.suffix == ".whl":
            names = set(zipfile.ZipFile(path).namelist())
            data = (
                next(name for name in names if ".data/data/" in name).partition(".data/data/")[0]
                + ".data/data/"
            )
            missing = [name for name in IN_WHEEL if data + name not in names]
            foreign = {name.partition("/")[0] for name in names} - {"slirpy", data.partition("/")[0]}
            odd = [name for name in foreign if not name.endswith(".dist-info")]
            assert not odd, f"{path.name} has {odd}"
            ours = {str(file.relative_to(ROOT)) for file in (ROOT / "slirpy").rglob("*.py")}
            missing += sorted(ours - names)
        else:
            with tarfile.open(path) as archive:
                names = {name.partition("/")[2] for name in archive.getnames()}
            missing = [name for name in IN_SOURCES if name not in names]
            tracked = {str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("*.py")}
            missing += sorted(tracked - names)
        assert not missing, f"{path.name} lacks {missing}"
        print(f"{path.name}: {len(names)} files")


if __name__ == "__main__":
    main(sys.argv[1:])
