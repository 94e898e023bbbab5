"""Secrets of TLS connections."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from slirpy.testing import Network
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


def test_those_of_blocking_programs_are_logged() -> None:
    client, server = contexts()

    def serve() -> None:
        with socket.create_server(("0.0.0.0", 443)) as listening:
            connection = server.wrap_socket(listening.accept()[0], server_side=True)
            connection.sendall(connection.recv(100))
            connection.close()

    def ask() -> bytes:
        with client.wrap_socket(socket.create_connection(("server", 443))) as connection:
            connection.sendall(b"hello")
            return connection.recv(100)

    with Network() as net:
        net.host("server").run(serve)
        assert net.run(ask, on="client") == b"hello"
        net.run_for(1)
    assert len(net.tls_keys.text().splitlines()) == 1
