"""What a TCP relay carries arrives whole, both ways, whoever is early, slow or closes first (RFC 6062 s.5.4, s.5.5)."""

from __future__ import annotations

import socket
import time

from case import LiveTest
from pairing import ByAttempt, ByConnect, Pairing, load_concrete
from stream import MB, PATIENCE_S, Reader, Sender, describe, ends, is_silent, pattern, read_exactly, read_to_end
from turnclient import bind_request, end_writing, taken_socket

BULK = 6 * MB
EARLY = 3 * MB
REPEATS = 3


class StreamTests(Pairing):
    """The same rules over plain connections and over TLS, see `kind`."""

    kind = "tcp"

    def setUp(self) -> None:
        super().setUp()
        self.relay = self.tcp(kind=self.kind)

    def assert_whole(self, got: bytes, want: bytes) -> None:
        """Equal, or a short description of the difference."""
        self.assertEqual(describe(got, want), "")

    # before the bind

    def test_peer_sends_before_the_bind(self):
        peer, connection_id = self.waiting(self.relay)
        want = pattern(EARLY)
        sender = Sender(peer, want)
        time.sleep(0.5)  # so that more than any buffer's worth waits
        client = self.relay.bind(connection_id)
        self.addCleanup(client.close)
        self.assert_whole(read_exactly(client, EARLY), want)
        sender.join()
        client.sendall(b"and back")
        self.assertEqual(read_exactly(peer, 8), b"and back")

    def test_peer_sends_and_closes_before_the_bind(self):
        peer, connection_id = self.waiting(self.relay)
        want = pattern(100_000)
        peer.sendall(want)
        peer.close()
        time.sleep(0.3)
        client = self.relay.bind(connection_id)
        self.addCleanup(client.close)
        got, how = read_to_end(client)
        self.assert_whole(got, want)
        self.assertEqual(how, "end")

    def test_failed_binds_between_lose_nothing(self):
        peer, connection_id = self.waiting(self.relay)
        want = pattern(EARLY)
        Sender(peer, want)
        time.sleep(0.2)
        client = self.relay.data_client()
        self.addCleanup(client.close)
        wrong = self.relay.credential.copy()
        wrong.password = "wrong"
        for _ in range(3):
            self.assert_code(client.request(wrong.sign(bind_request(connection_id))), 401)
        client.call(bind_request(connection_id))
        self.assert_whole(read_exactly(taken_socket(client), EARLY), want)

    # behind the request

    def test_bytes_behind_the_bind_request(self):
        for size in (1, 1000, 16_000, 200_000):
            with self.subTest(size=size):
                peer, connection_id = self.waiting(self.relay)
                client = self.relay.data_client()
                self.addCleanup(client.close)
                want = pattern(size)
                request = client.signed(bind_request(connection_id))
                Sender(client.transport.sock, bytes(request) + want)
                self.assert_whole(read_exactly(peer, size, 10), want)

    def test_looks_like_stun_behind_the_bind(self):
        peer, connection_id = self.waiting(self.relay)
        client = self.relay.data_client()
        self.addCleanup(client.close)
        want = bytes(bind_request(connection_id)) + b"\x40\x00\x00\x04abcd" + bytes(bind_request(1))
        client.transport.send(bytes(client.signed(bind_request(connection_id))) + want)
        self.assert_whole(read_exactly(peer, len(want), 10), want)

    # bulk

    def test_bulk_both_ways_at_once(self):
        client, peer = self.joined(self.relay)
        up, down = pattern(BULK, 1), pattern(BULK, 2)
        if self.kind == "tls":  # one thread a TLS socket
            self.pump_by_turns(client, peer, up, down)
            return
        readers = Reader(client, BULK), Reader(peer, BULK)
        senders = Sender(client, up), Sender(peer, down)
        self.assert_whole(readers[0].result()[0], down)
        self.assert_whole(readers[1].result()[0], up)
        self.assertEqual([s.error for s in senders], [None, None])

    def pump_by_turns(self, client: socket.socket, peer: socket.socket, up: bytes, down: bytes) -> None:
        """Both directions, a piece at a time."""
        got_up, got_down = [], []
        for at in range(0, BULK, 65536):
            client.sendall(up[at : at + 65536])
            peer.sendall(down[at : at + 65536])
            got_up.append(read_exactly(peer, len(up[at : at + 65536])))
            got_down.append(read_exactly(client, len(down[at : at + 65536])))
        self.assert_whole(b"".join(got_up), up)
        self.assert_whole(b"".join(got_down), down)

    def test_small_pieces_arrive_at_once(self):
        client, peer = self.joined(self.relay)
        for number in range(200):
            word = b"%04d" % number
            client.sendall(word)
            self.assertEqual(read_exactly(peer, 4, 10), word)
            peer.sendall(word)
            self.assertEqual(read_exactly(client, 4, 10), word)

    # half-close and close

    def test_client_ends_its_direction(self):
        client, peer = self.joined(self.relay)
        client.sendall(b"last words")
        end_writing(client)
        self.assertEqual(read_to_end(peer, 10), (b"last words", "end"))
        want = pattern(MB)
        Sender(peer, want, peer.close)
        self.assert_whole(read_to_end(client)[0], want)

    def test_peer_ends_its_direction(self):
        client, peer = self.joined(self.relay)
        peer.sendall(b"last words")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(client, 10), (b"last words", "end"))
        want = pattern(MB)
        Sender(client, want, client.close)
        self.assert_whole(read_to_end(peer)[0], want)

    def test_half_closed_stays_open(self):
        client, peer = self.joined(self.relay)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(client, 10), (b"", "end"))
        time.sleep(1)
        client.sendall(b"still here")
        self.assertEqual(read_exactly(peer, 10, 10), b"still here")

    def test_client_closes_after_a_burst(self):
        for turn in range(REPEATS):
            with self.subTest(turn=turn):
                client, peer = self.joined(self.relay)
                want = pattern(BULK, turn)
                Sender(client, want, client.close)
                time.sleep(0.2)  # a slow reader: the tail waits in the relay
                got, how = read_to_end(peer)
                self.assert_whole(got, want)
                self.assertEqual(how, "end")

    def test_peer_closes_after_a_burst(self):
        for turn in range(REPEATS):
            with self.subTest(turn=turn):
                client, peer = self.joined(self.relay)
                want = pattern(BULK, turn)
                Sender(peer, want, peer.close)
                time.sleep(0.2)
                got, how = read_to_end(client)
                self.assert_whole(got, want)
                self.assertEqual(how, "end")

    def test_close_passes_through(self):
        for closer in ("client", "peer"):
            with self.subTest(closer=closer):
                client, peer = self.joined(self.relay)
                first, second = (client, peer) if closer == "client" else (peer, client)
                first.close()
                self.assertTrue(ends(second))


class StreamAfterConnect(StreamTests, ByConnect):
    """Plain, by Connect."""


class StreamAfterAttempt(StreamTests, ByAttempt):
    """Plain, by ConnectionAttempt."""


class StreamOverTls(StreamTests, ByAttempt):
    """The client's connections are TLS."""

    kind = "tls"


class BackPressure(ByConnect):
    """A peer's bytes are not read before they can be written."""

    def flood(self, source: socket.socket) -> int:
        """Send until nothing is taken for a second; how much was taken."""
        source.settimeout(1)
        piece, count = pattern(65536), 0
        try:
            while count < 64 * MB:
                count += source.send(piece)
        except TimeoutError:
            pass
        return count

    def assert_no_hoard(self, before_kib: int) -> None:
        """The server's memory has not grown by what a stream holds."""
        if not self.server.is_sanitized():
            self.assertLess(self.server.memory_kib() - before_kib, 8 * 1024, "the relay hoards bytes")

    def test_a_stalled_reader_stalls_the_sender(self):
        relay = self.tcp()
        for reader in ("peer", "client"):
            with self.subTest(stalled=reader):
                client, peer = self.joined(relay)
                before = self.server.memory_kib()
                taken = self.flood(client if reader == "peer" else peer)
                self.assertLess(taken, 48 * MB, "a stalled reader does not hold the sender back")
                self.assert_no_hoard(before)

    def test_a_stalled_reader_delays_nobody(self):
        relay = self.tcp()
        stalled_client, _stalled_peer = self.joined(relay)
        self.flood(stalled_client)
        client, peer = self.joined(relay)
        want = pattern(BULK)
        Sender(client, want)
        self.assertEqual(describe(read_exactly(peer, BULK), want), "")
        self.assert_joined(client, peer)

    def test_nothing_is_lost_in_a_stall(self):
        relay = self.tcp()
        client, peer = self.joined(relay)
        want = pattern(24 * MB)
        sender = Sender(client, want)
        time.sleep(1.5)
        self.assertEqual(describe(read_exactly(peer, len(want)), want), "")
        sender.join()
        self.assertIsNone(sender.error)

    def test_waiting_peer_is_not_read(self):
        relay = self.tcp()
        peer, _ = self.waiting(relay)
        before = self.server.memory_kib()
        self.assertLess(self.flood(peer), 48 * MB)
        self.assert_no_hoard(before)


class ManyPeers(LiveTest):
    """Several data connections of one allocation at once."""

    def test_each_gets_its_own_bytes(self):
        relay = self.tcp()
        listener = self.listener()
        peers, clients = {}, {}
        for number in range(12):
            if number % 2:
                peer = self.dial(relay.relayed)
                attempt = relay.wait_attempt()
                self.assertIsNotNone(attempt)
                peers[number], clients[number] = peer, relay.bind(attempt[1])
            else:
                other = listener if number == 0 else self.listener()
                clients[number] = relay.connect(other.getsockname())
                peers[number] = self.accept(other)
            self.addCleanup(clients[number].close)
        for number in clients:
            Sender(clients[number], pattern(MB, 2 * number))
            Sender(peers[number], pattern(MB, 2 * number + 1))
        up = {n: Reader(peers[n], MB) for n in peers}
        down = {n: Reader(clients[n], MB) for n in clients}
        for number in clients:
            self.assertEqual(describe(up[number].result()[0], pattern(MB, 2 * number)), "")
            self.assertEqual(describe(down[number].result()[0], pattern(MB, 2 * number + 1)), "")

    def test_attempts_before_any_bind(self):
        relay = self.tcp()
        waiting = {}
        for _ in range(6):
            peer = self.dial(relay.relayed)
            waiting[peer.getsockname()] = peer
        for _ in range(6):
            address, connection_id = relay.wait_attempt()
            peer = waiting.pop(tuple(address))
            with relay.bind(connection_id) as client:
                client.sendall(b"%d" % peer.fileno())
                self.assertEqual(peer.recv(10), b"%d" % peer.fileno())

    def test_one_closes_the_others_stay(self):
        relay = self.tcp()
        pairs = []
        for _ in range(4):
            listener = self.listener()
            client = relay.connect(listener.getsockname())
            self.addCleanup(client.close)
            pairs.append((client, self.accept(listener)))
        pairs[0][0].close()
        pairs[1][1].close()
        self.assertTrue(ends(pairs[0][1]) and ends(pairs[1][0]))
        for client, peer in pairs[2:]:
            self.assertTrue(is_silent(client, 0.1) and is_silent(peer, 0.1))
            client.sendall(b"on")
            self.assertEqual(peer.recv(9), b"on")


class RelayToRelay(LiveTest):
    """Two allocations of one server talk to each other."""

    def test_bulk_both_ways(self):
        left, right = self.tcp(permit=()), self.tcp(user="bob", permit=("127.0.0.1",))
        connection_id = left.connect_id(right.relayed)
        attempt = right.wait_attempt()
        self.assertIsNotNone(attempt)
        self.assertEqual(attempt[0], left.relayed, "the source is not the relayed address")
        a, b = left.bind(connection_id), right.bind(attempt[1])
        self.addCleanup(a.close)
        self.addCleanup(b.close)
        there, back = pattern(BULK, 1), pattern(BULK, 2)
        readers = Reader(b, BULK), Reader(a, BULK)
        Sender(a, there, lambda: a.shutdown(socket.SHUT_WR))
        Sender(b, back, lambda: b.shutdown(socket.SHUT_WR))
        self.assertEqual(describe(readers[0].result()[0], there), "")
        self.assertEqual(describe(readers[1].result()[0], back), "")
        self.assertEqual(read_to_end(a, PATIENCE_S)[1], "end")
        self.assertEqual(read_to_end(b, PATIENCE_S)[1], "end")


def load_tests(loader, _tests, _pattern):
    """Leave the mix-ins out."""
    return load_concrete(loader, StreamAfterConnect, StreamAfterAttempt, StreamOverTls, BackPressure, ManyPeers,
                         RelayToRelay)
