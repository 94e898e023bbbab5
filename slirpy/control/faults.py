"""Faults of links, while the network runs."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from slirpy.control.shapes import FaultSettings, FaultsRow, NewFaults
from slirpy.control.subject import Subject
from slirpy.links.faultypath import FaultCounters, Faults
from slirpy.units import SECOND

__all__ = ["Links", "router"]

_TIMES = ("delay", "jitter", "reorder_delay")
"""Fields in seconds here, and in nanoseconds in a :class:`~slirpy.links.Faults`."""

Links = Annotated[
    list[int] | None,
    Query(alias="link", max_length=100, description="Numbers of links; without any, all of them."),
]


def router(subject: Subject) -> APIRouter:
    """The paths of this part."""
    routes = APIRouter(tags=["faults"])
    taps = subject.taps

    @routes.get("/faults", response_model=FaultsRow, operation_id="faults")
    async def faults() -> JSONResponse:
        """List the faults of links that have some, with counters of the frames since their start."""
        return JSONResponse(await subject.do(look))

    @routes.put("/faults", response_model=FaultsRow, operation_id="set_faults")
    async def set_faults(body: NewFaults) -> JSONResponse:
        """Set the faults of links, or of all: loss, delay and so on, for each direction.

        They replace those that a link has. With faults, a link does not cut large frames itself, so that they hit
        single segments; connections that are open go on with large frames.
        """
        to_guest, from_guest = _faults(body.to_guest), _faults(body.from_guest)

        def change() -> dict[str, Any]:
            taps.set_faults(body.links, to_guest, from_guest, body.seed)
            return look()

        return JSONResponse(await subject.do(change))

    @routes.delete("/faults", response_model=FaultsRow, operation_id="clear_faults")
    async def clear_faults(link: Links = None) -> JSONResponse:
        """End the faults of links, or of all. Frames that they hold back are passed on at once."""

        def change() -> dict[str, Any]:
            taps.clear_faults(link)
            return look()

        return JSONResponse(await subject.do(change))

    def look() -> dict[str, Any]:
        return {
            "links": [
                {
                    "link": number,
                    "to_guest": _row(link.to_guest, link.to_guest_counters),
                    "from_guest": _row(link.from_guest, link.from_guest_counters),
                }
                for number, link in taps.faults()
            ]
        }

    return routes


def _faults(settings: FaultSettings) -> Faults:
    given = settings.model_dump()
    return Faults(**given | {name: round(given[name] * SECOND) for name in _TIMES})


def _row(faults: Faults, counters: FaultCounters) -> dict[str, Any]:
    settings = {field.name: getattr(faults, field.name) for field in fields(faults)}
    settings |= {name: settings[name] / SECOND for name in _TIMES}
    return {"faults": settings, "counters": asdict(counters)}
