"""Quotas, caps and rates (checklist S26 to S29, S42 to S49).

Refused with the right code, given back at the end; bytes of streams are delayed, never lost.
"""

from __future__ import annotations

import shutil
import socket
import time
import unittest

from case import LiveTest, causeway_only, credential
from pairing import ByAttempt, ByConnect, Pairing, load_concrete
from server import OTHER, USER, Options
from stream import MB, Reader, Sender, describe, ends, pattern
from turnclient import (
    At, Client, Message, Method, NoAnswer, TcpAllocation, allocate_request, bind_request, peer_request, value,
)

RETURN_S = 10.0


class LimitTest(LiveTest):
    """Helper: allocations until one is refused."""

    def allocate(self, user: str = USER, kind: str = "udp", protocol: int = value.UDP,
                 source: str = "") -> tuple[Client, int]:
        """A client and the code of its Allocate."""
        client = self.client(kind, user, source)
        return client, client.try_call(allocate_request(protocol)).code

    def fill(self, count: int, **how) -> list[Client]:
        """So many allocations, all granted."""
        clients = []
        for number in range(count):
            client, code = self.allocate(**how)
            self.assertEqual(code, 0, f"allocation {number + 1} of {count}")
            clients.append(client)
        return clients

    def release(self, client: Client) -> None:
        """Give an allocation back."""
        client.call(Message(Method.REFRESH).add(At.LIFETIME, value.u32(0)))
        client.close()

    def assert_soon_allowed(self, **how) -> Client:
        """An allocation is granted within a few seconds."""
        end = time.monotonic() + RETURN_S
        while True:
            client, code = self.allocate(**how)
            if not code or time.monotonic() > end:
                self.assertEqual(code, 0, "the quota was not given back")
                return client
            time.sleep(0.1)


class PerUser(LimitTest):
    """486 Allocation Quota Reached (RFC 8656 s.7.2)."""

    options = Options(limits={"max-allocations-per-user": 3})

    def test_486_for_this_user_alone(self):
        clients = self.fill(3)
        self.assertEqual(self.allocate()[1], 486)
        self.assertEqual(self.allocate(kind="tcp", protocol=value.TCP)[1], 486)
        other, code = self.allocate(user=OTHER)
        self.assertEqual(code, 0)
        for client in (*clients, other):
            self.release(client)

    def test_released_ones_count_no_more(self):
        for _ in range(4):
            for client in self.fill(3):
                self.release(client)

    def test_closed_tcp_connections_count_no_more(self):
        for _ in range(3):
            clients = [self.assert_soon_allowed(kind="tcp", protocol=value.TCP) for _ in range(3)]
            self.assertEqual(self.allocate()[1], 486)
            for client in clients:
                client.close()
        self.assert_soon_allowed(kind="tcp").close()

    def test_refused_ones_cost_nothing(self):
        clients = self.fill(3)
        for _ in range(20):
            client, code = self.allocate()
            self.assertEqual(code, 486)
            client.close()
        for client in clients:
            self.release(client)
        for client in self.fill(3):
            self.release(client)

    def test_failing_requests_cost_nothing(self):
        for _ in range(5):
            client = self.client()
            self.assert_code(client.try_call(allocate_request(99)), 442)
            self.assert_code(client.try_call(allocate_request(value.UDP).add(At.RESERVATION_TOKEN, bytes(8))), 508)
        for client in self.fill(3):
            self.release(client)


class InTotal(LimitTest):
    """508 (or 486) when the server is full."""

    options = Options(limits={"max-allocations": 4})

    def test_full_and_free_again(self):
        for _ in range(2):
            clients = self.fill(2) + self.fill(2, user=OTHER)
            for user in (USER, OTHER):
                self.assertIn(self.allocate(user)[1], (486, 508))
            for client in clients:
                self.release(client)


@causeway_only
class PerSource(LimitTest):
    """Quotas of one address."""

    options = Options(limits={"max-allocations-per-source": 3, "max-connections-per-source": 6})

    def test_allocations(self):
        clients = self.fill(2, source="127.0.0.5") + self.fill(1, source="127.0.0.5", user=OTHER)
        self.assertEqual(self.allocate(source="127.0.0.5", user=OTHER)[1], 486)
        other, code = self.allocate(source="127.0.0.6")
        self.assertEqual(code, 0)
        for client in (*clients, other):
            self.release(client)

    def test_connections(self):
        socks = [socket.create_connection(self.server.address(), 5, source_address=("127.0.0.7", 0)) for _ in range(6)]
        for sock in socks:
            self.addCleanup(sock.close)
        time.sleep(0.3)
        try:
            with socket.create_connection(self.server.address(), 5, source_address=("127.0.0.7", 0)) as seventh:
                self.assertTrue(ends(seventh, 5), "a seventh connection is kept")
        except ConnectionError:
            pass
        with Client.open(self.server.address(), "tcp", source="127.0.0.8") as other:
            other.binding()
        for sock in socks:
            sock.close()
        time.sleep(0.5)
        with Client.open(self.server.address(), "tcp", source="127.0.0.7") as again:
            again.binding()


@causeway_only
class PerAllocation(LimitTest):
    """Caps on what one allocation holds."""

    options = Options(limits={"max-permissions": 5, "max-channels": 4, "max-connections-per-allocation": 3})

    def test_permissions(self):
        relay = self.udp(permit=tuple(f"127.0.0.{n}" for n in range(2, 7)))
        self.assertEqual(relay.try_permit("127.0.0.99"), 508)
        relay.permit("127.0.0.2", "127.0.0.3")  # refreshing is always possible

    def test_channels(self):
        relay = self.udp(permit=())
        for number in range(4):
            relay.bind_channel(0x4000 + number, ("127.0.0.2", 1000 + number))
        self.assert_code(relay.try_bind_channel(0x4010, ("127.0.0.2", 2000)), 508)
        relay.bind_channel(0x4000, ("127.0.0.2", 1000))

    def test_connects(self):
        relay, listener = self.tcp(), [self.listener() for _ in range(4)]
        ids = [relay.connect_id(peer.getsockname()) for peer in listener[:3]]
        response = relay.client.try_call(peer_request(Method.CONNECT, listener[3].getsockname()))
        self.assertIn(response.code, (486, 508))
        sock = relay.bind(ids[0])  # binding needs no new place
        peer = self.accept(listener[0])
        sock.close()
        self.assertTrue(ends(peer))
        peer.close()
        end = time.monotonic() + RETURN_S
        request = peer_request(Method.CONNECT, listener[3].getsockname())
        while (code := relay.client.try_call(request).code) in (486, 508):
            self.assertLess(time.monotonic(), end, "the place was not given back")
            time.sleep(0.1)
        self.assertEqual(code, 0)

    def test_attempts(self):
        relay = self.tcp()
        for _ in range(3):
            self.dial(relay.relayed)
            self.assertIsNotNone(relay.wait_attempt())
        self.assertTrue(self.is_turned_away(relay.relayed), "one waiting peer too many")
        self.assertIsNone(relay.wait_attempt(0.3))


@causeway_only
class ConnectRate(LimitTest):
    """Connects per minute (checklist S45)."""

    options = Options(limits={"max-connects-per-minute": 12})

    def test_a_flood_is_refused(self):
        relay, listener = self.tcp(), self.listener()
        peer = listener.getsockname()
        listener.close()
        codes = [relay.client.try_call(peer_request(Method.CONNECT, peer)).code for _ in range(40)]
        self.assertEqual(set(codes[:6]), {447})
        self.assertTrue({486, 508, 403} & set(codes), f"forty Connects at once were all tried: {codes}")
        relay.refresh()
        self.assertEqual(self.tcp(OTHER).client.try_call(peer_request(Method.CONNECT, peer)).code, 447)


class Bandwidth(Pairing):
    """Bytes per second on RFC 6062 data: back-pressure, nothing lost."""

    RATE = 512 * 1024
    SIZE = 2 * MB
    options = Options(limits={"user-bandwidth": RATE})

    def measured(self, source: socket.socket, sink: socket.socket, size: int) -> float:
        """Carry `size` octets, whole; the seconds it took."""
        began = time.monotonic()
        want = pattern(size)
        reader = Reader(sink, size)
        sender = Sender(source, want)
        got, _ = reader.result()
        sender.join()
        self.assertEqual(describe(got, want), "")
        return time.monotonic() - began

    def test_both_directions(self):
        # a bucket may hold a second's worth, buffers of the kernel are not counted: half the time must have passed
        at_least = self.SIZE / self.RATE / 2
        relay = self.tcp()
        client, peer = self.joined(relay)
        self.assertGreater(self.measured(client, peer, self.SIZE), at_least)
        self.assertGreater(self.measured(peer, client, self.SIZE), at_least)

    def test_shared_by_connections(self):
        relay = self.tcp()
        pairs = [self.joined(relay) for _ in range(3)]
        began = time.monotonic()
        want = pattern(MB)
        readers = [Reader(peer, MB) for _, peer in pairs]
        for client, _ in pairs:
            Sender(client, want)
        for reader in readers:
            self.assertEqual(describe(reader.result()[0], want), "")
        self.assertGreater(time.monotonic() - began, 3 * MB / self.RATE / 2)

    def test_tail_and_end_arrive(self):
        relay = self.tcp()
        client, peer = self.joined(relay)
        want = pattern(2 * MB)
        Sender(client, want, client.close)
        reader = Reader(peer)
        got, how = reader.result()
        self.assertEqual((describe(got, want), how), ("", "end"))

    def test_control_connection_stays_prompt(self):
        relay = self.tcp()
        client, peer = self.joined(relay)
        Sender(client, pattern(2 * MB))
        Reader(peer, 2 * MB)
        began = time.monotonic()
        for _ in range(5):
            relay.refresh()
        self.assertLess(time.monotonic() - began, 3)


class BandwidthAfterConnect(Bandwidth, ByConnect):
    """By Connect."""


class BandwidthAfterAttempt(Bandwidth, ByAttempt):
    """By ConnectionAttempt."""


class UdpBandwidth(LimitTest):
    """Bytes per second on UDP relays: what is too much is dropped."""

    RATE = 100_000
    options = Options(limits={"user-bandwidth": RATE})

    def test_a_burst_is_cut(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.bind_channel(0x4000, peer.getsockname())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MB)
        for number in range(1000):
            relay.send_channel(0x4000, bytes(1000))
            if number % 20 == 0:
                time.sleep(0.001)
        received = 0
        peer.settimeout(0.5)
        try:
            while True:
                received += len(peer.recv(2000))
        except TimeoutError:
            pass
        self.assertGreater(received, 0)
        self.assertLess(received, 6 * self.RATE, "a megabyte at once passed a limit of 100 kB/s")


@causeway_only
class Strangers(LimitTest):
    """Unauthenticated answers have a budget for each source (checklist S27 to S29)."""

    RATE = 20
    options = Options(limits={"unauthenticated-answers": RATE})

    def answers(self, source: str, raw: bytes, count: int) -> int:
        """How many of so many datagrams are answered."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            sock.connect(self.server.address())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MB)
            for _ in range(count):
                sock.send(raw)
            sock.settimeout(0.4)
            found = 0
            try:
                while sock.recv(2000):
                    found += 1
            except TimeoutError:
                pass
            return found

    def test_a_flood_is_not_reflected(self):
        garbage = Message(Method.ALLOCATE).add(At.USERNAME, b"x").add(At.REALM, b"x").add(At.NONCE, b"x")
        for number, raw in enumerate((bytes(Message(Method.BINDING)), bytes(allocate_request(value.UDP)),
                                      bytes(garbage.add(At.MESSAGE_INTEGRITY, bytes(20))))):
            with self.subTest(number=number):
                found = self.answers(f"127.0.0.{20 + number}", raw, 3000)
                self.assertGreater(found, 0)
                self.assertLess(found, 20 * self.RATE)  # a burst of some seconds may pass
                self.assertLess(self.answers(f"127.0.0.{20 + number}", raw, 1000), 5 * self.RATE)
                with Client.open(self.server.address(), "udp", source="127.0.0.40") as other:
                    other.binding()

    def test_who_has_proven_himself_is_not_limited(self):
        relay = self.udp(source="127.0.0.30")
        self.answers("127.0.0.30", bytes(Message(Method.BINDING)), 500)
        began = time.monotonic()
        for _ in range(100):
            relay.refresh()
        self.assertLess(time.monotonic() - began, 10)

    def test_tcp_has_no_such_budget(self):
        client = self.client("tcp")
        for _ in range(200):
            client.binding()


@causeway_only
class GuessingIds(LimitTest):
    """Failed binds of one source do not starve the owner."""

    def test_owner_gets_through(self):
        relay, listener = self.tcp(), self.listener()
        connection_id = relay.connect_id(listener.getsockname())
        peer = self.accept(listener)
        guesser = TcpAllocation(self.server.address(), credential=credential(OTHER))
        self.addCleanup(guesser.close)
        guess = guesser.data_client()
        self.addCleanup(guess.close)
        for number in range(100):
            response = guess.try_call(bind_request(connection_id ^ number), 10)
            self.assertIn(response.code, (400, 441))
        with relay.bind(connection_id) as sock:
            sock.sendall(b"mine")
            self.assertEqual(peer.recv(10), b"mine")


@causeway_only
@unittest.skipUnless(shutil.which("prlimit"), "prlimit is not installed")
class FewDescriptors(LimitTest):
    """At the kernel's limit of open files: 508 or a refused connection, and everything else goes on (checklist S51)."""

    options = Options(prefix=("prlimit", "--nofile=64:64", "--"))

    def test_allocations(self):
        held, codes = [], set()
        for _ in range(100):
            client, code = self.allocate()
            codes.add(code)
            if code:
                break
            held.append(client)
        self.assertEqual(codes, {0, 508})
        with Client.open(self.server.address(), "udp") as other:
            other.binding()
        for client in held:
            client.call(Message(Method.REFRESH))
            self.release(client)
        self.release(self.assert_soon_allowed())

    def test_connections(self):
        held = []
        for _ in range(100):
            try:
                held.append(socket.create_connection(self.server.address(), 5))
            except ConnectionError:  # no room
                continue
            self.addCleanup(held[-1].close)
        with Client.open(self.server.address(), "udp") as other:
            other.binding()
        for sock in held:
            sock.close()
        self.release(self.assert_soon_allowed())
        end = time.monotonic() + RETURN_S
        while True:
            try:
                with Client.open(self.server.address(), "tcp") as client:
                    client.binding(2)
                return
            except (OSError, NoAnswer):
                self.assertLess(time.monotonic(), end, "no connection is accepted any more")

    def test_connects_and_attempts(self):
        relay, listener = self.tcp(), self.listener()
        codes = set()
        for _ in range(60):
            other = self.listener()
            codes.add(relay.client.try_call(peer_request(Method.CONNECT, other.getsockname())).code)
        self.assertLessEqual(codes, {0, 447, 486, 508})
        self.assertGreater(len(codes), 1, codes)
        relay.refresh(0)
        relay.close()
        again = self.tcp()
        with again.connect(listener.getsockname()) as sock:
            sock.sendall(b"works")
            self.assertEqual(self.accept(listener).recv(10), b"works")


def load_tests(loader, _tests, _pattern):
    """Leave the mix-ins out."""
    return load_concrete(loader, PerUser, InTotal, PerSource, PerAllocation, ConnectRate, BandwidthAfterConnect,
                         BandwidthAfterAttempt, UdpBandwidth, Strangers, GuessingIds, FewDescriptors)
