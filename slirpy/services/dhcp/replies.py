"""Replies: the parameters that a client gets, and the message that carries them.

If there are classless routes, the gateway is in both options 3 and 121, because a client that reads option 121
ignores option 3 (RFC 3442). The boot file goes into the header's ``file`` field. It goes into option 67 only if
the client requests that option or the field is too short, because old boot ROMs read the option as text up to a
zero byte. ``sname`` and option 66 carry the name of the TFTP server in the same way.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from slirpy.config import Config
from slirpy.config.boot import HTTP_CLIENT, bootfile_for, is_http, takes_http, waits_for_pxe
from slirpy.config.dhcp import LEASE_TIME_FOREVER, DhcpAnswer, DhcpRequest, check_text, encoded_search
from slirpy.records import NamedTuple
from slirpy.wire import dhcp
from slirpy.wire.dhcp import FILE_SIZE, SNAME_SIZE, Message, reply_header, write_message

__all__ = ["Parameters", "ReplyFields", "build_nak", "build_reply"]

PXE_CLIENT = b"PXEClient"
"""The vendor class that PXE firmware requires before it reads option 43."""
LOCAL_BOOT = bytes.fromhex("060103") + b"\x09\x0d\0\0\x0aLocal boot" + b"\x0a\5\0Boot" + b"\xff"
"""Option 43 (PXE 2.1, section 2.3) that makes firmware boot from elsewhere: no boot servers, and a menu whose one
entry, local boot, is selected at once. Without it, firmware that gets no boot file asks again for a minute."""
_PXE_OPTIONS = {dhcp.VENDOR_CLASS, dhcp.VENDOR_OPTIONS, dhcp.BOOT_FILE}

SIZE_MIN = 576
"""The size that every client accepts, including the IP and UDP headers (RFC 2131 section 2)."""
IP_UDP_HEADERS = 28


class ReplyFields(NamedTuple):
    """The parameters in a reply to one client."""

    options: list[tuple[int, bytes]]
    """The most important first."""
    next_server: bytes
    """``siaddr``, four bytes."""
    server_name: bytes
    """``sname``; empty for none."""
    boot_file: bytes
    """``file``; empty for none."""


class Parameters:
    """The parameters of a configuration, for each client."""

    def __init__(self, config: Config) -> None:
        """Check and encode the options that are the same for all clients.

        Raises:
            ConfigError: DHCP cannot carry the host name, the domain or the search list.
        """
        self._config = config
        gateway = config.gateway_address
        options = [(dhcp.SUBNET_MASK, config.netmask)]
        # With restrict, nothing beyond the gateway is reachable. QEMU leaves the options out, too.
        if not config.restrict:
            options.append((dhcp.ROUTER, gateway))
            if config.names_dns:
                options.append((dhcp.DNS_SERVER, config.dns_address))
        options += [(dhcp.BROADCAST, config.broadcast_address), (dhcp.MTU, config.mtu.to_bytes(2, "big"))]
        for code, what, text in (
            (dhcp.HOSTNAME, "hostname", config.hostname),
            (dhcp.DOMAIN, "domainname", config.domainname),
        ):
            if text:
                check_text(what, text)
                options.append((code, text.encode("ascii")))
        if config.routes and not config.restrict:
            gateways = {IPv4Network("0.0.0.0/0"): gateway}  # replaced if the user gives a default route
            gateways |= {
                route.network: gateway if route.gateway is None else route.gateway.packed
                for route in config.routes
            }
            options.append((dhcp.CLASSLESS_ROUTES, dhcp.classless_routes(gateways)))
        if config.dnssearch:
            options.append((dhcp.DOMAIN_SEARCH, encoded_search(dhcp.search_list, config.dnssearch)))
        self._given = {option.code: option.value for option in config.dhcp_options}
        # A BOOTP message has little room: after the vital options, the user's come before our own.
        vital = {
            code: value for code, value in options if code in (dhcp.SUBNET_MASK, dhcp.ROUTER, dhcp.DNS_SERVER)
        }
        self._options: dict[int, bytes | None] = {**vital, **self._given}
        for code, value in options:
            self._options.setdefault(code, value)

    def reply_fields(self, request: DhcpRequest, answer: DhcpAnswer) -> ReplyFields:
        """The parameters for one client: those of the configuration, as changed by the lease policy's answer.

        Raises:
            ConfigError: ``Config.bootfile`` is a function, and DHCP cannot carry the name that it returned.
        """
        config = self._config
        bootfile, http = answer.bootfile, True
        if bootfile is None:
            bootfile = bootfile_for(config.bootfile, request)
            # Like the lease policy, a function knows the client, so its choice is final.
            http = callable(config.bootfile) or takes_http(request)
        server = config.tftp_server_name if answer.tftp_server_name is None else answer.tftp_server_name
        options: dict[int, bytes | None] = {**self._options}
        if answer.hostname:
            options[dhcp.HOSTNAME] = answer.hostname.encode("ascii")
        requested = request.options.get(dhcp.REQUEST_LIST, b"")
        for code, text, size in (
            (dhcp.TFTP_SERVER, server, SNAME_SIZE),
            (dhcp.BOOT_FILE, bootfile, FILE_SIZE),
        ):
            if text and code not in self._given and (code in requested or len(text) >= size):
                options[code] = text.encode("ascii")
        if bootfile and http and is_http(bootfile):
            options.setdefault(dhcp.VENDOR_CLASS, HTTP_CLIENT)
        if not bootfile and config.bootfile and waits_for_pxe(request) and not options.keys() & _PXE_OPTIONS:
            options |= {dhcp.VENDOR_CLASS: PXE_CLIENT, dhcp.VENDOR_OPTIONS: LOCAL_BOOT}
        options |= answer.options
        return ReplyFields(
            [(code, value) for code, value in options.items() if value is not None],
            _address(server) or config.gateway_address,
            (server or "").encode("ascii"),
            (bootfile or "").encode("ascii"),
        )


def _address(server: str | None) -> bytes | None:
    """The address that a server's name spells out; None if it is a name."""
    try:
        return IPv4Address(server or "").packed
    except ValueError:
        return None


def build_reply(
    message: Message,
    kind: int | None,
    server: bytes,
    address: bytes,
    fields: ReplyFields,
    seconds: int | None,
    mtu: int,
) -> bytes:
    """An OFFER or ACK (RFC 2131 table 3), or with None as ``kind`` a BOOTP reply.

    Args:
        server: our address.
        address: the client's new address, ``yiaddr``.
        seconds: the lease time; None for no lease.
    """
    header = reply_header(message)
    header.ciaddr = 0 if kind == dhcp.OFFER else message.header.ciaddr
    header.yiaddr = int.from_bytes(address, "big")
    header.siaddr = int.from_bytes(fields.next_server, "big")
    if len(fields.boot_file) < FILE_SIZE:
        header.file = fields.boot_file
    if len(fields.server_name) < SNAME_SIZE:
        header.sname = fields.server_name
    if kind is None:
        # A BOOTP client accepts a reply as long as its request, if that is longer than the minimum.
        size = min(max(message.size, dhcp.MESSAGE_MIN), SIZE_MIN - IP_UDP_HEADERS)
        return write_message(header, fields.options, size, overload=False)
    options = _leading_options(message, kind, server)
    if seconds is not None:
        times = [(dhcp.LEASE_TIME, seconds)]
        if seconds != LEASE_TIME_FOREVER:
            times += [(dhcp.RENEWAL, seconds // 2), (dhcp.REBINDING, seconds * 7 // 8)]
        given = {code for code, _ in fields.options}
        options += [(code, value.to_bytes(4, "big")) for code, value in times if code not in given]
    # The options that the client requested come first, in its order. The others follow (RFC 2131 section 4.3.1):
    # some clients use the MTU without requesting it.
    requested = message.options.get(dhcp.REQUEST_LIST, b"")
    order = {code: index for index, code in reversed(list(enumerate(requested)))}
    options += sorted(fields.options, key=lambda option: order.get(option[0], 256))
    # Option 57 includes the IP and UDP headers.
    accepted = int.from_bytes(message.options.get(dhcp.MAX_SIZE, b"")[:2], "big")
    return write_message(header, options, min(max(accepted, SIZE_MIN), max(mtu, SIZE_MIN)) - IP_UDP_HEADERS)


def build_nak(message: Message, server: bytes, reason: bytes) -> bytes:
    """A NAK with its reason, of at most 255 bytes."""
    options = [*_leading_options(message, dhcp.NAK, server), (dhcp.MESSAGE_TEXT, reason)]
    return write_message(reply_header(message), options, SIZE_MIN - IP_UDP_HEADERS)


def _leading_options(message: Message, kind: int, server: bytes) -> list[tuple[int, bytes]]:
    """The options that start every reply, and those that it echoes (RFC 6842; RFC 3046, 2.2; RFC 4578, 2.3)."""
    echoed = (dhcp.CLIENT_ID, dhcp.CLIENT_UUID, dhcp.RELAY_AGENT)
    return [
        (dhcp.MESSAGE_TYPE, bytes((kind,))),
        (dhcp.SERVER_ID, server),
        *((code, message.options[code]) for code in echoed if code in message.options),
    ]
