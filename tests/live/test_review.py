"""What a reading of the server for its life on the internet has brought to light: one test for each fault."""

from __future__ import annotations

import signal
import socket
import time
import unittest
from pathlib import Path

from case import PEER_IP, LiveTest, causeway_only, credential
from server import CausewayServer, Options, StartError
from turnclient import Client, Dtls, Message, Method, TcpAllocation, allocate_request, value


@causeway_only
class Ending(LiveTest):
    """The end of the server while pairs carry data."""

    options = Options(workers=1)

    def test_pairs_end_with_the_server(self):
        server = CausewayServer(Options(workers=1)).start()
        self.addCleanup(server.stop)
        with TcpAllocation(server.address(), credential=credential()) as allocation:
            for _ in range(3):
                listener = self.listener()
                number = allocation.connect_id(listener.getsockname()[:2])
                self.accept(listener)
                self.addCleanup(allocation.bind(number).close)
            server.signal(signal.SIGTERM)
            self.assertTrue(server.wait_event("draining"))
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(10), 0)
        self.assertEqual(len(server.events("connection ended")), 3)
        self.assertEqual([e["reason"] for e in server.events("allocation ended")], ["server stopped"])


@causeway_only
class Starting(LiveTest):
    """A start without enough descriptors says so."""

    options = Options(workers=1)

    def test_few_descriptors(self):
        for files in range(10, 60, 3):
            options = Options(workers=4, prefix=("prlimit", f"--nofile={files}:{files}"))
            with self.subTest(files=files):
                try:
                    CausewayServer(options).start().stop()
                except StartError as error:
                    self.assertIn(error.status, (1, 2), error.output)
                    self.assertIn("Too many open files", error.output)


@causeway_only
class Strangers(LiveTest):
    """What a client costs that sends requests and reads no answer."""

    options = Options(workers=1)

    def sends(self, count: int) -> None:
        client = socket.socket()
        self.addCleanup(client.close)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(self.server.address())
        requests = b"".join(bytes(Message(Method.ALLOCATE)) for _ in range(1000))
        for _ in range(count // 1000):
            client.sendall(requests)

    def test_unread_answers(self):
        if self.server.is_sanitized() or b"__tsan_init" in Path(CausewayServer.program()).read_bytes():
            self.skipTest("a sanitizer hoards memory")
        self.sends(60_000)  # far more than the kernel keeps of the answers
        time.sleep(2)
        before, count = self.server.memory_kib(), 8
        for _ in range(count):
            self.sends(60_000)
        for _ in range(15):
            self.assertLess(self.server.memory_kib() - before, 100 * count, f"KiB for {count} strangers")
            time.sleep(0.3)


@causeway_only
@unittest.skipUnless(Dtls.is_available(), "no openssl program")
class Anew(LiveTest):
    """A DTLS client that was killed comes back at the same address (RFC 6347 s.4.2.8)."""

    options = Options(workers=1)

    def begin(self, port: int) -> Client:
        client = Client(Dtls(self.server.address(), "127.0.0.1", port), credential())
        self.addCleanup(client.close)
        client.call(allocate_request(value.UDP))
        return client

    def test_killed_client_comes_back(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        killed = self.begin(port)
        killed.transport._child.kill()
        killed.transport._child.wait()
        self.begin(port)
        self.assertTrue(self.server.wait_event("allocation ended", reason="control connection closed"))
