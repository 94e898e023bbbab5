"""The HTML report of a simulated run in a real browser."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from slirpy.testing import Flow, Lose, Network
from tests.system.browser import browser

pytestmark = pytest.mark.system
Need = Callable[..., None]
LOG = logging.getLogger("fetch")
HOSTILE = "</script><img src=x onerror=alert(1)>"
"""Text of the log that a careless page would take for markup."""
ROW = "[...document.querySelectorAll('.row')]"
LOGGED = "[...document.querySelectorAll('#log div')]"


async def serve() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said " + await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", 80)
    await server.serve_forever()


async def fetch() -> None:
    LOG.info(HOSTILE)
    for _ in range(2):
        reader, writer = await asyncio.open_connection("server", 80)
        writer.write(b"hello\n")
        LOG.info("got %r", await reader.readline())
        writer.close()


def test_the_report(need: Need, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("chromium")
    monkeypatch.setattr(LOG, "level", logging.INFO)
    with Network(seed=1) as net:
        net.host("server").run(serve())
        net.host("client")
        net.inject(Lose(Flow("client", "server"), 1))
        net.run(fetch(), on="client")
        net.run_for(1)
        (path,) = net.report().save(tmp_path, "run", ["html"])
    with browser(tmp_path) as page:
        page.resize(1200, 900)
        page.open(path.as_uri())
        page.until("document.querySelector('#count')?.textContent.includes(' rows')")
        assert page.value("[...document.querySelectorAll('#names b')].map(each => each.textContent)") == [
            "server",
            "client",
        ]
        assert page.value("document.querySelector('header').innerText.includes('lose new segment 1')")
        assert page.value(f"document.querySelector('#log').innerText.includes({HOSTILE!r})")
        assert page.value("document.querySelector('.drawing:not([hidden]) svg').clientWidth") > 100

        rows = page.value("shown.length")
        page.value("document.querySelector('#trouble').click()")
        page.until(f"shown.length < {rows} && {ROW}.some(each => each.classList.contains('lost'))")
        page.value("document.querySelector('#trouble').click()")
        page.value("byId('connection').value = '1', filter()")
        assert page.value("shown.filter(row => row[2] >= 0).every(row => row[6] === 1)")
        assert page.value("document.querySelector('.drawing:not([hidden])').dataset.number") == "1"
        page.value("byId('connection').value = '', filter()")

        page.value(f"{LOGGED}.findLast(each => each.innerText.includes('you said')).click()")
        page.until("document.querySelector('.row.here .text').textContent.includes('you said hello')")
        page.value("document.querySelector('#hosts input').click()")
        page.until("shown.length && shown.every(row => row[1] !== 0 && row[2] !== 0)")

        page.resize(390, 844)
        assert page.value("document.documentElement.scrollWidth") <= 390
        loaded = page.value("performance.getEntriesByType('resource').map(each => each.name)")
        assert loaded == []
        assert page.problems == []
