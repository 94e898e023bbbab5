"""The image of the Containerfile, built by podman without the network from an image of the Python that runs this."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest

from slirpy import __version__
from tests.support.repository import REPOSITORY
from tests.system.machine import LONGEST, missing
from tests.system.ownspace import CONTAINERS, IMAGE, own_space
from tests.system.user import User

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own"),
]
PACKAGES = (
    *("pip", "packaging", "dpkt", "dnslib", "tftpy"),
    *("click", "rich", "pygments", "markdown-it-py", "mdurl"),
)
"""Packages by which pip installs slirpy with its extra ``cli``; setuptools is fetched."""
# pip finds all that it needs in the image.
_BASE = """
for name in rm sh; do ln -sf busybox image/bin/$name; done
printf '#!/bin/sh\\nexec python3 -m pip "$@"\\n' >image/bin/pip
chmod 755 image/bin/pip
tar -C image -cf image.tar .
"""
_BUILD = """
quietly() {{ "$@" >build.log 2>&1 || {{ cat build.log >&2; exit 1; }}; }}
quietly podman import --change 'ENV PIP_NO_INDEX=1' --change 'ENV PIP_NO_BUILD_ISOLATION=0' \\
    --change 'ENV PATH={path}:/bin' image.tar base
quietly podman build --layers=false --build-arg BASE=localhost/base -t slirpy {clone}
podman run --rm --network none slirpy --version
podman run --rm --network none slirpy demo
"""


def image_of_python(image: Path) -> None:
    """Put this Python into the root folder of an image, with what it needs."""
    program = Path(os.path.realpath(sys.executable))
    standard = Path(sysconfig.get_path("stdlib"))
    without = shutil.ignore_patterns(
        "test", "__pycache__", "site-packages", "dist-packages", "config-*", "idlelib", "*.a"
    )
    shutil.copytree(standard, image / standard.relative_to("/"), ignore=without, symlinks=True)
    target = image / program.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(program, target)
    (target.parent / "python3").symlink_to(program.name)
    modules = [str(program), *map(str, (standard / "lib-dynload").glob("*.so"))]
    listed = subprocess.run(["ldd", *modules], capture_output=True, text=True, check=True).stdout
    for word in {word for word in listed.split() if word.startswith("/") and not word.endswith(":")}:
        place = image / word.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(word, place)
    site = image / sysconfig.get_path("purelib", vars={"base": sys.base_prefix}).lstrip("/")
    for name in PACKAGES:
        found = distribution(name)
        for file in found.files or ():
            if ".." not in file.parts:
                place = site / file
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(found.locate_file(file)), place)
    pip = f"{sys.executable} -m pip install --quiet --disable-pip-version-check --target".split()
    done = subprocess.run([*pip, str(site), "setuptools>=77"], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"needs setuptools: {done.stderr}")


@pytest.mark.long
def test_the_image_is_built_and_runs(folder: Path, need: Callable[..., None]) -> None:
    need("podman", "runc", "busybox", "newuidmap", "ldd")
    image_of_python(folder / "image")
    subprocess.run(["chmod", "-R", "a+rwX", folder / "image"], check=True)
    path = Path(os.path.realpath(sys.executable)).parent
    script = IMAGE + _BASE + CONTAINERS + _BUILD.format(clone=REPOSITORY, path=path)
    with own_space(User("nobody", folder), script) as process:
        out, error = process.communicate(timeout=LONGEST - 10)
    assert out.startswith(f"slirpy {__version__}\n"), error
    assert re.search(r"^ *\d+\.\d\d s  done ", out, re.MULTILINE), out
