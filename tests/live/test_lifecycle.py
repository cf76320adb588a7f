"""How the server starts, what it says, how it refuses to start, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from case import causeway_only
from server import OTHER_PASSWORD, PASSWORD, CausewayServer, Options, StartError, is_there
from stream import ends, pattern
from turnclient import (
    Address, Allocation, Client, Credential, Message, Method, TcpAllocation, UdpAllocation, allocate_request, value,
)


@causeway_only
@unittest.skipUnless(is_there(), "no server program: build it or set CAUSEWAY_BIN")
class LifeTest(unittest.TestCase):
    """Each test has servers of its own."""

    def start(self, **options) -> CausewayServer:
        """A running server."""
        server = CausewayServer(Options(**options)).start()
        self.addCleanup(server.stop)
        return server

    def refused(self, **options) -> StartError:
        """The server must not start: exit status 2."""
        with self.assertRaises(StartError) as caught:
            CausewayServer(Options(**options)).start().stop()
        self.assertEqual(caught.exception.status, 2, caught.exception.output)
        return caught.exception


class Starting(LifeTest):
    """From the command line to `ready`."""

    def test_ready_comes_once_and_then_it_serves(self):
        server = self.start()
        self.assertEqual(server.lines.count("ready"), 1)
        for kind in ("udp", "tcp", "tls", "dtls"):
            with Client.open(server.address(), kind) as client:
                client.binding()

    def test_events_are_json(self):
        server = self.start()
        with UdpAllocation(server.address(), "alice", PASSWORD, kind="udp") as relay:
            relay.release()
        self.assertIsNotNone(server.wait_event("allocation ended"))
        made = server.wait_event("allocation made")
        self.assertEqual(made["user"], "alice")
        self.assertEqual(made["session"], server.wait_event("allocation ended")["session"])
        self.assertRegex(made["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")

    def test_text_log(self):
        server = self.start(log="text")
        with UdpAllocation(server.address(), "alice", PASSWORD, kind="udp"):
            end = time.monotonic() + 10
            while "allocation made" not in server.output and time.monotonic() < end:
                time.sleep(0.05)
        self.assertIn("allocation made", server.output)
        self.assertNotIn('{"time"', server.output)

    def test_secrets_do_not_show(self):
        server = self.start(secret="north-pole")
        for path in ("cmdline", "environ"):
            shown = Path(f"/proc/{server.process.pid}/{path}").read_bytes()
            for secret in (PASSWORD, OTHER_PASSWORD, "north-pole"):
                self.assertNotIn(secret.encode(), shown)
                self.assertNotIn(secret, server.output)

    def test_generated_credential(self):
        server = self.start(users={})
        found = re.search(r"^credential\s+([^\s:]+):(\S+)", server.output, re.MULTILINE)
        self.assertIsNotNone(found, server.output)
        with UdpAllocation(server.address(), found[1], found[2], kind="udp") as relay:
            self.assertGreater(relay.lifetime, 0)
        with Client.open(server.address(), "udp", Credential(found[1], "wrong")) as client:
            self.assertEqual(client.try_call(allocate_request(value.UDP)).code, 401)

    def test_never_anonymous(self):
        server = self.start(users={})
        for kind in ("udp", "tcp"):
            with Client.open(server.address(), kind) as client:
                for method in (Method.ALLOCATE, Method.CONNECTION_BIND):
                    self.assertEqual(client.request(Message(method)).code, 401)

    def test_state_is_private(self):
        server = self.start(users={})
        state = server.folder / "state"
        self.assertEqual(state.stat().st_mode & 0o077, 0)
        for path in state.iterdir():
            if path.suffix != ".crt":  # a certificate is public
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_gives_up_root(self):
        if os.geteuid() != 0:
            self.skipTest("not started as root")
        server = self.start()
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        uids = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)[1].split()
        self.assertNotIn("0", uids)
        self.assertRegex(status, r"NoNewPrivs:\s+1")
        self.assertRegex(status, r"CapEff:\s+0000000000000000")

    def test_self_test_says_ok(self):
        server = self.start(allow=(), self_test=True)
        end = time.monotonic() + 30
        while not (said := [line for line in server.lines if line.startswith("self-test")]) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertTrue(said, server.output)
        self.assertIn("ok", said[0])

    def test_workers(self):
        for workers in (1, 4):
            server = self.start(workers=workers)
            with UdpAllocation(server.address(), "alice", PASSWORD, kind="tcp") as relay:
                relay.refresh()

    def test_configuration_file(self):
        config = ('realm = "file.example"\nuser = { "carol:from-the-file" }\nallow-peer = { "127.0.0.0/8" }\n'
                  "max-allocations-per-user = 2\n")
        server = CausewayServer(Options(config=config, users={}, allow=(), realm="file.example")).start()
        self.addCleanup(server.stop)
        with UdpAllocation(server.address(), "carol", "from-the-file", kind="udp") as relay:
            relay.permit("127.0.0.2")
            self.assertEqual(relay.credential.realm, "file.example")


class Refusing(LifeTest):
    """Exit status 2, the place, the reason."""

    def test_config_errors_name_the_line(self):
        for text, line in (('realm = "x"\n\nallow-peer = { "10.0.0.0/33" }\n', 3),
                           ('# comment\ndeny-peer = { "300.1.2.3" }\n', 2), ('realm = "x"\nno-such-option = 1\n', 2),
                           ('workers = 2\nrealm = "unclosed\n', 2), ("\n\n\nmax-allocations = many\n", 4),
                           ('allow-peer = { "10.0.0.0/8",\n"10.0.0.1/8/9" }\n', None)):
            with self.subTest(text=text):
                error = self.refused(config=text, allow=())
                wanted = rf"causeway\.conf:{line}:" if line else r"causeway\.conf:\d+:"
                self.assertRegex(error.output, wanted)

    def test_every_mistake_is_named(self):
        error = self.refused(config='allow-peer = { "x" }\ndeny-peer = { "y" }\n', allow=())
        self.assertRegex(error.output, r"causeway\.conf:1:")
        self.assertRegex(error.output, r"causeway\.conf:2:")

    def test_flags(self):
        for extra in (("--allow-peer", "10.0.0.0/99"), ("--deny-peer", "10.0.0"), ("--no-such-flag",),
                      ("--user", "nocolon"), ("--relay-ports", "50000-40000"), ("--relay-ports", "80-90"),
                      ("--workers", "many"),
                      ("--listen", "ftp://127.0.0.1:1"), ("--listen", "127.0.0.1:99999"), ("--relay-ip", "somewhere"),
                      ("--cert", "/nonexistent"), ("--log", "xml"), ("stray",)):
            with self.subTest(extra=extra):
                error = self.refused(extra=extra)
                self.assertIn(extra[0].lstrip("-"), error.output)

    def test_config_file_missing(self):
        self.assertIn("/nonexistent.conf", self.refused(extra=("-c", "/nonexistent.conf")).output)

    def test_certificate_without_meaning(self):
        server = CausewayServer()
        for name in ("cert", "key"):
            (server.folder / name).write_text("this is no PEM\n")
        server.options = Options(extra=("--cert", str(server.folder / "cert"), "--key", str(server.folder / "key")))
        with self.assertRaises(StartError) as caught:
            server.start().stop()
        self.assertEqual(caught.exception.status, 2)

    def test_port_in_use(self):
        first = self.start()
        second = CausewayServer()
        second.port = first.port
        with self.assertRaises(StartError) as caught:
            second.start().stop()
        self.assertEqual(caught.exception.status, 1)
        self.assertIn(str(first.port), caught.exception.output)

    def test_secrets_stay_out_of_complaints(self):
        error = self.refused(extra=("--user", "x:top-secret-1", "--secret", "top-secret-2", "--workers", "many"))
        self.assertNotIn("top-secret", error.output)

    def test_conf_agrees(self):
        path = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="causeway-conf-"))) / "causeway.conf"
        for text, status in (('realm = "x"\n', 0), ('realm = \n', 2)):
            path.write_text(text)
            done = subprocess.run([CausewayServer.program(), "conf", "-c", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, status, done.stderr)


class Ending(LifeTest):
    """SIGTERM drains, a second one ends at once, the exit status is 0."""

    def test_idle_server_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.start()
            server.signal(number)
            self.assertEqual(server.wait(10), 0)

    def test_drain(self):
        server = self.start()
        with UdpAllocation(server.address(), "alice", PASSWORD, kind="tcp") as relay:
            relay.permit("127.0.0.2")
            self.drain(server, relay)
            peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(peer.close)
            peer.bind(("127.0.0.2", 0))
            peer.settimeout(10)
            relay.send(peer.getsockname(), b"still relayed")
            self.assertEqual(peer.recv(100), b"still relayed")
            self.assertGreater(relay.refresh(), 0)
            self.assert_no_new_ones(server)
            self.assertTrue(server.is_alive())
        self.assertEqual(server.wait(20), 0)

    def drain(self, server: CausewayServer, relay: Allocation) -> None:
        """SIGTERM, when the server has surely counted the allocation."""
        relay.refresh()
        server.signal(signal.SIGTERM)
        self.assertIsNotNone(server.wait_event("draining"))

    def assert_no_new_ones(self, server: CausewayServer) -> None:
        """New allocations are refused, or new clients not even heard."""
        for kind in ("udp", "tcp"):
            try:
                with Client.open(server.address(), kind, Credential("alice", PASSWORD)) as client:
                    self.assertIn(client.try_call(allocate_request(value.UDP), 2).code, (300, 486, 508))
            except Exception as error:  # noqa: BLE001: refused, closed or silent, all are fine
                self.assertNotIsInstance(error, AssertionError, error)

    def test_second_signal_ends_the_drain(self):
        server = self.start()
        with UdpAllocation(server.address(), "alice", PASSWORD, kind="udp") as relay:
            self.drain(server, relay)
            self.assertTrue(server.is_alive())
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(10), 0)

    def test_grace_time(self):
        server = self.start(extra=("--drain", "2s"))
        with UdpAllocation(server.address(), "alice", PASSWORD, kind="tcp") as relay:
            began = time.monotonic()
            self.drain(server, relay)
            self.assertEqual(server.wait(20), 0)
            self.assertGreater(time.monotonic() - began, 1)
            self.assertTrue(ends(relay.client.transport.sock))

    def test_data_in_flight_survives_the_drain(self):
        server = self.start()
        listener = socket.create_server(("127.0.0.2", 0))
        self.addCleanup(listener.close)
        with TcpAllocation(server.address(), "alice", PASSWORD) as relay:
            sock = relay.connect(listener.getsockname())
            peer, _ = listener.accept()
            self.drain(server, relay)
            want = pattern(300_000)
            sock.sendall(want)
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while data := peer.recv(65536):
                got += data
            self.assertEqual(len(got), len(want))
            peer.close()
            sock.close()
        self.assertEqual(server.wait(20), 0)

    def test_nothing_is_left_in_the_log_unparsed(self):
        server = self.start()
        with Client.open(server.address(), "udp") as client:
            client.request(allocate_request(value.UDP))
        server.signal(signal.SIGTERM)
        server.wait()
        for line in server.lines:
            if line.startswith("{"):
                json.loads(line)
        self.assertIsNotNone(server.wait_event("server stopped", 0))


class EveryAddress(LifeTest):
    """--listen with a wildcard."""

    def test_answers_come_from_the_address_that_was_asked(self):
        server = CausewayServer(Options(hosts=("0.0.0.0",)))
        server.start()
        self.addCleanup(server.stop)
        for ip in ("127.0.0.1", "127.0.0.7"):
            with UdpAllocation(Address(ip, server.port), "alice", PASSWORD, kind="udp") as relay:
                self.assertEqual(relay.relayed.ip, ip)
