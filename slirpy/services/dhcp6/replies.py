"""Replies: the parameters that a client gets beside its addresses.

A client that lists the options that it wants gets those of them that there are; one that lists none gets all of
them. The boot file is a URL with DHCPv6 (RFC 5970): a path is completed with the address of the TFTP server.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from slirpy.config import Config
from slirpy.config.boot import HTTP_CLIENT, bootfile_for, is_http, takes_http
from slirpy.config.dhcp import DhcpAnswer, DhcpRequest, encoded_search
from slirpy.config.text import bracketed
from slirpy.services.dhcp6.request import Decision, Exchange
from slirpy.wire import dhcp6
from slirpy.wire.domainname import pack_names

__all__ = ["Parameters"]

REFRESH_MIN = 600
"""IRT_MINIMUM: the least time after which clients ask for parameters again, in seconds (RFC 8415 section 7.6)."""
UEFI_ENTERPRISE = 343
"""The enterprise number in vendor classes of UEFI firmware, Intel's."""
_IN_PATHS = "/:@!$&'()*+,;=~"
"""Characters that need no escape in the path of a URL (RFC 3986 section 3.3)."""


class Parameters:
    """The parameters of a configuration, for each client."""

    def __init__(self, config: Config) -> None:
        """Check and encode the options that are the same for all clients.

        Raises:
            ConfigError: DHCP cannot carry the search list.
        """
        self._config = config
        self._options: dict[int, bytes] = {}
        if not config.restrict and config.names_dns:  # else nothing is reachable beyond the gateway
            self._options[dhcp6.DNS_SERVERS] = config.dns_address6
        search = config.dnssearch or ((config.domainname,) if config.domainname else ())
        if search:
            self._options[dhcp6.DOMAIN_LIST] = encoded_search(pack_names, search)

    def options(self, exchange: Exchange, decision: Decision) -> list[bytes]:
        """The options for one client: those of the configuration, as changed by the lease policy's answer.

        Raises:
            ConfigError: ``Config.bootfile`` is a function, and DHCP cannot carry the name that it returned.
        """
        requested, answer = exchange.message.requested, decision.ruling.answer
        values: dict[int, bytes | None] = {**self._options}
        url = self._boot_url(decision.request, answer)
        if url:
            values[dhcp6.BOOTFILE_URL] = url.encode("ascii")
        if decision.request.kind == "inform":
            values[dhcp6.INFORMATION_REFRESH_TIME] = self._refresh_time(answer).to_bytes(4, "big")
        if requested is not None:
            values = {code: value for code, value in values.items() if code in requested}
        if url and is_http(url) and takes_http(decision.request):
            values[dhcp6.VENDOR_CLASS] = dhcp6.pack_vendor_class(UEFI_ENTERPRISE, HTTP_CLIENT)
        values |= answer.options6
        packed = [dhcp6.pack_option(code, value) for code, value in values.items() if value is not None]
        if requested is not None and dhcp6.CLIENT_FQDN in requested:
            packed += self._name(exchange, answer)
        return packed

    def _refresh_time(self, answer: DhcpAnswer) -> int:
        return max(answer.lease_time or self._config.lease_time, REFRESH_MIN)

    def _name(self, exchange: Exchange, answer: DhcpAnswer) -> list[bytes]:
        """The client's name as our DNS server has it."""
        config, fqdn = self._config, exchange.message.fqdn
        hostname = answer.hostname or exchange.hostname or config.hostname
        if not hostname:
            return []
        labels = [hostname, *(config.domainname.split(".") if config.domainname else ())]
        override = fqdn is not None and not fqdn.server_updates
        try:
            return [dhcp6.pack_fqdn(labels, override=override)]
        except ValueError:  # too long together, which only the policy can bring about
            return []

    def _boot_url(self, request: DhcpRequest, answer: DhcpAnswer) -> str | None:
        bootfile = answer.bootfile
        if bootfile is None:
            bootfile = bootfile_for(self._config.bootfile, request)
        if not bootfile or "://" in bootfile:
            return bootfile
        from urllib.parse import quote  # takes 2 ms, and few networks have such a path

        server = self._tftp_server(answer)
        return f"tftp://{bracketed(server)}/{quote(bootfile.lstrip('/'), safe=_IN_PATHS)}"

    def _tftp_server(self, answer: DhcpAnswer) -> object:
        """Name or address of the TFTP server; an IPv4 address is useless here."""
        config = self._config
        name = config.tftp_server_name if answer.tftp_server_name is None else answer.tftp_server_name
        if not name or name.replace(".", "").isdecimal():
            return config.host6
        try:
            return IPv6Address(name)
        except ValueError:
            return name
