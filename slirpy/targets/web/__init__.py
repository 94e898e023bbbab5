"""Python web applications inside the virtual network: guests reach them, and they need no listening port.

:func:`wsgi` and :func:`asgi` turn an application into a target for :class:`~slirpy.config.guestfwd.GuestForward`;
:meth:`slirpy.Slirp.mount` does both steps. The library h11 reads and writes HTTP/1.1.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from slirpy.errors import ConfigError

try:
    from slirpy.targets.web.asgi import Application, AsgiHandler
    from slirpy.targets.web.wsgi import WsgiHandler
except ModuleNotFoundError as _error:
    if _error.name != "h11":
        raise
    raise ConfigError("web applications need the library h11: pip install 'slirpy[web]'") from None

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["asgi", "handler_for", "wsgi"]


def wsgi(application: WSGIApplication) -> WsgiHandler:
    """Make a target that serves a WSGI application (PEP 3333), each connection in a thread.

    Raises:
        ConfigError: the application is not callable.
    """
    _check_callable(application)
    return WsgiHandler(application)


def asgi(application: Application) -> AsgiHandler:
    """Make a target that serves an ASGI application (version 3, HTTP and lifespan) in an event loop.

    Raises:
        ConfigError: the application is not callable.
    """
    _check_callable(application)
    return AsgiHandler(application)


def _check_callable(application: object) -> None:
    if not callable(application):
        raise ConfigError(
            f"{application!r} is not a web application: it is not callable, as WSGI and ASGI require"
        )


def handler_for(application: Any) -> Any:
    """Make the target for an application: ASGI if it is, or its ``__call__``, a coroutine function; else WSGI.

    Raises:
        ConfigError: the application is not callable.
    """
    _check_callable(application)
    call = getattr(application, "__call__", None)  # noqa: B004 - not whether, but what
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        return asgi(application)
    return wsgi(application)
