"""Print what silent peers, late answers and early ends lead to on real sockets: the rest of docs/bugs.md."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import logging
import os
import shutil
import socket
import socketserver
import struct
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from dnslib import DNSRecord

from tests.sim.programs.failing import Failing
from tests.system.real_bugs import background, relay

PATIENCE = 6.0
"""Seconds; the timeouts that the programs are given have one or two."""


def silent() -> int:
    """Accept connections at the port that is returned, and never say a word."""
    server = socket.create_server(("127.0.0.1", 0))
    kept = []

    def accept() -> None:
        while True:
            kept.append(server.accept())

    background(accept)
    return int(server.getsockname()[1])


def amqtt_client(port: int) -> None:
    config = {"auto_reconnect": False, "connection_timeout": 1}
    asyncio.run(import_module("amqtt.client").MQTTClient(config=config).connect(f"mqtt://127.0.0.1:{port}/"))


def gmqtt_client(port: int) -> None:
    async def connect() -> None:
        await import_module("gmqtt").Client("me").connect("127.0.0.1", port, keepalive=1)

    asyncio.run(connect())


def paho_publish(port: int) -> None:
    import_module("paho.mqtt.publish").single(
        "topic", "on", qos=1, hostname="127.0.0.1", port=port, keepalive=1
    )


def stomp_py(port: int) -> None:
    connection = import_module("stomp").Connection([("127.0.0.1", port)], timeout=1)
    connection.connect("me", "secret", wait=False)
    connection.transport.wait_for_connection(timeout=1)


def py_mysql(port: int) -> None:
    import_module("pymysql").connect(host="127.0.0.1", port=port, connect_timeout=1)


def umodbus_client() -> Any:
    def read(slave_id: int, function_code: int, address: int) -> int:
        return address * 100

    tcp, servers = import_module("umodbus.client.tcp"), import_module("umodbus.server.tcp")
    server = servers.get_server(socketserver.TCPServer, ("127.0.0.1", 0), servers.RequestHandler)
    server.route(slave_ids=[1], function_codes=[3], addresses=[1, 2])(read)
    background(server.serve_forever)
    port = relay(server.server_address[1], lambda number, data: 0.5 if number == 1 else 0)
    connection = socket.create_connection(("127.0.0.1", port), timeout=0.2)
    with suppress(TimeoutError):
        tcp.send_message(tcp.read_holding_registers(1, 1, 1), connection)
    time.sleep(0.8)
    return tcp.send_message(tcp.read_holding_registers(1, 2, 1), connection)


def dnslib_client() -> str:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = server.accept()
        packet = DNSRecord.parse(connection.recv(1000)[2:]).reply().pack()
        connection.sendall(bytes([len(packet) >> 8]))
        time.sleep(0.2)
        connection.sendall(bytes([len(packet) & 0xFF]) + packet)

    background(answer)
    question = DNSRecord.question("example.org")
    try:
        return str(DNSRecord.parse(question.send("127.0.0.1", server.getsockname()[1], tcp=True)).q.qname)
    except struct.error as error:
        return str(error)


def urllib_client() -> int | str:
    server = http.server.HTTPServer(("127.0.0.1", 0), Failing)
    background(server.serve_forever)
    copy = io.BytesIO()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
        try:
            shutil.copyfileobj(answer, copy)
        except http.client.IncompleteRead as error:
            return type(error).__name__
    return len(copy.getvalue())


def waiting(*calls: Callable[[int], None]) -> dict[str, bool]:
    """Return whether each call still waits after :data:`PATIENCE`; they run side by side."""

    def run(call: Callable[[int], None]) -> None:
        with suppress(Exception):
            call(silent())

    threads = {call.__name__: threading.Thread(target=run, args=[call], daemon=True) for call in calls}
    for thread in threads.values():
        thread.start()
    time.sleep(PATIENCE)
    return {name: thread.is_alive() for name, thread in threads.items()}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    answers = {check.__name__: check() for check in (umodbus_client, dnslib_client, urllib_client)}
    print(
        json.dumps(answers | waiting(amqtt_client, gmqtt_client, paho_publish, stomp_py, py_mysql)), flush=True
    )
    os._exit(0)  # without waiting for the threads
