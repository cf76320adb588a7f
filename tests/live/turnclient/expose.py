"""Offer a local TCP service at a relayed address: the sharing side of a desktop behind a NAT."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading

from .allocation import TcpAllocation
from .client import NoAnswer, Refused
from .transport import Closed
from .value import Address

CHUNK = 65536


class Tally:
    """Bytes carried, over all connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.numbers = {"connections": 0, "to_peer": 0, "from_peer": 0}

    def add(self, name: str, count: int) -> None:
        """Count."""
        with self._lock:
            self.numbers[name] += count


def copy_until_end(source: socket.socket, sink: socket.socket, tally: Tally, name: str) -> None:
    """Copy one direction, then pass its end on as a half-close."""
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
            tally.add(name, len(data))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for sock in (source, sink):
            sock.close()


def join(relay: socket.socket, service: socket.socket, tally: Tally) -> None:
    """Carry bytes both ways until both directions have ended."""
    relay.settimeout(None)
    service.settimeout(None)
    with relay, service:
        back = threading.Thread(target=copy_until_end, args=(relay, service, tally, "from_peer"), daemon=True)
        back.start()
        copy_until_end(service, relay, tally, "to_peer")
        back.join()


def serve_attempt(allocation: TcpAllocation, connection_id: int, target: Address, tally: Tally) -> None:
    """Bind one waiting peer and lead it to the service; the peer is left waiting when the service is away."""
    try:
        service = socket.create_connection(target)
    except OSError as error:
        print(f"expose: {target}: {error}", file=sys.stderr)
        return
    try:
        relay = allocation.bind(connection_id)
    except (Refused, NoAnswer, Closed, OSError) as error:
        print(f"expose: bind {connection_id:#x}: {error}", file=sys.stderr)
        service.close()
        return
    tally.add("connections", 1)
    join(relay, service, tally)


class Stopped(Exception):
    """A signal asked for the end."""


def _stop(number: int, _frame: object) -> None:
    raise Stopped(number)


def expose(server: Address, user: str, password: str, permit: list[str], target: Address) -> int:
    """Run until SIGTERM or SIGINT, or until the server goes away (exit status 1)."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    tally = Tally()
    status = 0
    try:
        with TcpAllocation(server, user, password) as allocation:
            allocation.permit(*permit)
            print(f"relayed {allocation.relayed}", flush=True)
            while True:
                attempt = allocation.wait_attempt(timeout=1.0)
                if attempt:
                    arguments = (allocation, attempt[1], target, tally)
                    threading.Thread(target=serve_attempt, args=arguments, daemon=True).start()
                allocation.keep()
    except Stopped:
        pass
    except (Refused, NoAnswer, Closed, OSError) as error:
        print(f"expose: {error}", file=sys.stderr)
        status = 1
    print(json.dumps(tally.numbers), flush=True)
    return status
