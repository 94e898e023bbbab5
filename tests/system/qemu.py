"""A real guest: a Linux kernel and a small initial file system, booted by QEMU without KVM in about six seconds.

The kernel is Debian's for clouds: ``python3 tests/system/qemu.py`` fetches the package and unpacks it (nothing is
installed) into a folder outside of the repository, where it stays. The file system is made of Busybox and the
modules of the network card. What the guest is to do is a shell script of ours, which it finds on the kernel's
command line; what it says comes from its serial console, between two marks.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import lzma
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

__all__ = ["QEMU", "Boot", "Guest", "MissingError", "boot_files", "fetch_kernel"]

QEMU = "qemu-system-x86_64"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / f"slirpy-tests-{os.getuid()}"
FETCH = f"fetch a kernel with: {sys.executable} tests/system/qemu.py"
BEGIN, END = "@@@ begin", "@@@ end"
BOOT_SECONDS = 120.0

MODULES = (  # in the order in which they need each other
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci", "net/core/failover",
    "drivers/net/net_failover", "drivers/net/virtio_net",
)  # fmt: skip

# The console has a marker of its own at the end of each script, so that what is cut off is noticed.
INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for module in {" ".join(module.rpartition("/")[2] for module in MODULES)}; do
    if [ -e /lib/modules/$module.ko ]; then insmod /lib/modules/$module.ko; fi
done
ip link set lo up
ip link set eth0 up
for word in $(cat /proc/cmdline); do
    case $word in script=*) echo "${{word#script=}}" | base64 -d >/script;; esac
done
echo; echo "{BEGIN}"
sh /script 2>&1
echo; echo "{END} $?"
sync
poweroff -f
"""

# What udhcpc calls when it has a lease.
LEASE = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
[ -z "$mtu" ] || ip link set eth0 mtu "$mtu" 2>/dev/null
ip -4 addr flush dev eth0
ip addr add "$ip/$mask" dev eth0
[ -z "$router" ] || ip route add default via "$router"
for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
echo "leased $ip router ${router:-none} dns ${dns:-none} mtu ${mtu:-none}"
"""
DHCP = "udhcpc -s /lease -i eth0 -q -n -f -O mtu -t 8 -T 1 2>/dev/null || echo 'no lease'"
# Addresses of IPv6 come from a router advertisement, and can be used after a check for duplicates.
ADDRESS6 = """
n=0; while ! ip -6 addr show dev eth0 | grep fec0 | grep -qv tentative && [ $n -lt 100 ]; do
sleep 0.1; n=$((n+1)); done
"""


class MissingError(Exception):
    """A part of the guest is not on this machine; the text says what to do."""


# ------------------------------------------------------------------------------------------ kernel


def fetch_kernel() -> Path:
    """Fetch the kernel package of this Debian and unpack it into the cache, unless it is there.

    Raises:
        MissingError: apt does not know of it, or cannot get it.
    """
    if (there := _kernel_folder()) is not None:
        return there
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        folder = Path(name)
        depends = _run("apt-cache", "depends", "linux-image-cloud-amd64", folder=folder)
        found = re.search(r"Depends: (linux-image-\S+-cloud-amd64)", depends)
        if found is None:
            raise MissingError("apt knows no linux-image-cloud-amd64; run: apt-get update")
        _run("apt-get", "-qq", "download", found[1], folder=folder)
        (package,) = folder.glob("*.deb")
        unpacked = folder / "kernel"
        _run("dpkg-deb", "-x", str(package), str(unpacked), folder=folder)
        try:
            unpacked.rename(CACHE / "kernel")
        except OSError:
            pass  # somebody else was quicker
    there = _kernel_folder()
    if there is None:
        raise MissingError(f"the package {found[1]} has no kernel with modules")
    return there


def _run(*argv: str, folder: Path) -> str:
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError:
        raise MissingError(f"{argv[0]} is not installed") from None
    if done.returncode:
        raise MissingError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def _kernel_folder() -> Path | None:
    """Folder into which the package was unpacked."""
    folder = CACHE / "kernel"
    return folder if list(folder.glob("boot/vmlinuz-*")) else None


# -------------------------------------------------------------------------------------- file system


def _archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Files, each a mode and content, as the "newc" archive that the kernel unpacks."""
    out = bytearray()
    for number, (name, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))]):
        path = name.encode() + b"\0"
        fields = (number + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        out += bytes(-len(out) % 4)
        out += content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _libraries(program: str) -> set[str]:
    """Libraries with which a program is linked, by absolute path."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return set(re.findall(r"(/\S+)", done.stdout))


def _files(kernel: Path, programs: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    busybox = shutil.which("busybox")
    if busybox is None or _libraries(busybox):
        raise MissingError("needs a static busybox; on Debian: apt-get install busybox-static")
    files: dict[str, tuple[int, bytes]] = {}

    def add(name: str, content: bytes, mode: int = 0o755) -> None:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            files.setdefault("/".join(parts[:depth]), (0o040755, b""))
        files[name] = (0o100000 | mode, content)

    for folder in ("dev", "proc", "sys", "etc", "tmp", "sbin", "usr/bin"):
        add(f"{folder}/.keep", b"", 0o644)
    add("bin/busybox", Path(busybox).read_bytes())
    add("init", INIT.encode())
    add("lease", LEASE.encode())
    for module in MODULES:
        for path in kernel.glob(f"**/kernel/{module}.ko*"):  # what the kernel has built in is no file
            content = path.read_bytes()
            add(
                f"lib/modules/{module.rpartition('/')[2]}.ko",
                lzma.decompress(content) if path.suffix == ".xz" else content,
                0o644,
            )
    for program in programs:
        path_of = shutil.which(program)
        if path_of is None:
            raise MissingError(f"needs {program}")
        add("usr/bin/" + program, Path(path_of).read_bytes())
        for library in _libraries(path_of):
            add(library.lstrip("/"), Path(library).read_bytes())
    return files


def boot_files(*programs: str) -> tuple[Path, Path]:
    """The kernel and an initial file system, which holds ``programs`` of this machine too.

    Raises:
        MissingError: QEMU, the kernel, Busybox or a program is missing.
    """
    if shutil.which(QEMU) is None:
        raise MissingError(f"needs {QEMU}; on Debian: apt-get install qemu-system-x86")
    kernel = _kernel_folder()
    if kernel is None:
        raise MissingError(f"needs a kernel for a guest; {FETCH}")
    (image,) = kernel.glob("boot/vmlinuz-*")
    archive = _archive(_files(kernel, programs))
    path = CACHE / f"initramfs-{hashlib.sha256(archive).hexdigest()[:16]}.gz"
    if not path.exists():
        descriptor, name = tempfile.mkstemp(dir=CACHE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(gzip.compress(archive, 1, mtime=0))
        os.rename(name, path)
    return image, path


# -------------------------------------------------------------------------------------------- guest


class Boot:
    """Output of a boot: one run of the script."""

    def __init__(self, output: str, status: int | None) -> None:
        self.output = output
        """Output of the script, with plain ends of lines."""
        self.status = status
        """Exit status; None if it did not finish."""

    def after(self, mark: str) -> str:
        """The first line that begins with ``mark``, without it."""
        for line in self.output.splitlines():
            if line.startswith(mark):
                return line[len(mark) :].strip()
        raise AssertionError(f"the guest did not say {mark!r}; it said:\n{self.output}")


def machine(script: str, *programs: str, reboots: bool = False) -> list[str]:
    """QEMU's arguments for a guest without a network card that runs ``script``, and ends with it."""
    image, files = boot_files(*programs)
    word = base64.b64encode(script.encode()).decode()
    line = f"console=ttyS0 quiet panic=-1 no_timer_check script={word}"
    if len(line) > 2000:
        raise ValueError("the script is too long for the kernel's command line; make it shorter")
    argv = [
        "-M",
        "q35",
        "-m",
        "512",
        "-nographic",
        "-kernel",
        str(image),
        "-initrd",
        str(files),
        "-append",
        line,
    ]
    return argv if reboots else [*argv, "-no-reboot"]


class Guest:
    """A process that is QEMU, or has one for a child that shares its standard output; ended with the context.

    Args:
        argv: its command line.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self, argv: Sequence[str], *, pass_fds: Sequence[int] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            env=environment,
        )
        self.pid = self._process.pid
        self._text = ""
        self._errors = ""
        self._selector = selectors.DefaultSelector()
        for file in (self._process.stdout, self._process.stderr):
            assert file is not None
            self._selector.register(file, selectors.EVENT_READ)

    @property
    def errors(self) -> str:
        """Text that came on standard error."""
        return self._errors

    def wait_for(self, text: str, timeout: float = BOOT_SECONDS, times: int = 1) -> None:
        """Read until the guest has said ``text``.

        Raises:
            AssertionError: it has ended, or did not say so in time.
        """
        end = time.monotonic() + timeout
        while self._text.count(text) < times and text not in self._errors:
            if not self._read(end - time.monotonic()):
                raise AssertionError(
                    f"no {text!r} within {timeout:.0f} s; it said:\n{self._text}\n{self._errors}"
                )

    def _read(self, timeout: float) -> bool:
        """Read once; False when there is nothing more, or nothing in time."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(max(timeout, 0))
        for key, _ in ready:
            data = os.read(key.fd, 1 << 16)
            if not data:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is self._process.stdout:
                self._text += data.decode(errors="replace").replace("\r", "")
            else:
                self._errors += data.decode(errors="replace")
        return bool(ready)

    def boots(self) -> list[Boot]:
        """Output of each boot so far."""
        found = []
        for part in self._text.split(BEGIN + "\n")[1:]:
            output, mark, rest = part.partition(END)
            found.append(Boot(output, int(rest.split()[0]) if mark and rest.split() else None))
        return found

    def finish(self, timeout: float = BOOT_SECONDS) -> Boot:
        """Wait for the end of the process and return what the last boot said."""
        end = time.monotonic() + timeout
        while self._selector.get_map():
            if not self._read(end - time.monotonic()) and time.monotonic() > end:
                raise AssertionError(f"did not end within {timeout:.0f} s:\n{self._text}\n{self._errors}")
        self.status = self._process.wait(timeout=10)
        boots = self.boots()
        if not boots:
            raise AssertionError(
                f"the guest did not start (status {self.status}):\n{self._text}\n{self._errors}"
            )
        return boots[-1]

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        for file in (self._process.stdout, self._process.stderr):
            if file is not None:
                file.close()


if __name__ == "__main__":
    try:
        print(fetch_kernel())
    except MissingError as error:
        raise SystemExit(f"{sys.argv[0]}: {error}") from None
