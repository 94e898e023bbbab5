"""What guests are told: the options of a reply, in an order, and the boot file.

The gateway stands there twice if there are classless routes, because a client that reads those ignores option 3
(RFC 3442). The boot file goes into the header's ``file``, and into option 67 only for a client that asks for it, or
if the field is too short: old boot ROMs read the option as text that ends with a zero byte. The name of the TFTP
server goes into ``sname`` and option 66 likewise.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from slirpy.config import Config
from slirpy.errors import ConfigError
from slirpy.rules.boot import BootChoice, choose_bootfile, is_http, takes_http, waits_for_pxe
from slirpy.rules.dhcp import DhcpAnswer, DhcpRequest, GuestRoute, check_text
from slirpy.services import dhcp_message as m
from slirpy.services.dhcp_options import search_list

__all__ = ["FILE_SIZE", "SNAME_SIZE", "Parameters", "Told", "classless_routes"]

FILE_SIZE = 128
"""Bytes of the header's ``file``; a name there ends with a zero byte."""
SNAME_SIZE = 64
"""Bytes of the header's ``sname``, likewise."""

HTTP_CLIENT = b"HTTPClient"
"""What the firmware of UEFI wants to hear in option 60 before it boots by HTTP (UEFI 2.10, section 24.7.3)."""


PXE_CLIENT = b"PXEClient"
"""The same for PXE, before it reads option 43."""
LOCAL_BOOT = bytes.fromhex("060103") + b"\x09\x0d\0\0\x0aLocal boot" + b"\x0a\5\0Boot" + b"\xff"
"""Option 43 of PXE 2.1 (section 2.3): no boot servers, and a menu whose one line is to boot from elsewhere, chosen at
once. Firmware that is given no boot file and not this asks again, for a minute."""


_PXE = {m.VENDOR_CLASS, m.VENDOR_OPTIONS, m.BOOT_FILE}


class Told(NamedTuple):
    """What one client is told."""

    options: list[tuple[int, bytes]]
    """The most important first."""
    next_server: bytes
    """``siaddr``, four bytes."""
    server_name: bytes
    """``sname``, empty if there is none."""
    boot_file: bytes
    """``file``, empty if there is none."""


class Parameters:
    """The options that a configuration gives."""

    def __init__(self, config: Config) -> None:
        """Check and write all that is the same for all clients.

        Raises:
            ConfigError: a host name, domain or search list that DHCP cannot carry.
        """
        self._config = config
        gateway = config.gateway_address
        options = [(m.SUBNET_MASK, config.netmask)]
        if not config.restrict:  # else there is nothing beyond the gateway, and no names, as QEMU has it
            options += [(m.ROUTER, gateway), (m.DNS_SERVER, config.dns_address)]
        options += [(m.BROADCAST, config.broadcast_address), (m.MTU, config.mtu.to_bytes(2, "big"))]
        for code, what, text in (
            (m.HOSTNAME, "hostname", config.hostname),
            (m.DOMAIN, "domainname", config.domainname),
        ):
            if text:
                check_text(what, text)
                options.append((code, text.encode("ascii")))
        if config.routes and not config.restrict:
            options.append((m.CLASSLESS_ROUTES, classless_routes(config.routes, gateway)))
        if config.dnssearch:
            try:
                options.append((m.DOMAIN_SEARCH, search_list(config.dnssearch)))
            except ValueError as error:
                raise ConfigError(
                    f"dnssearch {error}: a domain name has ASCII labels of 1 to 63 bytes, and 255 in all"
                ) from None
        self._given = {option.code: option.value for option in config.dhcp_options}
        # What the user asks for goes before what we add of our own accord: a message of BOOTP has little room.
        vital = {code: value for code, value in options if code in (m.SUBNET_MASK, m.ROUTER, m.DNS_SERVER)}
        self._options: dict[int, bytes | None] = {**vital, **self._given}
        for code, value in options:
            self._options.setdefault(code, value)
        bootfile = config.bootfile
        self._boot_choices = (BootChoice(bootfile),) if isinstance(bootfile, str) else bootfile

    def told(self, request: DhcpRequest, answer: DhcpAnswer) -> Told:
        """What a client is told, as the configuration has it and the policy's answer changes it.

        Raises:
            ConfigError: ``Config.bootfile`` is a function, and what it gave DHCP cannot carry.
        """
        config = self._config
        bootfile, http = answer.bootfile, True
        if bootfile is None:
            choices = self._boot_choices
            if callable(choices):  # like the policy, it has the last word: it knows which client asks
                bootfile = choices(request)
                check_text("bootfile", bootfile)
            elif choices is not None:
                bootfile, http = choose_bootfile(choices, request), takes_http(request)
        server = config.tftp_server_name if answer.tftp_server_name is None else answer.tftp_server_name
        options: dict[int, bytes | None] = {**self._options}
        if answer.hostname:
            options[m.HOSTNAME] = answer.hostname.encode("ascii")
        asked = request.options.get(m.REQUEST_LIST, b"")
        for code, text, size in (
            (m.TFTP_SERVER, server, SNAME_SIZE),
            (m.BOOT_FILE, bootfile, FILE_SIZE),
        ):
            if text and code not in self._given and (code in asked or len(text) >= size):
                options[code] = text.encode("ascii")
        if bootfile and http and is_http(bootfile):
            options.setdefault(m.VENDOR_CLASS, HTTP_CLIENT)
        if not bootfile and self._boot_choices and waits_for_pxe(request) and not options.keys() & _PXE:
            options |= {m.VENDOR_CLASS: PXE_CLIENT, m.VENDOR_OPTIONS: LOCAL_BOOT}
        options |= answer.options
        return Told(
            [(code, value) for code, value in options.items() if value is not None],
            _address(server) or config.gateway_address,
            (server or "").encode("ascii"),
            (bootfile or "").encode("ascii"),
        )


def _address(server: str | None) -> bytes | None:
    """A server's name that is an address."""
    try:
        return IPv4Address(server or "").packed
    except ValueError:
        return None


def classless_routes(routes: Iterable[GuestRoute], gateway: bytes) -> bytes:
    """The value of option 121 (RFC 3442): the routes, and the default one if none of them is it."""
    default = GuestRoute(IPv4Network("0.0.0.0/0"))
    ways = {route.network: route for route in (default, *routes)}
    out = b""
    for network, way in ways.items():
        significant = -(-network.prefixlen // 8)
        out += bytes((network.prefixlen,)) + network.network_address.packed[:significant]
        out += gateway if way.gateway is None else way.gateway.packed
    return out
