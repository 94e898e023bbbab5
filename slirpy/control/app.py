"""The application behind the control socket: its routes, its errors, and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from slirpy._version import __version__
from slirpy.control import captures, events, faults, gvproxy, metrics, page, rules, tables
from slirpy.control.desk import UndrivenError
from slirpy.control.shapes import Error
from slirpy.control.subject import Subject
from slirpy.errors import ConfigError, SlirpyError, StateError

__all__ = ["ERRORS", "make_application"]

DESCRIPTION = """\
The control socket of slirpy: HTTP and JSON at a Unix socket, or at a TCP port with a token
(`Authorization: Bearer TOKEN`, or `?token=TOKEN`). Requests are done by the thread that carries the
network's traffic, one at a time. Errors have a status of 400 and above, and a body `{"error": "..."}`.
"""

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Error, "description": "A value that cannot be used anywhere."},
    401: {"model": Error, "description": "The token is missing or wrong."},
    403: {
        "model": Error,
        "description": "The request comes from a web page of another origin, or may not do this.",
    },
    404: {"model": Error, "description": "There is no such thing."},
    405: {"model": Error, "description": "The path has other methods."},
    408: {"model": Error, "description": "The request has not arrived as a whole."},
    409: {"model": Error, "description": "It cannot be done as things are."},
    413: {"model": Error, "description": "The body is too large."},
    421: {"model": Error, "description": "The Host header names another server."},
    422: {"model": Error, "description": "The request does not have the form of the document."},
    503: {"model": Error, "description": "The network has ended, or nobody drives it."},
}
"""Answers that every path may give."""


def make_application(subject: Subject) -> FastAPI:
    """The application for a network."""
    application = FastAPI(
        title="slirpy control",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
        redirect_slashes=False,
        strict_content_type=False,
    )
    for part in (tables, rules, events, captures, faults):
        application.include_router(part.router(subject), prefix="/v1")
    application.include_router(page.router())
    application.include_router(metrics.router(subject))
    application.include_router(gvproxy.router(subject))
    application.add_exception_handler(SlirpyError, _mistake)
    application.add_exception_handler(RequestValidationError, _malformed)
    application.add_exception_handler(HTTPException, _refused)
    application.add_exception_handler(Exception, _broken)
    return application


async def _mistake(request: Request, error: Exception) -> JSONResponse:
    status = 409
    if isinstance(error, ConfigError):
        status = 400
    elif isinstance(error, UndrivenError) or (
        isinstance(error, StateError) and "stopped or closed" in str(error)
    ):
        status = 503
    return JSONResponse({"error": " ".join(str(error).split())}, status)


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    parts = []
    for each in error.errors()[:5]:
        where = ".".join(str(part) for part in each["loc"] if part != "body") or "body"
        parts.append(f"{where}: {each['msg'][:1].lower()}{each['msg'][1:]}")
    return JSONResponse({"error": "; ".join(parts) + "; see /openapi.json"}, 422)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    text = str(error.detail)
    if error.status_code == 404:
        text = f"there is nothing at {request.url.path}; /openapi.json lists what there is"
    elif error.status_code == 405:
        text = f"{request.url.path} has no method {request.method}; see /openapi.json"
    return JSONResponse({"error": text}, error.status_code, headers=dict(error.headers or {}))


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Answer a fault of slirpy itself, which is logged, too."""
    return JSONResponse({"error": f"a fault of slirpy: {type(error).__name__}; please report it"}, 500)
