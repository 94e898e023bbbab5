"""Several networks behind one server: each has all paths of the API below ``/networks/NAME``.

Paths that name no network are about the first, so a client that knows of one network needs to know no name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from slirpy.control.app import make_application
from slirpy.control.guard import Receive, Scope, Send
from slirpy.control.shapes import Networks as NetworksShape
from slirpy.control.subject import Subject
from slirpy.errors import ConfigError

__all__ = ["PREFIX", "Networks", "check_name"]

PREFIX = "/networks/"
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_name(name: object) -> None:
    """Check that a name of a network can be part of a path.

    Raises:
        ConfigError: it cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = f'"{name[:80]}"' if isinstance(name, str) else repr(name)
        raise ConfigError(
            f"network name {shown}: must be 1 to 64 letters, digits, dots, dashes or underscores, such as lan0"
        )


class Networks:
    """Leads each request to the application of its network.

    Args:
        subjects: the networks by name; at least one.
    """

    def __init__(self, subjects: Mapping[str, Subject]) -> None:
        self._subjects = subjects
        self._applications: dict[str, FastAPI] = {}
        self._first = make_application(next(iter(subjects.values())))
        self._first.include_router(_router(subjects))
        self._describe = self._first.openapi
        self._first.openapi = self.openapi  # type: ignore[method-assign] # FastAPI's own way

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document of all networks."""
        return _with_networks(self._describe(), list(self._subjects))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        path = str(scope["path"])
        if not path.startswith(PREFIX):
            await self._first(scope, receive, send)
            return
        name = path.removeprefix(PREFIX).partition("/")[0]
        subject = self._subjects.get(name)
        if subject is None:
            error = f"there is no network {name[:80]}; the networks are {', '.join(self._subjects)}"
            await JSONResponse({"error": error}, 404)(scope, receive, send)
            return
        application = self._applications.get(name)
        if application is None:
            application = self._applications[name] = make_application(subject)
        await application({**scope, "root_path": PREFIX + name}, receive, send)


def _router(subjects: Mapping[str, Subject]) -> APIRouter:
    """The list of networks."""
    routes = APIRouter(tags=["network"])

    @routes.get("/networks", response_model=NetworksShape, operation_id="networks")
    async def networks() -> JSONResponse:
        """List the networks that are controlled here, the first first. All other paths exist below each `path`."""
        rows = [
            {"name": name, "path": PREFIX + name, "networks": [net for net, _ in subject.addresses()]}
            for name, subject in subjects.items()
        ]
        return JSONResponse({"networks": rows})

    return routes


def _with_networks(document: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Describe the paths below the names of networks, too."""
    named = {
        "name": "network",
        "in": "path",
        "required": True,
        "description": "Name of the network.",
        "schema": {"type": "string", "enum": names},
    }
    paths = dict(document["paths"])
    for path, operations in document["paths"].items():
        if path == "/networks":
            continue
        paths[PREFIX + "{network}" + path] = {
            method: {
                **operation,
                "operationId": f"{operation['operationId']}_of",
                "parameters": [named, *operation.get("parameters", ())],
            }
            for method, operation in operations.items()
        }
    return {**document, "paths": paths}
