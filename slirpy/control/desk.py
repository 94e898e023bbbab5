"""The way of requests to the network: done by the thread that drives it, and awaited by the thread of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from slirpy.drive.mailbox import Mailbox
from slirpy.errors import StateError

__all__ = ["Desk", "UndrivenError"]

_T = TypeVar("_T")

WAIT = 10.0
"""Seconds that a request waits for the network."""


class UndrivenError(StateError):
    """The network did not take a request in time, because nobody drives it."""


class Desk:
    """Takes calls for a network.

    Args:
        mailbox: of the network's poller; used by nothing else.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def do(self, call: Callable[[], _T]) -> _T:
        """Let the network's thread make a call; returns or raises its result.

        A call that the network has not begun when its caller is cancelled is not made.

        Raises:
            StateError: the network has ended.
            UndrivenError: the network was not driven for ten seconds.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        result: list[_T] = []

        def make() -> None:
            if not answer.done():  # read only; the thread of HTTP may decide otherwise a moment later
                result.append(call())

        def settle(failure: BaseException | None) -> None:
            if answer.done():
                return
            if failure is not None:
                answer.set_exception(failure)
            elif result:
                answer.set_result(result[0])

        def done(failure: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, failure)
            except RuntimeError:
                pass  # the loop has been closed, and nobody waits

        self._mailbox.post(make, done)
        try:
            async with asyncio.timeout(WAIT):
                return await answer
        except TimeoutError:
            raise UndrivenError(
                f"the network took no request for {WAIT:g} s: the program that has it must poll it"
            ) from None

    def later(self, call: Callable[[], object]) -> None:
        """Let the network's thread make a call soon, if it still runs; nobody waits for it."""
        try:
            self._mailbox.post(call, _forget)
        except StateError:
            pass  # it has ended, and holds nothing any more


def _forget(failure: BaseException | None) -> None:
    """Callback for a result that nobody waits for."""
