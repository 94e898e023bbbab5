"""Boot files: rules that select one by the client's architecture, and checks of which clients accept a URL.

UEFI firmware first tries PXE, with a vendor class (option 60) that begins with ``PXEClient``, and then HTTP boot,
with one that begins with ``HTTPClient``. PXE requests whatever file it is given over TFTP, so it must not be given a
URL. Without a boot file it repeats its request for a minute, unless a server tells it to boot from another source.
HTTP boot needs an ``http`` URL. iPXE accepts both. It identifies itself by its user class (option 77) or its own
options (175), whatever its vendor class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from slirpy.checks import switch, whole
from slirpy.config.dhcp import BootFile, DhcpRequest, check_text
from slirpy.config.text import decimal, hint
from slirpy.config.values import as_text, instances, listed, printable
from slirpy.errors import ConfigError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = [
    "ARCHITECTURES",
    "HTTP_CLIENT",
    "BootChoice",
    "boot_files",
    "bootfile_for",
    "is_http",
    "parse_bootfile",
    "takes_http",
    "waits_for_pxe",
]

ARCHITECTURES: dict[str, frozenset[int]] = {
    "bios": frozenset((0, 20)),
    "efi-ia32": frozenset((6, 15)),
    "efi-x64": frozenset((7, 9, 16)),
    "efi-arm32": frozenset((10, 18)),
    "efi-arm64": frozenset((11, 19)),
    "efi-riscv32": frozenset((25, 26)),
    "efi-riscv64": frozenset((27, 28)),
    "efi-loongarch64": frozenset((39, 40)),
    "uboot-arm32": frozenset((21, 23)),
    "uboot-arm64": frozenset((22, 24)),
    "powerpc": frozenset((12, 13)),
    "opal": frozenset((14,)),
    "s390": frozenset((31, 32)),
}
"""Names for the numbers of option 93 (RFC 5970 section 3.3 and its registry), by TFTP and by HTTP."""
HTTP_CLIENT = b"HTTPClient"
"""The vendor class of UEFI firmware that boots by HTTP, which it requires in a reply (UEFI 2.10, section 24.7)."""
IPXE = "ipxe"
"""The name of iPXE, of any architecture."""
IPXE_OPTIONS = 175
_RULE = r"([A-Za-z0-9_-]+)=(.+)"
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://"
_VENDOR_ARCHITECTURE = rb"(?:PXE|HTTP)Client:Arch:([0-9]{5})"
_ARCHITECTURES = {4: 93, 6: 61}
"""Codes of the option with the architectures, by the version of DHCP."""


@dataclass(frozen=True, slots=True)
class BootChoice:
    """A boot file and the clients that it is meant for.

    Raises:
        ConfigError: a name that DHCP cannot carry, or an architecture that is not a number from 0 to 65535.
    """

    bootfile: str
    """Path or URL."""
    architectures: frozenset[int] | None = None
    """Numbers of option 93. None matches any client, including one that sends no option 93."""
    ipxe: bool = False
    """For iPXE only."""

    def __post_init__(self) -> None:
        printable("bootfile", self.bootfile)
        if self.architectures is not None:
            found = listed("architectures", self.architectures)
            numbers = (
                whole(f'bootfile "{self.bootfile}": architecture', number, 0, 0xFFFF) for number in found
            )
            object.__setattr__(self, "architectures", frozenset(numbers))
        switch("ipxe", self.ipxe)


def parse_bootfile(rule: str) -> BootChoice:
    """Read ``[ARCH=]FILE|URL``.

    ARCH is a name in :data:`ARCHITECTURES`, a number of option 93, or ``ipxe``.

    Raises:
        ConfigError: the rule cannot be read; the text names the part.
    """
    as_text("bootfile", rule)
    match = re.fullmatch(_RULE, rule)
    if match is None:
        if rule.endswith("=") and rule[:-1] in (*ARCHITECTURES, IPXE):
            raise ConfigError(f'bootfile "{rule}": no file; write ARCH=FILE, such as efi-x64=grubx64.efi')
        return BootChoice(rule)
    name, file = match.groups()
    if name == IPXE:
        return BootChoice(file, ipxe=True)
    if name.isdigit():
        number = decimal(name, 0, 0xFFFF)
        if number is None:
            raise ConfigError(f'bootfile "{rule}": architecture {name} is not from 0 to 65535')
        return BootChoice(file, frozenset((number,)))
    found = ARCHITECTURES.get(name)
    if found is None:
        known = (*ARCHITECTURES, IPXE)
        advice = hint(name, known, f"write one of {', '.join(known)}, or a number")
        raise ConfigError(
            f'bootfile "{rule}": there is no architecture "{name}"; {advice} (a file of that name is ./{rule})'
        )
    return BootChoice(file, found)


def boot_files(given: str | Sequence[BootChoice | str] | None) -> str | tuple[BootChoice, ...] | None:
    """Parse the value of ``Config.bootfile``, unless it is a function. A lone file name applies to all clients.

    Raises:
        ConfigError: a rule that cannot be read.
    """
    if given is None:
        return None
    choices = instances("bootfile", (given,) if isinstance(given, str) else given, BootChoice, parse_bootfile)
    if len(choices) == 1 and choices[0] == BootChoice(choices[0].bootfile):
        return choices[0].bootfile
    return choices or None


def is_http(bootfile: str) -> bool:
    """Report whether HTTP boot can load the file."""
    return bootfile.lower().startswith(("http://", "https://"))


def takes_http(request: DhcpRequest) -> bool:
    """Report whether the client is firmware that boots by HTTP."""
    return request.vendor_class.startswith(HTTP_CLIENT)


def _takes(request: DhcpRequest, url: str) -> bool:
    """Report whether firmware can load a URL. DHCPv6 gives it all boot files as URLs, also those for TFTP."""
    if takes_http(request):
        return is_http(url)
    return request.version == 6 and url.lower().startswith("tftp://")


def waits_for_pxe(request: DhcpRequest) -> bool:
    """Report whether the client is firmware that looks for a boot file by PXE until a server ends the search."""
    return request.vendor_class.startswith(b"PXEClient") and not is_ipxe(request)


def is_ipxe(request: DhcpRequest) -> bool:
    """Report whether the client is iPXE; its user class is plain text, not in the form of RFC 3004."""
    if request.user_class in (b"iPXE", b"\4iPXE"):
        return True
    return request.version == 4 and IPXE_OPTIONS in request.options


def bootfile_for(given: str | Iterable[BootChoice] | BootFile | None, request: DhcpRequest) -> str | None:
    """The boot file of a client by the option ``bootfile``. Returns None if there is none that the client could load.

    Raises:
        ConfigError: the option is a function, and DHCP cannot carry the name that it returned.
    """
    if callable(given):
        chosen = given(request)
        check_text("bootfile", chosen)
        return chosen
    choices = (BootChoice(given),) if isinstance(given, str) else given
    return None if choices is None else choose_bootfile(choices, request)


def choose_bootfile(choices: Iterable[BootChoice], request: DhcpRequest) -> str | None:
    """Choose the boot file for a client. Returns None if there is none that the client could load.

    A rule for iPXE comes before one for an architecture, and that before one for all clients. Of equal rules the
    first wins.
    HTTP boot prefers a URL to all others.
    """
    http, ipxe = takes_http(request), is_ipxe(request)
    numbers = _architectures(request)

    def rank(choice: BootChoice) -> tuple[bool, int]:
        special = 0 if choice.ipxe else 1 if choice.architectures is not None else 2
        return http and not is_http(choice.bootfile), special

    def suits(choice: BootChoice) -> bool:
        if choice.ipxe and not ipxe:
            return False
        if choice.architectures is not None and not choice.architectures & numbers:
            return False
        return not re.match(_URL, choice.bootfile) or ipxe or _takes(request, choice.bootfile)

    best = min(filter(suits, choices), key=rank, default=None)
    return None if best is None else best.bootfile


def _architectures(request: DhcpRequest) -> frozenset[int]:
    """Architectures of the client: option 93, else its vendor class. A PXE client that sends neither is a BIOS."""
    value = request.options.get(_ARCHITECTURES[request.version], b"")
    if len(value) >= 2:
        return frozenset(int.from_bytes(value[at : at + 2], "big") for at in range(0, len(value) - 1, 2))
    match = re.match(_VENDOR_ARCHITECTURE, request.vendor_class)
    if match is not None:
        return frozenset((int(match[1]),))
    return frozenset((0,)) if request.vendor_class.startswith(b"PXEClient") else frozenset()
