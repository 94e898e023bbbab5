"""Samba's ``smbd`` as an SMB server of the virtual network.

It listens nowhere. Each connection of a guest gets its own ``smbd``, started as by inetd, with one end of a loopback
TCP connection as standard input: other users of the host find no port, and an ``smbd`` that dies takes only its
connection with it. It runs as the user of slirpy, and so do guests' accesses.

Its files are in one temporary folder. A small shell waits for the end of slirpy, whatever the cause, even SIGKILL;
then it terminates Samba's helpers, which outlive their connection, and removes the folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from slirpy.config.guestfwd import Command
from slirpy.errors import ConfigError, ForwardError
from slirpy.targets.commands import ProcessWorker, find_program
from slirpy.targets.localstream import tcp_pair

__all__ = ["PORTS", "SHARE", "SmbServer"]

PORTS = (139, 445)
SHARE = "qemu"
_TRY_SECONDS = 10.0
_END_SECONDS = 5.0
_LONGEST = 80
"""Maximum bytes of the folder's name: sockets in it have names of at most 108 bytes."""

_CONFIGURATION = """\
[global]
server role = standalone server
server string = slirpy
netbios name = SLIRPY
interfaces = 127.0.0.1
bind interfaces only = yes
private dir = {folder}/private
pid directory = {folder}/pid
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
ncalrpc dir = {folder}/ncalrpc
smb passwd file = {folder}/private/smbpasswd
log file = {folder}/log/log.smbd
max log size = 1000
security = user
map to guest = Bad User
guest account = {guest}
restrict anonymous = 0
load printers = no
printing = bsd
printcap name = /dev/null
disable spoolss = yes
usershare max shares = 0
dns proxy = no

[{share}]
path = {folder}/share
force user = {user}
guest ok = yes
read only = no
"""

# $1 is the folder. A helper of Samba's leads a session, and its number is in the folder. It must also have the
# folder on its command line, so that no other process that reuses the number is killed.
_KEEPER = r"""
trap '' INT TERM HUP QUIT
read -r _
for file in "$1"/pid/*.pid; do
    [ -f "$file" ] && read -r number <"$file" || [ -n "$number" ] || continue
    if [ -r "/proc/$number/cmdline" ]; then
        line=$(tr '\0' ' ' <"/proc/$number/cmdline")
    else
        line=$(ps -o args= -p "$number" 2>/dev/null)
    fi
    case $line in *"$1"*) kill -9 -- "-$number" 2>/dev/null || kill -9 "$number" 2>/dev/null ;; esac
    number=
done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"""

# SMB2 NEGOTIATE for dialects 2.0.2 and 3.0.2 (MS-SMB2, 2.2.3), after the length of a session message.
_HEADER = b"\xfeSMB" + bytes([64, 0]) + bytes(58)
# Size 36, two dialects, signing enabled.
_BODY = b"\x24\0\x02\0\x01\0\0\0\0\0\0\0" + bytes(16) + bytes(8) + b"\x02\x02\x02\x03"
_NEGOTIATE = (len(_HEADER) + len(_BODY)).to_bytes(4, "big") + _HEADER + _BODY


class SmbServer:
    """A folder of the host as a share.

    Args:
        share: the folder.

    Raises:
        ConfigError: the folder cannot be used, there is no ``smbd``, or it does not answer.
    """

    def __init__(self, share: Path) -> None:
        what = f'smb "{share}"'
        if not share.is_dir():
            raise ConfigError(f"{what}: {'is not a folder' if share.exists() else 'there is no such folder'}")
        if not os.access(share, os.R_OK | os.X_OK):
            raise ConfigError(f"{what}: this user has no permission to read the folder")
        try:
            path = find_program("smbd", what)
        except ForwardError:
            raise ConfigError(
                f"{what}: Samba's smbd is not installed; on Debian: apt-get install samba; or leave smb out"
            ) from None
        self._keeper: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="slirpy-smb-"))
        try:
            self._configure(share.absolute(), what)
            self._keeper = _keep(self.folder)
            self.command = Command(
                (path, "-s", f"{self.folder}/smb.conf", "-l", f"{self.folder}/log"), True, True
            )
            self._try(path, what)
        except BaseException:
            self.close()
            raise

    def _configure(self, share: Path, what: str) -> None:
        import pwd

        folder = self.folder
        if len(os.fsencode(folder)) > _LONGEST or re.search(r"[^\w./+-]", str(folder), re.ASCII):
            raise ConfigError(
                f'{what}: the temporary folder "{folder}" is too long or too odd for Samba; set TMPDIR=/tmp'
            )
        try:
            user = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            raise ConfigError(
                f"{what}: user {os.geteuid()}, which slirpy runs as, has no name, and Samba needs one"
            ) from None
        for name in ("private", "pid", "lock", "state", "cache", "log"):
            (folder / name).mkdir(mode=0o700)
        (folder / "ncalrpc").mkdir()
        (folder / "ncalrpc").chmod(0o755)  # required by Samba, whatever the umask
        (folder / "ncalrpc" / "np").mkdir(mode=0o700)
        (folder / "share").symlink_to(share)  # so that Samba need not parse any special characters of the path
        # In folders that it makes, Samba does not give the guest account the rights of their owner; so the guest
        # account is a different user. No file access uses its name: "force user" replaces it.
        others = [entry.pw_name for entry in pwd.getpwall() if entry.pw_name != user]
        guest = "nobody" if "nobody" in others else (others or [user])[0]
        text = _CONFIGURATION.format(folder=folder, user=user, guest=guest, share=SHARE)
        (folder / "smb.conf").write_text(text)

    def _try(self, path: str, what: str) -> None:
        """Test whether it answers, as the first guest would."""
        ours, theirs = tcp_pair()
        process = ProcessWorker(self.command, path)
        with ours:
            try:
                process.start(theirs)
            except OSError as error:
                theirs.close()
                raise ConfigError(f"{what}: {path} cannot be started: {error.strerror}") from None
            ours.settimeout(_TRY_SECONDS)
            try:
                ours.sendall(_NEGOTIATE)
                answer = ours.recv(8)
            except OSError:
                answer = b""
        process.hang_up(True, 0)
        process.kill(time.monotonic() + _END_SECONDS)
        if answer[4:8] != b"\xfeSMB":
            raise ConfigError(f"{what}: {path} does not answer; {self._last_words()}")

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "log" / "log.smbd").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.startswith(" ")]
        return f"it said: {'; '.join(said[-3:])}" if said else "it said nothing"

    def close(self) -> None:
        """Remove everything; the processes have ended with their connections. Harmless when repeated."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            import shutil

            shutil.rmtree(self.folder, ignore_errors=True)
            return
        assert keeper.stdin is not None
        keeper.stdin.close()
        try:
            keeper.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # it continues by itself

    def abandon(self) -> None:
        """Leave everything to the parent, in a forked child."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None and keeper.stdin is not None:
            keeper.stdin.close()  # it ends when the parent has closed its own copy
            keeper.returncode = 0  # it is not a child of this process


def _keep(folder: Path) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "slirpy-smb", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"smb: /bin/sh cannot be started: {error.strerror}") from None
