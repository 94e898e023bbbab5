"""Secrets of TLS connections."""

from __future__ import annotations

from pathlib import Path

import pytest

from slirpy.testing.sim.tlskeys import TlsKeys
from tests.unit.testing.sim.tls import contexts, handshake


def test_both_ends_log_the_same() -> None:
    keys = TlsKeys()
    client, server = contexts()
    for context in (client, server, client):
        keys.watch(context)
    assert keys.text() == ""
    handshake(client, server)
    lines = keys.text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("CLIENT_RANDOM ")
    handshake(client, server)
    assert len(keys.text().splitlines()) == 2


def test_closing_leaves_nothing_but_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    keys = TlsKeys()
    client, server = contexts()
    keys.watch(server)
    assert len(list(tmp_path.iterdir())) == 1
    handshake(client, server)
    keys.close()
    keys.close()
    assert list(tmp_path.iterdir()) == []
    assert getattr(server, "keylog_filename", "") is None
    assert keys.text().startswith("CLIENT_RANDOM ")
    handshake(client, server)
    assert len(keys.text().splitlines()) == 1


def test_a_log_of_the_programs_own_is_kept(tmp_path: Path) -> None:
    keys = TlsKeys()
    client, _ = contexts()
    client.keylog_filename = str(tmp_path / "own")
    keys.watch(client)
    keys.close()
    assert client.keylog_filename == str(tmp_path / "own")


def test_without_tls_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    keys = TlsKeys()
    assert keys.text() == ""
    keys.close()
    keys.watch(object())  # type: ignore[arg-type] # as a context of a Python whose OpenSSL has no key log
    assert list(tmp_path.iterdir()) == []
