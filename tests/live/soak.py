#!/usr/bin/env python3
"""A soak of the server, on demand: `tests/live/soak.py [MINUTES]` (CAUSEWAY_BIN: the program).

Clients of every transport do everything at once and are killed in the middle of it, allocations expire, pairs are reset,
nonsense comes in, and every second the configuration is loaded anew with other rules. Memory must stay flat;
when all clients are gone, the descriptors are those of the start, every limit is free again, and the server ends in
good order. The exit status says whether all of this held.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from case import credential
from server import PASSWORD, USER, CausewayServer, Options
from turnclient import Address, Client, Message, Method, TcpAllocation, UdpAllocation, end_writing

CHILDREN = 12
PEER_IP = "127.0.0.2"
CONNECTIONS, ALLOCATIONS = 600, 600
SILENCE_S = 40.0  # a DTLS association, which has no descriptor, is given up by then
SETTLE_S = 80.0  # and every control connection has been asked for its allocation
GROWTH_KIB = 4 * 1024
CONFIG = f"""user = {{ "{USER}:{PASSWORD}" }}
lifetime = "2s"
lifetime-max = "4s"
max-connections-per-source = {CONNECTIONS}
max-allocations-per-source = {ALLOCATIONS}
"""
RULES = ('allow-peer = { "127.0.0.0/8" }\n',) * 3 + ('allow-peer = { "127.0.0.3" }\n', "nonsense\n")


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def udp_relay(server: Address, kind: str) -> None:
    """A UDP allocation with permission and channel; released, left to expire, or dropped."""
    allocation = UdpAllocation(server, kind=kind, credential=credential())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((PEER_IP, 0))
        allocation.permit(PEER_IP)
        if random.random() < 0.7:
            allocation.bind_channel(0x4000 + random.randrange(200), peer.getsockname())
        for _ in range(random.randrange(100)):
            allocation.send(peer.getsockname(), os.urandom(random.randrange(1200)))
            peer.sendto(os.urandom(random.randrange(1200)), allocation.relayed)
        time.sleep(random.choice((0, 0, 0.1, 3)))
    if random.random() < 0.3:
        allocation.release()
    allocation.close()


def tcp_pairs(server: Address, kind: str) -> None:
    """Pairs both ways round, each ended in another way; some peers are never bound."""
    allocation = TcpAllocation(server, kind=kind, credential=credential())
    allocation.permit(PEER_IP)
    for _ in range(random.randrange(1, 5)):
        if random.random() < 0.5:
            with socket.create_server((PEER_IP, 0)) as listener:
                number = allocation.connect_id(listener.getsockname()[:2])
                peer, _ = listener.accept()
        else:
            peer = socket.create_connection(allocation.relayed, 10, source_address=(PEER_IP, 0))
            number = (allocation.wait_attempt() or ((), 0))[1]
        if random.random() < 0.2:
            random.choice((reset, socket.socket.close))(peer)
            continue
        one_pair(allocation.bind(number), peer)
    if random.random() < 0.3:
        allocation.release()
    allocation.close()


def one_pair(client: socket.socket, peer: socket.socket) -> None:
    """Bytes both ways, read or not, and an end."""
    ends = [client, peer]
    random.shuffle(ends)
    feeder = threading.Thread(target=feed, args=(ends[0], os.urandom(random.randrange(1 << 20))))
    feeder.start()
    ends[1].settimeout(1)
    for _ in range(random.randrange(20)):
        if not ends[1].recv(65536):
            break
    action = random.choice((reset, end_writing, lambda sock: None, lambda sock: sock.close()))
    action(ends[1])
    feeder.join()
    for sock in ends:
        sock.close()


def feed(sock: socket.socket, data: bytes) -> None:
    """Send, whatever comes of it."""
    try:
        sock.settimeout(1)
        sock.sendall(data)
    except (OSError, ValueError):
        pass


def stranger(server: Address, kind: str) -> None:
    """Requests without credentials, halves of messages, nonsense, or silence."""
    with Client.open(server, kind) as client:
        pieces = (bytes(Message(Method.ALLOCATE)), os.urandom(50), bytes(Message(Method.BINDING))[:10],
                  b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"\x40\x00\xff\xff" + bytes(3000))
        for _ in range(random.randrange(20)):
            client.transport.send(random.choice(pieces))
        time.sleep(random.random())


def child(server: Address) -> None:
    """Does one thing after the other until it is killed."""
    random.seed()
    deeds: tuple[tuple[Callable[[Address, str], None], tuple[str, ...]], ...] = (
        (udp_relay, ("udp", "udp", "tcp", "tls", "dtls")), (tcp_pairs, ("tcp", "tls")),
        (stranger, ("udp", "tcp", "tls", "dtls")))
    while True:
        deed, kinds = random.choice(deeds)
        try:
            deed(server, random.choice(kinds))
        except Exception:  # pylint: disable=broad-exception-caught; rules change and servers refuse: that is the point
            time.sleep(0.01)


def spawn(server: Address) -> int:
    """A child in a group of its own, with the openssl programs that it starts."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        child(server)
    return pid


def kill(pid: int) -> None:
    """Kill a child and what it has started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def run(server: CausewayServer, minutes: float) -> list[int]:
    """The load; the resident memory each second, in KiB."""
    children = [spawn(server.address()) for _ in range(CHILDREN)]
    memory = []
    end = time.monotonic() + minutes * 60
    try:
        while time.monotonic() < end and server.is_alive():
            for _ in range(4):
                time.sleep(0.25)
                place = random.randrange(CHILDREN)
                kill(children[place])
                children[place] = spawn(server.address())
            server.reload(CONFIG + random.choice(RULES))
            if server.is_alive():
                memory.append(server.memory_kib())
            if len(server.lines) > 100_000:
                del server.lines[:50_000]
    finally:
        for pid in children:
            kill(pid)
    return memory


def is_sanitized() -> bool:
    """Whether the program is built with a sanitizer, which hoards memory."""
    program = Path(CausewayServer.program()).read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


def all_is_free(server: CausewayServer) -> list[str]:
    """What is still counted although all clients are gone."""
    clients, left = [], []
    try:
        for _ in range(CONNECTIONS):
            clients.append(Client.open(server.address(), "tcp"))
            clients[-1].binding()
    except (OSError, RuntimeError) as error:
        left.append(f"only {len(clients)} of {CONNECTIONS} connections: {error}")
    for client in clients:
        client.close()
    allocations = []
    try:
        for _ in range(ALLOCATIONS):
            allocations.append(UdpAllocation(server.address(), kind="udp", credential=credential(), lifetime=60))
    except Exception as error:  # pylint: disable=broad-exception-caught; whatever it is, it belongs into the report
        left.append(f"only {len(allocations)} of {ALLOCATIONS} allocations: {error}")
    for allocation in allocations:
        allocation.release()
    return left


def main() -> int:
    """Soak, settle, count."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    server = CausewayServer(Options(config=CONFIG + RULES[0], users={}, allow=(), workers=2)).start()
    descriptors = server.descriptors()
    memory = run(server, minutes)
    faults = []
    print("memory KiB", memory[:: max(1, len(memory) // 20)])
    server.reload(CONFIG.replace('"4s"', '"60s"').replace('"2s"', '"60s"') + RULES[0])
    time.sleep(SILENCE_S)
    settled = time.monotonic() + SETTLE_S - SILENCE_S
    while server.is_alive() and server.descriptors() > descriptors and time.monotonic() < settled:
        time.sleep(1)
    if not server.is_alive():
        print(server.tail(60))
        faults.append(f"the server has ended with status {server.wait()}")
    else:
        later = memory[len(memory) // 2 :]
        if not is_sanitized() and later and max(later[-10:]) - max(later[:10]) > GROWTH_KIB:
            faults.append(f"memory grew from {max(later[:10])} to {max(later[-10:])} KiB")
        if server.descriptors() > descriptors:
            faults.append(f"{server.descriptors()} descriptors, {descriptors} at the start")
        faults += all_is_free(server)
        server.signal(signal.SIGTERM)
        status = server.wait(30)
        if status:
            faults.append(f"exit status {status}: {server.tail(60)}")
    server.stop()
    faults += [line for line in server.lines if "ERROR: " in line or "WARNING: ThreadSanitizer" in line or "runtime error" in line]
    print("\n".join(faults) or f"nothing left behind; {descriptors} descriptors as at the start")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
