"""The classes and functions of asyncio from which its loop in virtual time is made.

They are private, and the same from Python 3.11 to 3.14. Type checkers do not know their attributes.
"""

from __future__ import annotations

from asyncio import base_events, events, selector_events, sslproto, transports
from typing import Any

__all__ = ["FlowControl", "LoopBase", "SSLProtocol", "Server", "get_running", "set_nodelay", "set_running"]

LoopBase: Any = selector_events.BaseSelectorEventLoop
FlowControl: Any = transports._FlowControlMixin
Server: Any = base_events.Server
SSLProtocol: Any = sslproto.SSLProtocol
get_running = events._get_running_loop
set_running = events._set_running_loop
set_nodelay: Any = base_events._set_nodelay  # type: ignore[attr-defined] # private
