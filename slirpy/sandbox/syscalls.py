"""System calls by number, through ctypes: numbers for x86_64 and aarch64, and a function that makes a call.

The numbers from 424 on are the same on all architectures.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from functools import cache

__all__ = ["ARCHITECTURES", "NEWEST", "NUMBERS", "c_library", "call", "machine"]

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Values of ``AUDIT_ARCH_...`` by the name of the machine."""

NEWEST = 469
"""The largest number of a system call that was considered here."""

_COMMON = {
    "clone3": 435,
    "fsconfig": 431,
    "fsmount": 432,
    "fsopen": 430,
    "fspick": 433,
    "fchmodat2": 452,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "io_uring_setup": 425,
    "landlock_add_rule": 445,
    "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446,
    "mount_setattr": 442,
    "move_mount": 429,
    "open_tree": 428,
    "open_tree_attr": 467,
    "pidfd_getfd": 438,
    "pidfd_open": 434,
    "pidfd_send_signal": 424,
    "process_madvise": 440,
    "quotactl_fd": 443,
    "removexattrat": 466,
    "setxattrat": 463,
}
_X86_64 = {
    "acct": 163,
    "add_key": 248,
    "adjtimex": 159,
    "bpf": 321,
    "capset": 126,
    "chmod": 90,
    "chown": 92,
    "chroot": 161,
    "clock_adjtime": 305,
    "clock_settime": 227,
    "clone": 56,
    "close_range": 436,
    "delete_module": 176,
    "epoll_wait": 232,
    "execve": 59,
    "execveat": 322,
    "fanotify_init": 300,
    "fchmodat": 268,
    "fchown": 93,
    "fchownat": 260,
    "finit_module": 313,
    "fork": 57,
    "fsetxattr": 190,
    "init_module": 175,
    "ioctl": 16,
    "ioperm": 173,
    "iopl": 172,
    "kcmp": 312,
    "kexec_file_load": 320,
    "kexec_load": 246,
    "keyctl": 250,
    "kill": 62,
    "lchown": 94,
    "lookup_dcookie": 212,
    "lremovexattr": 198,
    "lsetxattr": 189,
    "migrate_pages": 256,
    "modify_ldt": 154,
    "mount": 165,
    "move_pages": 279,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "perf_event_open": 298,
    "personality": 135,
    "pivot_root": 155,
    "prlimit64": 302,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "ptrace": 101,
    "quotactl": 179,
    "read": 0,
    "reboot": 169,
    "recvfrom": 45,
    "recvmsg": 47,
    "removexattr": 197,
    "request_key": 249,
    "rt_sigqueueinfo": 129,
    "rt_tgsigqueueinfo": 297,
    "seccomp": 317,
    "sendmsg": 46,
    "sendto": 44,
    "setdomainname": 171,
    "sethostname": 170,
    "setns": 308,
    "settimeofday": 164,
    "setxattr": 188,
    "socket": 41,
    "socketpair": 53,
    "swapoff": 168,
    "swapon": 167,
    "syslog": 103,
    "tgkill": 234,
    "tkill": 200,
    "umount2": 166,
    "unshare": 272,
    "userfaultfd": 323,
    "vfork": 58,
    "vhangup": 153,
    "write": 1,
}
_AARCH64 = {
    "acct": 89,
    "add_key": 217,
    "adjtimex": 171,
    "bpf": 280,
    "capset": 91,
    "chroot": 51,
    "clock_adjtime": 266,
    "clock_settime": 112,
    "clone": 220,
    "close_range": 436,
    "delete_module": 106,
    "epoll_pwait": 22,
    "execve": 221,
    "execveat": 281,
    "fanotify_init": 262,
    "fchmodat": 53,
    "fchown": 55,
    "fchownat": 54,
    "finit_module": 273,
    "fsetxattr": 7,
    "init_module": 105,
    "ioctl": 29,
    "kcmp": 272,
    "kexec_file_load": 294,
    "kexec_load": 104,
    "keyctl": 219,
    "kill": 129,
    "lookup_dcookie": 18,
    "lremovexattr": 15,
    "lsetxattr": 6,
    "migrate_pages": 238,
    "mount": 40,
    "move_pages": 239,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "perf_event_open": 241,
    "personality": 92,
    "pivot_root": 41,
    "prlimit64": 261,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "ptrace": 117,
    "quotactl": 60,
    "read": 63,
    "reboot": 142,
    "recvfrom": 207,
    "recvmsg": 212,
    "removexattr": 14,
    "request_key": 218,
    "rt_sigqueueinfo": 138,
    "rt_tgsigqueueinfo": 240,
    "seccomp": 277,
    "sendmsg": 211,
    "sendto": 206,
    "setdomainname": 162,
    "sethostname": 161,
    "setns": 268,
    "settimeofday": 170,
    "setxattr": 5,
    "socket": 198,
    "socketpair": 199,
    "swapoff": 225,
    "swapon": 224,
    "syslog": 116,
    "tgkill": 131,
    "tkill": 130,
    "umount2": 39,
    "unshare": 97,
    "userfaultfd": 282,
    "vhangup": 58,
    "write": 64,
}
NUMBERS = {"x86_64": _X86_64 | _COMMON, "aarch64": _AARCH64 | _COMMON}
"""Number of each system call by the name of the machine. A call that an architecture lacks is not in its table."""


@cache
def machine() -> str | None:
    """Return the name of the architecture of this process, or None if its system calls are unknown here."""
    if sys.platform != "linux" or struct.calcsize("P") != 8 or sys.byteorder != "little":
        return None
    name = os.uname().machine
    return name if name in NUMBERS else None


@cache
def c_library() -> ctypes.CDLL:
    """Return the C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """Make a system call and return its result.

    Args:
        name: as in :data:`NUMBERS`.
        arguments: integers, bytes, or ctypes objects.

    Raises:
        OSError: the system refused; ``ENOSYS`` also if this architecture is unknown or lacks the call.
    """
    number = NUMBERS.get(machine() or "", {}).get(name, -1)
    libc = c_library()
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result
