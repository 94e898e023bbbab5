"""Counters for Prometheus, in the OpenMetrics text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from slirpy._version import __version__
from slirpy.control.subject import Subject
from slirpy.stack import Stack
from slirpy.stats import Stats

__all__ = ["router"]


class _Snapshot(Collector):
    """The metrics of one moment."""

    def __init__(self, counters: dict[str, int], gauges: dict[str, Any]) -> None:
        self._counters = counters
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """See :class:`prometheus_client.registry.Collector`."""
        described = Stats.describe()
        for name, value in self._counters.items():
            if name.startswith("drop_"):
                continue
            yield CounterMetricFamily(f"slirpy_{name}", described[name], value=value)
        drops = CounterMetricFamily(
            "slirpy_dropped", "packets and frames that were dropped, by reason", labels=["reason"]
        )
        for name, value in self._counters.items():
            if name.startswith("drop_"):
                drops.add_metric([name.removeprefix("drop_")], value)
        yield drops
        flows = GaugeMetricFamily("slirpy_flows", "flows, by protocol", labels=["protocol"])
        for protocol, count in self._gauges["flows"].items():
            flows.add_metric([protocol], count)
        yield flows
        for name, text in (
            ("links", "links to guests"),
            ("leases", "DHCP leases"),
            ("forwards", "host forwards"),
        ):
            yield GaugeMetricFamily(f"slirpy_{name}", text, value=self._gauges[name])
        version = GaugeMetricFamily("slirpy_build", "version of slirpy", labels=["version"])
        version.add_metric([__version__], 1)
        yield version


def router(subject: Subject) -> APIRouter:
    """The path of metrics."""
    routes = APIRouter(tags=["metrics"])

    @routes.get(
        "/metrics",
        operation_id="metrics",
        response_class=Response,
        responses={200: {"content": {"application/openmetrics-text": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """Show all counters in the OpenMetrics text format, for Prometheus."""
        counters, gauges = await subject.do(lambda: _look(subject))
        text: bytes = generate_latest(_Snapshot(counters, gauges))  # type: ignore[no-untyped-call] # no annotations
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return routes


def _look(subject: Subject) -> tuple[dict[str, int], dict[str, Any]]:
    network = subject.network
    gauges: dict[str, Any] = {"flows": {}, "links": len(network.ports), "leases": 0, "forwards": 0}
    if isinstance(network, Stack):
        gauges["flows"] = network.flow_counts()
        gauges["leases"] = len(network.leases())
        gauges["forwards"] = len(network.hostfwds())
    return network.stats.as_dict(), gauges
