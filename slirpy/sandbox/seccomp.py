"""Filters of system calls (seccomp BPF): one for slirpy itself, and one for the command of ``slirpy run``.

A filter is a small program that the kernel runs before each system call. It sees the architecture, the number and the
arguments, but cannot follow pointers. The kernel remembers which numbers are allowed regardless of the arguments, so
calls that move data cost nothing more.

The filter of slirpy itself names what is refused, because the interpreter, the C library and its plug-ins for names
use many calls that do no harm. Numbers of calls that are newer than this table are refused too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterable, Sequence
from struct import Struct

from slirpy.sandbox.syscalls import ARCHITECTURES, NEWEST, NUMBERS, call, machine

__all__ = ["COMMAND_FAMILIES", "command_filter", "install", "self_filter"]

_INSTRUCTION = Struct("<HBBI")
_LOAD, _EQUAL, _GREATER_OR_EQUAL, _ANY_BIT, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_X32 = 0x40000000
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_CLONE_THREAD = 0x00010000
_AUDIT_ARCH_I386, _AUDIT_ARCH_ARM = 0x40000003, 0x40000028
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_NETLINK_ROUTE = 0

COMMAND_FAMILIES = (
    socket.AF_INET,
    socket.AF_INET6,
    getattr(socket, "AF_UNIX", 1),
    getattr(socket, "AF_NETLINK", 16),
)
"""Families of sockets that the command of ``slirpy run`` may open."""

_OFTEN = ("read", "write", "sendmsg", "recvmsg", "sendto", "recvfrom", "epoll_wait", "epoll_pwait")
_PROCESSES = ("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp",
              "process_madvise", "pidfd_open", "pidfd_getfd")  # fmt: skip
_SIGNALS = ("rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal", "tkill")
_NAMESPACES = ("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "open_tree_attr",
               "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr")  # fmt: skip
_KERNEL = ("add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup",
           "io_uring_enter", "io_uring_register", "kexec_load", "kexec_file_load", "init_module", "finit_module",
           "delete_module")  # fmt: skip
_MACHINE = ("open_by_handle_at", "name_to_handle_at", "reboot", "swapon", "swapoff", "acct", "quotactl",
            "quotactl_fd", "syslog", "iopl", "ioperm", "modify_ldt", "settimeofday", "clock_settime",
            "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "personality", "fanotify_init",
            "lookup_dcookie", "move_pages", "migrate_pages", "vhangup")  # fmt: skip
# Landlock does not cover the attributes of files.
_ATTRIBUTES = ("chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "setxattr", "lsetxattr",
               "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat")  # fmt: skip

_IO_URING = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427}
_KEYS = ("add_key", "request_key", "keyctl")
_I386 = _IO_URING | {
    "ioctl": 54,
    "socket": 359,
    "socketpair": 360,
    **dict(zip(_KEYS, (286, 287, 288), strict=True)),
}
_ARM = _IO_URING | {
    "ioctl": 54,
    "socket": 281,
    "socketpair": 288,
    **dict(zip(_KEYS, (309, 310, 311), strict=True)),
}
_SOCKETCALL = 102
_SOCKETCALLS = (1, 8)  # SYS_SOCKET, SYS_SOCKETPAIR


class _Section:
    """The part of a program for one architecture. Between its steps the accumulator contains the call's number."""

    def __init__(self, numbers: dict[str, int]) -> None:
        self._numbers = numbers
        self.code: list[bytes] = [_instruction(_LOAD, _NUMBER)]

    def allow(self, *names: str) -> None:
        for number in self._known(names):
            self._add((_EQUAL, number, 0, 1), (_RETURN, _ALLOW))

    def refuse(self, *names: str, error: int = errno.EPERM) -> None:
        for number in self._known(names):
            self._add((_EQUAL, number, 0, 1), (_RETURN, _ERRNO | error))

    def refuse_from(self, number: int, error: int) -> None:
        self._add((_GREATER_OR_EQUAL, number, 0, 1), (_RETURN, _ERRNO | error))

    def refuse_values(self, name: str, argument: int, values: Iterable[int], error: int = errno.EPERM) -> None:
        """Refuse a call with one of these values in the lower half of an argument."""
        for number in self._known((name,)):
            self._refuse_values(number, argument, list(values), error)

    def refuse_other_values(
        self, name: str, argument: int, values: Iterable[int], error: int = errno.EPERM
    ) -> None:
        """Refuse a call with any other value in the lower half of an argument."""
        for number in self._known((name,)):
            inner = [(_EQUAL, value & 0xFFFFFFFF) for value in values]
            # Each test jumps to the reload of the number, past the return.
            tests = [(code, value, len(inner) - n, 0) for n, (code, value) in enumerate(inner)]
            body = [(_LOAD, _argument(argument)), *tests, (_RETURN, _ERRNO | error), (_LOAD, _NUMBER)]
            self._add((_EQUAL, number, 0, len(body)), *body)

    def refuse_signals(self, processes: Sequence[int]) -> None:
        """Refuse ``kill``, except for these processes, or with signal 0, which only asks."""
        for number in self._known(("kill",)):
            body: list[tuple[int, ...]] = [(_LOAD, _argument(1)), (_EQUAL, 0, len(processes) + 2, 0)]
            body.append((_LOAD, _argument(0)))
            body += [(_EQUAL, each & 0xFFFFFFFF, len(processes) - n, 0) for n, each in enumerate(processes)]
            body += [(_RETURN, _ERRNO | errno.EPERM), (_LOAD, _NUMBER)]
            self._add((_EQUAL, number, 0, len(body)), *body)

    def refuse_second(self, name: str, first: int, argument: int, value: int, error: int = errno.EPERM) -> None:
        """Refuse a call whose argument 0 is ``first`` unless the given argument has this value."""
        for number in self._known((name,)):
            body = [(_LOAD, _argument(0)), (_EQUAL, first, 0, 3), (_LOAD, _argument(argument)),
                    (_EQUAL, value, 1, 0), (_RETURN, _ERRNO | error), (_LOAD, _NUMBER)]  # fmt: skip
            self._add((_EQUAL, number, 0, len(body)), *body)

    def refuse_without_bit(self, name: str, argument: int, bit: int, error: int = errno.EPERM) -> None:
        for number in self._known((name,)):
            body = [
                (_LOAD, _argument(argument)),
                (_ANY_BIT, bit, 1, 0),
                (_RETURN, _ERRNO | error),
                (_LOAD, _NUMBER),
            ]
            self._add((_EQUAL, number, 0, len(body)), *body)

    def refuse_socketcalls(self) -> None:
        """Refuse the old call of i386 that opens sockets by a pointer to its arguments."""
        self._refuse_values(_SOCKETCALL, 0, list(_SOCKETCALLS), errno.EPERM)

    def finish(self) -> list[bytes]:
        """Allow everything else, and return the code."""
        return [*self.code, _instruction(_RETURN, _ALLOW)]

    def _refuse_values(self, number: int, argument: int, values: list[int], error: int) -> None:
        body: list[tuple[int, ...]] = [(_LOAD, _argument(argument))]
        for value in values:
            body += [(_EQUAL, value, 0, 1), (_RETURN, _ERRNO | error)]
        body.append((_LOAD, _NUMBER))
        self._add((_EQUAL, number, 0, len(body)), *body)

    def _known(self, names: Iterable[str]) -> list[int]:
        return [self._numbers[name] for name in names if name in self._numbers]

    def _add(self, *instructions: tuple[int, ...]) -> None:
        self.code += [_instruction(*each) for each in instructions]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)


def _argument(number: int) -> int:
    """Offset of the lower half of an argument. The kernel ignores the upper half of all that are tested here."""
    return 16 + 8 * number


def _program(sections: Sequence[tuple[int, list[bytes]]], otherwise: int) -> bytes:
    code = [_instruction(_LOAD, _ARCHITECTURE)]
    for architecture, section in sections:
        code += [_instruction(_EQUAL, architecture, 1, 0), _instruction(_JUMP, len(section)), *section]
    return b"".join([*code, _instruction(_RETURN, otherwise)])


def self_filter(name: str, families: Iterable[int], signals: Iterable[int]) -> bytes:
    """Return the filter for a process that carries guests' traffic.

    Args:
        name: of the machine, as :func:`slirpy.sandbox.syscalls.machine` returns it.
        families: of sockets that it may open, ``AF_...``. With ``AF_NETLINK`` only the routing protocol is allowed.
        signals: processes that it may signal beside itself, by number; 0 is its own group.
    """
    section = _Section(NUMBERS[name])
    if name == "x86_64":
        section.refuse_from(_X32, errno.ENOSYS)
    section.allow(*_OFTEN)
    section.refuse(*_PROCESSES, *_SIGNALS, *_NAMESPACES, *_KERNEL, *_MACHINE, *_ATTRIBUTES)
    # Its flags are behind a pointer. The C library then uses clone.
    section.refuse("clone3", error=errno.ENOSYS)
    section.refuse_without_bit("clone", 0, _CLONE_THREAD)
    section.refuse_signals([os.getpid(), *signals])
    section.refuse_other_values("tgkill", 0, [os.getpid()])
    section.refuse_other_values("prlimit64", 0, [0, os.getpid()])
    section.refuse_values("ioctl", 1, (_TIOCSTI, _TIOCLINUX))
    section.refuse_other_values("socket", 0, families, errno.EAFNOSUPPORT)
    section.refuse_second("socket", int(COMMAND_FAMILIES[3]), 2, _NETLINK_ROUTE, errno.EPROTONOSUPPORT)
    section.refuse_other_values("socketpair", 0, (int(COMMAND_FAMILIES[2]),), errno.EAFNOSUPPORT)
    section.refuse_from(NEWEST + 1, errno.ENOSYS)
    return _program([(ARCHITECTURES[name], section.finish())], _KILL)


def command_filter(name: str, *, terminal_only: bool = False) -> bytes:
    """Return the filter for the command of ``slirpy run``, which also covers 32-bit programs.

    It refuses what would write to the terminal's input, and families of sockets that reach beside the network. Keys
    are refused since the kernel does not separate them by namespace, and ``io_uring`` since it opens sockets that no
    filter sees.

    Args:
        name: of the machine, as :func:`slirpy.sandbox.syscalls.machine` returns it.
        terminal_only: protect the terminal, and allow everything else.
    """
    sections = []
    for architecture, numbers in (
        (ARCHITECTURES[name], NUMBERS[name]),
        (_AUDIT_ARCH_I386, _I386) if name == "x86_64" else (_AUDIT_ARCH_ARM, _ARM),
    ):
        section = _Section(numbers)
        if name == "x86_64":
            section.refuse_from(_X32, errno.ENOSYS)
        section.refuse_values("ioctl", 1, (_TIOCSTI, _TIOCLINUX))
        if terminal_only:
            sections.append((architecture, section.finish()))
            continue
        section.refuse_other_values("socket", 0, COMMAND_FAMILIES, errno.EAFNOSUPPORT)
        section.refuse_other_values("socketpair", 0, COMMAND_FAMILIES, errno.EAFNOSUPPORT)
        section.refuse(*_KEYS, error=errno.ENOSYS)
        section.refuse("io_uring_setup", "io_uring_enter", "io_uring_register", error=errno.ENOSYS)
        if architecture == _AUDIT_ARCH_I386:
            section.refuse_socketcalls()
        sections.append((architecture, section.finish()))
    return _program(sections, _ERRNO | errno.ENOSYS)


def install(program: bytes) -> None:
    """Apply a filter to all threads of this process and to its future children.

    ``no_new_privs`` must be set.

    Raises:
        OSError: the system refused. ``ENOSYS``: its kernel has no seccomp, or the architecture is unknown.
    """
    if machine() is None:
        raise OSError(errno.ENOSYS, "the system calls of this architecture are unknown", "seccomp")
    buffer = ctypes.create_string_buffer(program, len(program))
    head = Struct("@HP").pack(len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    stuck = call("seccomp", _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, head)
    if stuck:
        raise OSError(errno.EBUSY, f"thread {stuck} has a filter of its own", "seccomp")
