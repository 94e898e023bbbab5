"""Commands of the pages of the documentation, as they are written there, in namespaces that end with the test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.repository import REPOSITORY
from tests.system.user import User

__all__ = ["CONTAINERS", "IMAGE", "PROGRAMS", "blocks", "own_space", "programs"]

PROGRAMS = {
    "slirpy": "slirpy.cli.main",
    "slirpy-slirp4netns": "slirpy.cli.slirp4netns.main",
    "slirpy-pasta": "slirpy.cli.passt.pasta",
}
"""Console scripts, and the modules whose ``main`` they call."""
# A network in which 127.0.0.1:8000 is a web server of the test's, and nothing else is. The first process must stay
# root's, or the kernel forgets that it ends with its parent.
_SETUP = """
set -e
for name in subuid subgid; do
    printf 'nobody:200000:65536\\n' >"$FOLDER/$name"
    test -e /etc/$name || : >/etc/$name
    mount --bind "$FOLDER/$name" /etc/$name
done
mount -t tmpfs tmpfs /run
mkdir -p -m 1777 /run/netns /run/user
ip link set lo up
cd /
"$PYTHON" -m http.server --bind 127.0.0.1 --directory "$FOLDER/web" 8000 >/dev/null 2>&1 &
cd "$FOLDER"
until curl -so /dev/null http://127.0.0.1:8000/; do :; done
"$@"
"""

IMAGE = """
mkdir -p image/bin image/etc image/tmp run
chmod 700 run
cp "$(command -v busybox)" image/bin/busybox
for name in sh cat grep httpd ip nc nslookup sha256sum sleep wget; do ln -s busybox image/bin/$name; done
echo works >image/etc/name
tar -C image -cf image.tar .
"""
"""Commands that make an image of busybox, and the folder for ``XDG_RUNTIME_DIR``."""
# Debian's podman and buildah, where there is neither systemd nor an overlay.
CONTAINERS = """
mkdir -p .config/containers
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/root"\nrunroot = "%s/runroot"\n' "$PWD" "$PWD" \\
    >.config/containers/storage.conf
export XDG_RUNTIME_DIR=$PWD/run BUILDAH_RUNTIME=runc
set -e
podman import --quiet image.tar test >/dev/null 2>import.log || { cat import.log >&2; exit 1; }
"""
"""Commands that set up podman and buildah in the home folder, after :data:`IMAGE`."""


def blocks(page: str, language: str = "sh") -> list[str]:
    """The blocks of code in a page.

    Args:
        page: its file, below docs.
        language: of the blocks.
    """
    text = (REPOSITORY / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def programs(user: User) -> str:
    """Make our programs available, and return a value of ``PATH`` that begins with them."""
    folder = user.folder / "bin"
    folder.mkdir()
    for name, module in PROGRAMS.items():
        path = folder / name
        path.write_text(
            f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -c \'import sys; sys.argv[0] = "{name}";'
            f' from {module} import main; main()\' "$@"\n'
        )
        path.chmod(0o755)
    return f"{folder}:{user.environment()['PATH']}"


@contextmanager
def own_space(user: User, script: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script as ``user``, in a network of its own with the page ``hello`` at 127.0.0.1:8000; needs root.

    All its processes end with the context. Standard input is a pipe.
    """
    web = user.folder / "web"
    web.mkdir()
    (web / "index.html").write_text("hello\n")
    spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [
        *spaces,
        "--propagation",
        "private",
        "sh",
        "-c",
        _SETUP,
        "sh",
        *user.prefix(),
        "sh",
        "-c",
        script,
    ]
    process = subprocess.Popen(
        command,
        cwd=user.folder,
        env=user.environment(
            PYTHON=sys.executable, FOLDER=str(user.folder), **({"PATH": programs(user)} | environment)
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
