"""The paths and the JSON of gvproxy (gvisor-tap-vsock), so that its clients find what they know.

Errors are text, as there. A forward without a local address listens on all addresses, as there; the other paths of
this server mean 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from slirpy.config.dnsrecord import DnsRecord
from slirpy.config.hostfwd import HostForward
from slirpy.config.text import decimal, split_port, with_port
from slirpy.control.shapes import Error
from slirpy.control.subject import Subject
from slirpy.control.tunnel import Tunnel
from slirpy.errors import ConfigError, SlirpyError
from slirpy.services.dhcp import LeaseState
from slirpy.stack import Stack

__all__ = ["router"]

PORT_MAX = 65535
_ANYWHERE = "0.0.0.0"
_TEXT: dict[int | str, dict[str, Any]] = {
    status: {
        "model": Error,
        "description": "What cannot be done, as text.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    for status in (400, 404, 409)
}
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


def router(subject: Subject) -> APIRouter:
    """The paths of this part."""
    routes = APIRouter(tags=["gvproxy"], responses=_TEXT)

    @routes.get("/services/forwarder/all", operation_id="gvproxy_forwards")
    async def all_forwards() -> JSONResponse:
        """List the forwards, as gvproxy does."""
        rows = [_forward_row(each) for each in await subject.ask(Stack.hostfwds)]
        return JSONResponse(sorted(rows, key=lambda row: (row["local"], row["protocol"])))

    @routes.post("/services/forwarder/expose", operation_id="gvproxy_expose", openapi_extra=_BODY)
    async def expose(request: Request) -> Response:
        """Forward a port: `{"local": ":8080", "remote": "10.0.2.15:80", "protocol": "tcp"}`."""
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            forward = _forward(body)
            await subject.ask(lambda stack: stack.add_hostfwd(forward))
        except SlirpyError as error:
            return PlainTextResponse(f"{error}\n", 400 if isinstance(error, ConfigError) else 409)
        return Response(status_code=200)

    @routes.post("/services/forwarder/unexpose", operation_id="gvproxy_unexpose", openapi_extra=_BODY)
    async def unexpose(request: Request) -> Response:
        """Stop a forward: `{"local": ":8080", "protocol": "tcp"}`."""
        body = await _body(request)
        if isinstance(body, Response):
            return body
        local, protocol = str(body.get("local", "")), str(body.get("protocol") or "tcp")

        def remove(stack: Stack) -> bool:
            for forward in stack.hostfwds():
                row = _forward_row(forward)
                if row["protocol"] == protocol and row["local"] in (local, f"{_ANYWHERE}{local}"):
                    stack.remove_hostfwd(forward)
                    return True
            return False

        try:
            if await subject.ask(remove):
                return Response(status_code=200)
        except SlirpyError as error:
            return PlainTextResponse(f"{error}\n", 409)
        return PlainTextResponse("proxy not found\n", 404)

    @routes.get("/services/dns/all", operation_id="gvproxy_zones")
    async def zones() -> JSONResponse:
        """List the DNS records of addresses, as zones of gvproxy."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in await subject.ask(lambda stack: stack.dns_records):
            if record.type in ("A", "AAAA"):
                name, _, zone = record.name.partition(".")
                found.setdefault(f"{zone}." if zone else "", []).append({"Name": name, "IP": record.value})
        return JSONResponse(
            [{"Name": name, "Records": records, "DefaultIP": ""} for name, records in found.items()]
        )

    @routes.post("/services/dns/add", operation_id="gvproxy_add_zone", openapi_extra=_BODY)
    async def add_zone(request: Request) -> Response:
        """Add a zone: `{"Name": "test.", "Records": [{"Name": "web", "IP": "192.0.2.7"}], "DefaultIP": "..."}`."""
        body = await _body(request)
        if isinstance(body, Response):
            return body
        try:
            records = _records(body)

            def add(stack: Stack) -> None:
                names = {record.name for record in records}
                others = [each for each in stack.dns_records if each.name not in names]
                stack.dns_records = [*records, *others]

            await subject.ask(add)
        except SlirpyError as error:
            return PlainTextResponse(f"{error}\n", 400 if isinstance(error, ConfigError) else 409)
        return Response(status_code=200)

    @routes.get("/services/dhcp/leases", operation_id="gvproxy_dhcp_leases")
    @routes.get("/leases", operation_id="gvproxy_leases")
    async def leases() -> JSONResponse:
        """Map the addresses that are leased to MAC addresses."""
        infos = await subject.ask(Stack.leases)
        return JSONResponse({str(each.address): each.mac for each in infos if each.state is LeaseState.BOUND})

    @routes.get("/cam", operation_id="gvproxy_cam")
    async def cam() -> JSONResponse:
        """Map the MAC addresses that were heard to the numbers of their links."""
        return JSONResponse(await subject.do(lambda: _ports_by_mac(subject)))

    @routes.get("/stats", operation_id="gvproxy_stats")
    async def stats() -> JSONResponse:
        """Count, as far as gvproxy's names fit; `/v1/stats` has all counters."""

        def look() -> dict[str, Any]:
            stats = subject.network.stats
            return {
                "BytesSent": stats.bytes_out,
                "BytesReceived": stats.bytes_in,
                "IP": {"PacketsReceived": stats.frames_in, "PacketsSent": stats.frames_out},
                "DroppedPackets": stats.dropped(),
            }

        return JSONResponse(await subject.do(look))

    @routes.post("/tunnel", operation_id="gvproxy_tunnel")
    async def tunnel(
        request: Request,
        ip: Annotated[str, Query(max_length=64, description="Of the guest.")],
        port: Annotated[int, Query(ge=1, le=PORT_MAX)],
    ) -> Response:
        """Connect to a guest: the connection itself is the answer, which begins with `OK`."""
        loop = asyncio.get_running_loop()
        end = Tunnel(subject, loop)
        error = await end.connect(ip, port)
        if error:
            return JSONResponse({"error": error}, 409)
        request.scope["slirpy.connection"].hijack(end)
        return Response(status_code=200)

    return routes


async def _body(request: Request) -> dict[str, Any] | Response:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        return PlainTextResponse(f"{error}\n", 400)
    if not isinstance(body, dict):
        return PlainTextResponse("the body must be a JSON object\n", 400)
    return body


def _forward_row(forward: HostForward) -> dict[str, Any]:
    guest = "" if forward.guest_address is None else str(forward.guest_address)
    local = forward.path or with_port(forward.host_address, forward.host_port)
    remote = with_port(guest, forward.guest_port)
    if forward.path is not None:
        remote = f"tcp://{remote}"
    return {"local": local, "remote": remote, "protocol": forward.protocol}


def _forward(body: dict[str, Any]) -> HostForward:
    """The forward that a body describes.

    Raises:
        ConfigError: it describes none.
    """
    local, remote, protocol = (str(body.get(key) or "") for key in ("local", "remote", "protocol"))
    protocol = protocol or "tcp"
    guest, guest_port = _split(remote.removeprefix("tcp://") if protocol == "unix" else remote, "remote")
    if protocol == "unix":
        return HostForward("unix", "127.0.0.1", 0, guest or None, guest_port, local)
    host, host_port = _split(local, "local")
    return HostForward(protocol, host or _ANYWHERE, host_port, guest or None, guest_port)


def _split(text: str, what: str) -> tuple[str, int]:
    parts = split_port(text)
    port = None if parts is None or parts[1] is None else decimal(parts[1], 0, PORT_MAX)
    if parts is None or port is None:
        raise ConfigError(f'{what} "{text[:200]}" is not ADDRESS:PORT')
    return parts[0], port


def _records(body: dict[str, Any]) -> list[DnsRecord]:
    """The records that a zone describes.

    Raises:
        ConfigError: it describes none.
    """
    zone = str(body.get("Name") or "").strip(".")
    rows = body.get("Records") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError("Records must be a list of objects")
    if any(row.get("Regexp") for row in rows):
        raise ConfigError("Regexp is not supported; give names, or a DefaultIP")
    names = [(f"{row.get('Name') or '*'}.{zone}".strip("."), str(row.get("IP") or "")) for row in rows]
    if body.get("DefaultIP"):
        names.append((f"*.{zone}", str(body["DefaultIP"])))
    if not names:
        raise ConfigError("the zone has neither Records nor a DefaultIP")
    return [DnsRecord(name, "A" if ":" not in address else "AAAA", address, 0) for name, address in names]


def _ports_by_mac(subject: Subject) -> dict[str, int]:
    network = subject.network
    numbers = {id(port): number for number, port in enumerate(network.ports)}
    heard = {mac.hex(":"): numbers.get(id(port), 0) for mac, port in network.switch.heard_macs()}
    if isinstance(network, Stack):
        for neighbor in network.neighbors.known():
            if neighbor.mac is not None:
                heard.setdefault(neighbor.mac.hex(":"), numbers.get(id(neighbor.port), 0))
    return heard
