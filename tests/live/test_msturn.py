"""The relay for Microsoft's clients: MS-TURN over UDP, TCP and pseudo-TLS, and application sharing over TCP allocations."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import time

from case import PEER_IP, LiveTest, causeway_only
from msclient import (ALLOCATE, ALTERNATE, CONTROL, DATA, DESTINATION, HELLO, INTEGRITY, LIFETIME, MAPPED, NONCE, PLAIN,
                      REALM, SEND, SEQUENCE, USERNAME, VERSION, XOR_MAPPED, MsClient, address, attribute, frame, packet)
from server import Options
from stream import MB, Reader, Sender, describe, ends, is_silent, pattern, read_exactly, read_to_end
from turnclient import Address


class MsTest(LiveTest):
    """Clients, closed at the end."""

    def ms(self, kind: str = "udp", allocated: bool = True, **how) -> MsClient:
        """A client, with an allocation."""
        client = MsClient(self.server.address(), kind, **how)
        self.addCleanup(client.close)
        if allocated:
            self.assertEqual(client.allocate().code, 0)
        return client

    def own(self, sock: socket.socket) -> Address:
        """The address of a socket."""
        return Address(*sock.getsockname()[:2])

    def assert_whole(self, got: bytes, want: bytes) -> None:
        """Equal, or a short description of the difference."""
        self.assertEqual(describe(got, want), "")


def packets(total: int, seed: int = 1, longest: int = 1400) -> bytes:
    """A stream of RFC 4571 packets of all sizes."""
    chooser = random.Random(seed)
    stream, payload, at = bytearray(), pattern(total, seed), 0
    while at < total:
        n = chooser.choice((0, 1, 20, 84, 1200, longest, chooser.randrange(1, longest)))
        piece = payload[at : at + n]
        stream += packet(piece)
        at += len(piece)
    return bytes(stream)


def is_whole_packet(piece: bytes) -> bool:
    """Whether a frame holds just one packet."""
    return len(piece) >= 2 and len(piece) == 2 + struct.unpack("!H", piece[:2])[0]


@causeway_only
class Requests(MsTest):
    """Allocate, refresh, release; who is refused, and how. Over each transport."""

    kinds = ("udp", "tcp", "pseudotls")

    def test_challenge(self):
        for kind in self.kinds:
            with self.subTest(kind):
                reply = self.ms(kind, allocated=False).challenge()
                self.assertEqual(reply.code, 401)
                self.assertEqual(reply[REALM], b"example.org")
                self.assertEqual(reply[VERSION], bytes((0, 0, 0, 2)))
                self.assertNotIn(INTEGRITY, reply)
                self.assertNotIn(ALTERNATE, reply)
                self.assertLess(len(reply.raw), 120)

    def test_allocate(self):
        for kind in self.kinds:
            with self.subTest(kind):
                client = self.ms(kind, allocated=False)
                reply = client.allocate()
                self.assertEqual(reply.code, 0)
                self.assertEqual(client.mapped, self.own(client.sock))
                self.assertEqual(client.relayed.ip, "127.0.0.1")
                self.assertEqual(reply[LIFETIME], struct.pack("!I", 600))
                self.assertEqual(reply[SEQUENCE][20:], bytes(4))
                self.assertEqual(len(client.connection_id), 20)

    def test_lifetime_is_lowered_never_raised(self):
        client = self.ms(allocated=False)
        self.assertEqual(client.allocate(60)[LIFETIME], struct.pack("!I", 60))
        self.assertEqual(client.refresh(100_000)[LIFETIME], struct.pack("!I", 3600))

    def test_refresh_and_release(self):
        for kind in self.kinds:
            with self.subTest(kind):
                client = self.ms(kind)
                reply = client.refresh()
                self.assertEqual(reply.code, 0)
                self.assertEqual(reply[SEQUENCE], client.connection_id + struct.pack("!I", 1))
                reply = client.refresh(0)
                self.assertEqual((reply.code, reply[LIFETIME]), (0, bytes(4)))
                self.assertEqual(client.refresh(0).code, 437)
                self.assertEqual(client.allocate().code, 0)

    def test_wrong_password_and_unknown_user(self):
        for user, password, code in ((b"alice", b"wrong", 431), (b"nobody", b"sesame", 431),
                                     (b"\x03\0\0\x24" + bytes(52), b"forged", 436)):
            with self.subTest(user):
                self.assertEqual(self.ms(allocated=False, user=user, password=password).allocate().code, code)

    def test_missing_parts(self):
        client = self.ms(allocated=False)
        client.challenge()
        name, nonce, realm = (attribute(k, v) for k, v in
                              ((USERNAME, client.user), (NONCE, client.nonce), (REALM, client.realm)))
        for code, body in ((434, name + nonce), (435, name + realm), (432, nonce + realm),
                           (438, name + realm + attribute(NONCE, b"old")),
                           (434, name + nonce + attribute(REALM, b"elsewhere")),
                           (420, name + nonce + realm + attribute(0x0077, b"x"))):
            with self.subTest(code):
                self.assertEqual(client.exchange(client.message(ALLOCATE, body, client.key)).code, code)
        self.assertEqual(client.allocate().code, 0)

    def test_retransmitted_allocate_is_answered_alike(self):
        client = self.ms(allocated=False)
        client.challenge()
        raw = client.allocate_request()
        first, second = client.exchange(raw), client.exchange(raw)
        self.assertEqual(first.raw, second.raw)

    def test_retransmitted_request_gets_the_same_answer(self):
        client, peer = self.ms(), self.udp_peer()
        raw = client.active_request(self.own(peer))
        self.assertEqual(client.exchange(raw).raw, client.exchange(raw).raw)

    def test_replayed_number_under_another_transaction_is_dropped(self):
        client, peer = self.ms(), self.udp_peer()
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        client.sequence -= 1
        with self.assertRaises(AssertionError):
            client.exchange(client.active_request(self.own(peer)), 1.0)

    def test_foreign_connection_id(self):
        one, other, peer = self.ms(), self.ms(), self.udp_peer()
        one.connection_id = other.connection_id
        self.assertEqual(one.set_active(self.own(peer)).code, 437)

    def test_another_user(self):
        client, peer = self.ms(), self.udp_peer()
        client.user, client.password = b"bob", b"open-it"
        self.assertEqual(client.set_active(self.own(peer)).code, 441)

    def test_mixed_dialects(self):
        with self.client() as standard:
            client = self.ms(allocated=False)
            client.sock.close()
            client.sock = standard.transport.sock
            self.udp_allocation = None
            self.assertEqual(client.allocate().code, 0)
            standard.transport.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12))  # now a Binding is data
            self.assertFalse(client.pump(0.5))

    def test_bad_frames_close(self):
        for raw in (frame(CONTROL, b""), frame(CONTROL, b"x"), frame(4, b"xxxx"), frame(CONTROL, bytes(65535)),
                    b"\x02\x00\xff\xff" + bytes(3000), frame(CONTROL, bytes(28))):
            with self.subTest(raw[:8].hex()):
                client = self.ms("tcp", allocated=False)
                client.put = None
                client.sock.sendall(raw)
                self.assertEqual(read_to_end(client.sock)[0], b"")

    def test_pseudo_tls_in_pieces(self):
        sock = socket.create_connection(self.server.address())
        self.addCleanup(sock.close)
        for i in range(len(HELLO)):
            sock.sendall(HELLO[i : i + 1])
            time.sleep(0.002)
        self.assertEqual(len(read_exactly(sock, 83)), 83)
        self.assertTrue(is_silent(sock, 0.2))

    def test_idle_stranger_is_closed_after_the_hello(self):
        client = self.ms("pseudotls", allocated=False)
        client.sock.sendall(b"\x16\x03\x01")
        self.assertEqual(read_to_end(client.sock)[0], b"")


@causeway_only
class Datagrams(MsTest):
    """UDP allocations (A.8.1)."""

    def test_send_and_data_indication(self):
        client, peer = self.ms(), self.udp_peer()
        client.send(self.own(peer), b"ping")
        self.assertEqual(peer.recvfrom(100), (b"ping", tuple(client.relayed)))
        peer.sendto(b"pong", client.relayed)
        self.assertTrue(client.until(lambda: client.indications))
        self.assertEqual(client.indications, [(self.own(peer), b"pong")])

    def test_unpermitted_peer(self):
        client, peer = self.ms(), self.udp_peer("127.0.0.3")
        peer.sendto(b"who?", client.relayed)
        self.assertFalse(client.pump(0.5))

    def test_permission_is_for_the_ip(self):
        client, peer, other = self.ms(), self.udp_peer(), self.udp_peer()
        client.send(self.own(peer), b"x")
        other.sendto(b"from another port", client.relayed)
        self.assertTrue(client.until(lambda: client.indications))

    def test_active_destination_both_ways(self):
        client, peer, other = self.ms(), self.udp_peer(), self.udp_peer()
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        looks_like = (b"raw", b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), b"\x40\x00\x00\x01x", b"\x16\xfe\xfd" + bytes(40))
        for raw in looks_like:
            client.data(raw)
            self.assertEqual(peer.recv(100), raw)
            peer.sendto(raw, client.relayed)
        other.sendto(b"not active", client.relayed)
        self.assertTrue(client.until(lambda: len(client.plain) == 4 and client.indications))
        self.assertEqual(tuple(client.plain), looks_like)
        self.assertEqual(client.indications, [(self.own(other), b"not active")])

    def test_switch(self):
        client, one, two = self.ms(), self.udp_peer(), self.udp_peer()
        for peer in (one, two, one):
            self.assertEqual(client.set_active(self.own(peer)).code, 0)
            client.data(b"to the active one")
            self.assertEqual(peer.recv(100), b"to the active one")

    def test_replayed_send_is_dropped(self):
        client, peer = self.ms(), self.udp_peer()
        raw = client.send_request(self.own(peer), b"once")
        for _ in range(3):
            client.put(raw)
        self.assertEqual(peer.recv(100), b"once")
        self.assert_nothing(peer)

    def test_forged_send_is_dropped(self):
        client, peer = self.ms(), self.udp_peer()
        raw = bytearray(client.send_request(self.own(peer), b"data"))
        raw[-30] ^= 1
        client.put(bytes(raw))
        self.assert_nothing(peer)

    def test_sends_out_of_order(self):
        client, peer = self.ms(), self.udp_peer()
        raws = [client.send_request(self.own(peer), b"%d" % i) for i in range(70)]
        for i in [69, *range(69)]:
            client.put(raws[i])
        got = set()
        for _ in range(64):
            got.add(int(peer.recv(100)))
        self.assertEqual(got, set(range(6, 70)))
        self.assert_nothing(peer)

    def test_forbidden_peers(self):
        client = self.ms()
        for ip in ("10.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "0.0.0.0"):
            self.assertEqual(client.set_active(Address(ip, 1000)).code, 403, ip)
        self.assertEqual(client.set_active(Address("2001:db8::1", 1000)).code, 440)

    def test_relay_to_relay(self):
        one, two = self.ms(), self.ms(user=b"bob", password=b"open-it")
        one.send(two.relayed, b"x")
        two.send(one.relayed, b"y")
        self.assertTrue(one.until(lambda: one.indications))
        self.assertEqual(one.indications, [(two.relayed, b"y")])


class Sharing(MsTest):
    """TCP allocations that carry application sharing (A.8.2); the same over pseudo-TLS, see `kind`."""

    kind = "tcp"

    def dialled(self, client: MsClient, first: bytes = b"\x00\x05hello") -> socket.socket:
        """A peer that the client's Send made the relay dial."""
        listener = self.listener()
        client.send(self.own(listener), first)
        peer = self.accept(listener)
        self.assertEqual(Address(*peer.getpeername()), client.relayed)
        self.assertEqual(read_exactly(peer, len(first)), first)
        return peer

    def permitted(self, client: MsClient, ip: str = PEER_IP) -> None:
        """A permission and nothing else: port 0 is not dialled."""
        client.send(Address(ip, 0), b"x")

    def inbound(self, client: MsClient) -> socket.socket:
        """A peer that dialled the relay."""
        self.permitted(client)
        return self.dial(client.relayed)

    def test_send_dials_from_the_relayed_port(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        peer.sendall(packet(b"answer"))
        self.assertTrue(client.until(lambda: client.indications))
        self.assertEqual(client.indications, [(self.own(peer), packet(b"answer"))])

    def test_sends_before_the_connection_are_queued(self):
        client, listener = self.ms(self.kind), self.listener()
        to = self.own(listener)
        want = b"".join(packet(b"%d" % i * 30) for i in range(200))
        for i in range(200):
            client.send(to, packet(b"%d" % i * 30))
        peer = self.accept(listener)
        self.assert_whole(read_exactly(peer, len(want)), want)

    def test_inbound_with_permission(self):
        client = self.ms(self.kind)
        peer = self.inbound(client)
        peer.sendall(packet(b"first"))
        self.assertTrue(client.until(lambda: client.indications))
        client.send(self.own(peer), b"\x00\x04back")
        self.assertEqual(read_exactly(peer, 6), b"\x00\x04back")

    def test_inbound_is_held_for_a_permission(self):
        client = self.ms(self.kind)
        peer = self.dial(client.relayed)
        want = packet(b"early") * 1000
        peer.sendall(want)
        self.assertFalse(client.pump(0.5))
        self.permitted(client)
        self.assertTrue(client.until(lambda: len(client.received()) >= len(want)))
        self.assert_whole(client.received(self.own(peer)), want)

    def test_inbound_without_permission_is_closed(self):
        client = self.ms(self.kind)
        self.permitted(client, "127.0.0.9")
        began = time.monotonic()
        self.assertTrue(ends(self.dial(client.relayed), 30))
        self.assertGreater(time.monotonic() - began, 5)

    def test_each_packet_is_one_indication_or_frame(self):
        client = self.ms(self.kind)
        peer = self.inbound(client)
        want = packets(200_000, 3)
        sender = Sender(peer, want)
        client.until(lambda: len(client.received()) >= len(want) // 2)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        client.until(lambda: len(client.received()) >= len(want))
        sender.join()
        self.assert_whole(client.received(), want)
        self.assertTrue(all(is_whole_packet(d) for _, d in client.indications))
        self.assertTrue(all(is_whole_packet(d) for d in client.plain))

    def test_packet_in_pieces_is_one_frame(self):
        client = self.ms(self.kind)
        peer = self.inbound(client)
        for piece in (b"\x00", b"\x06", b"abc", b"def"):
            peer.sendall(piece)
            time.sleep(0.02)
        self.assertTrue(client.until(lambda: client.indications))
        self.assertEqual(client.indications[0][1], b"\x00\x06abcdef")

    def test_what_is_no_packet_arrives_too(self):
        client = self.ms(self.kind)
        peer = self.inbound(client)
        want = b"\xff\xff this stream has no packets at all \x00"
        peer.sendall(want)
        self.assertTrue(client.until(lambda: len(client.received()) >= len(want)))
        peer.sendall(want)
        self.assertTrue(client.until(lambda: len(client.received()) >= 2 * len(want)))
        self.assert_whole(client.received(), want * 2)

    def test_longest_packets(self):
        client = self.ms(self.kind)
        peer = self.inbound(client)
        self.assertTrue(client.until(lambda: True))
        want = b"".join(packet(pattern(n)) for n in (65535, 65478, 65477, 65476, 0, 65535, 1))
        Sender(peer, want)
        self.assertTrue(client.until(lambda: len(client.received()) >= len(want)))
        self.assert_whole(client.received(), want)

    def test_active_both_ways(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        up, down = packets(6 * MB, 1), packets(6 * MB, 2)
        threads = [Sender(peer, down), threading.Thread(target=self.send_frames, args=(client, up), daemon=True)]
        reader = Reader(peer, len(up))
        threads[1].start()
        client.until(lambda: sum(map(len, client.plain)) >= len(down), 60)
        self.assert_whole(b"".join(client.plain), down)
        self.assert_whole(reader.result()[0], up)
        self.assertEqual(client.indications, [])

    def send_frames(self, client: MsClient, stream: bytes) -> None:
        """As frames of many sizes, whatever lies in them."""
        chooser, at = random.Random(5), 0
        while at < len(stream):
            n = chooser.choice((1, 100, 1400, 16000, 65535))
            client.data(stream[at : at + n])
            at += n

    def test_upload_by_sends_alone(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        want = packets(2 * MB, 4)
        reader = Reader(peer, len(want))
        for at in range(0, len(want), 9000):
            client.send(self.own(peer), want[at : at + 9000])
        self.assert_whole(reader.result()[0], want)

    def test_one_side_active_the_other_not(self):
        for first, second in (("active", "waiting"), ("waiting", "active")):
            with self.subTest(f"{first}-{second}"):
                self.relay_to_relay(first == "active")

    def relay_to_relay(self, is_first_active: bool) -> None:
        """Two clients of one relay; one has set its active destination, the other has not; then it does."""
        one, two = self.ms(self.kind), self.ms("tcp", user=b"bob", password=b"open-it")
        two.send(Address(one.relayed.ip, 0), b"x")
        one.send(two.relayed, packet(b"check"))
        self.assertTrue(two.until(lambda: two.indications))
        self.assertEqual(two.indications.pop(), (one.relayed, packet(b"check")))
        two.send(one.relayed, packet(b"answer"))
        self.assertTrue(one.until(lambda: one.indications))
        self.assertEqual(one.indications.pop(), (two.relayed, packet(b"answer")))
        ready, late = (one, two) if is_first_active else (two, one)
        self.assertEqual(ready.set_active(late.relayed).code, 0)
        for i in range(20):  # the phase in which libraries have lost packets
            ready.data(packet(b"frame %d" % i))
            late.send(ready.relayed, packet(b"send %d" % i))
        self.assertTrue(late.until(lambda: len(late.indications) == 20))
        self.assertEqual([d for _, d in late.indications], [packet(b"frame %d" % i) for i in range(20)])
        self.assertTrue(ready.until(lambda: len(ready.plain) == 20))
        self.assertEqual(ready.plain, [packet(b"send %d" % i) for i in range(20)])
        self.assertEqual(late.set_active(ready.relayed).code, 0)
        late.indications.clear(), ready.plain.clear()
        want = packets(4 * MB, 7)
        pieces = threading.Thread(target=self.send_frames, args=(ready, want), daemon=True)
        pieces.start()
        late.until(lambda: sum(map(len, late.plain)) >= len(want), 60)
        self.assert_whole(b"".join(late.plain), want)
        one.close(), two.close()

    def test_several_peers(self):
        client = self.ms(self.kind)
        peers = [self.dialled(client) for _ in range(3)] + [self.inbound(client)]
        for i, peer in enumerate(peers):
            peer.sendall(packet(b"%d" % i))
        self.assertTrue(client.until(lambda: len(client.indications) == 4))
        self.assertEqual(sorted(client.indications), sorted((self.own(p), packet(b"%d" % i)) for i, p in enumerate(peers)))
        for peer in peers:
            self.assertEqual(client.set_active(self.own(peer)).code, 0)
            client.data(b"for you")
            self.assertEqual(read_exactly(peer, 7), b"for you")
        peers[0].close()  # not active: forgotten
        client.data(b"still")
        self.assertEqual(read_exactly(peers[-1], 5), b"still")

    def test_stranger_as_destination(self):
        client = self.ms(self.kind)
        self.assertEqual(client.set_active(Address(PEER_IP, 9)).code, 440)
        self.assertEqual(client.set_active(Address("10.1.1.1", 9)).code, 403)

    def test_slow_client(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        want = packets(24 * MB, 8)
        sender = Sender(peer, want)
        time.sleep(1.5)
        self.assertTrue(sender.is_alive(), "24 MB went into a client that does not read")
        client.until(lambda: sum(map(len, client.plain)) >= len(want), 90)
        self.assert_whole(b"".join(client.plain), want)

    def test_slow_peer(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        want = packets(24 * MB, 9)
        sending = threading.Thread(target=self.send_frames, args=(client, want), daemon=True)
        sending.start()
        time.sleep(1.5)
        self.assertTrue(sending.is_alive(), "24 MB went into a peer that does not read")
        self.assert_whole(read_exactly(peer, len(want), 30), want)

    def test_active_peer_ends_after_its_last_byte(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        want = packets(3 * MB, 10) + b"\x00\x09tail"  # and a packet that never ends
        peer.sendall(want)
        peer.close()
        client.until(lambda: client.has_end, 30)
        self.assertTrue(client.has_end)
        self.assert_whole(b"".join(client.plain), want)

    def test_half_closed_by_the_peer(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        peer.sendall(packet(b"last words"))
        peer.shutdown(socket.SHUT_WR)
        self.assertTrue(client.until(lambda: client.has_end))
        self.assertEqual(client.plain, [packet(b"last words")])
        want = pattern(3 * MB)
        threading.Thread(target=lambda: (self.send_frames(client, want), client.close()), daemon=True).start()
        got, how = read_to_end(peer)
        self.assert_whole(got, want)
        self.assertEqual(how, "end")

    def test_half_closed_by_the_client(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        up = pattern(3 * MB)
        self.send_later(client, up)
        got, how = read_to_end(peer)
        self.assert_whole(got, up)
        self.assertEqual(how, "end")
        want = packets(3 * MB, 11)
        Sender(peer, want, peer.close)
        client.until(lambda: client.has_end, 30)
        self.assert_whole(b"".join(client.plain), want)

    def send_later(self, client: MsClient, data: bytes) -> None:
        """Everything, then the client's FIN, in the background."""
        def run() -> None:
            self.send_frames(client, data)
            client.sock.shutdown(socket.SHUT_WR)
        threading.Thread(target=run, daemon=True).start()

    def test_client_closes_after_its_last_byte(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        want = pattern(5 * MB)
        threading.Thread(target=lambda: (self.send_frames(client, want), client.close()), daemon=True).start()
        time.sleep(1)
        got, _ = read_to_end(peer)
        self.assert_whole(got, want)

    def test_reset_of_the_active_peer_closes_the_client(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.assertTrue(client.until(lambda: client.has_end))

    def test_refresh_while_data_flows(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.set_active(self.own(peer)).code, 0)
        want = packets(8 * MB, 12)
        sender = Sender(peer, want)
        for _ in range(5):
            self.assertEqual(client.refresh().code, 0)
        client.until(lambda: sum(map(len, client.plain)) >= len(want), 60)
        sender.join()
        self.assert_whole(b"".join(client.plain), want)

    def test_failed_dial_is_silent_and_may_be_repeated(self):
        client = self.ms(self.kind)
        with socket.create_server((PEER_IP, 0)) as listener:
            to = self.own(listener)
        client.send(to, packet(b"nobody"))
        self.assertFalse(client.pump(0.5))
        listener = socket.create_server(tuple(to), reuse_port=False)
        self.addCleanup(listener.close)
        client.send(to, packet(b"somebody"))
        self.assertEqual(read_exactly(self.accept(listener), 10), packet(b"somebody"))

    def test_release_closes_peers(self):
        client = self.ms(self.kind)
        peer = self.dialled(client)
        self.assertEqual(client.refresh(0).code, 0)
        self.assertEqual(read_to_end(peer)[0], b"")
        self.assertTrue(self.is_turned_away(client.relayed))


@causeway_only
class SharingTcp(Sharing):
    """Frames at once."""


@causeway_only
class SharingPseudoTls(Sharing):
    """Frames behind the pseudo-TLS handshake, on a listener of its own."""

    kind = "pseudotls"


del Sharing


@causeway_only
class Off(MsTest):
    """ms-turn off: nothing of the dialect is left."""

    options = Options(extra=("--ms-turn", "off"))

    def test_nothing_is_spoken(self):
        client = self.ms(allocated=False)
        with self.assertRaises(AssertionError):
            client.exchange(client.message(ALLOCATE, client.hello()), 1.0)
        client = self.ms("tcp", allocated=False)
        client.put(client.message(ALLOCATE, client.hello()))
        self.assertEqual(read_to_end(client.sock)[0], b"")


@causeway_only
class Only(MsTest):
    """ms-turn only: nothing else is spoken."""

    options = Options(extra=("--ms-turn", "only"))

    def check_server(self) -> None:
        self.assertTrue(self.server.is_alive())
        self.assertEqual(self.ms().refresh(0).code, 0)

    def test_standard_is_not_answered(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.connect(self.server.address())
        sock.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12))
        self.assert_nothing(sock)
        with socket.create_connection(self.server.address()) as stream:
            stream.sendall(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12))
            self.assertEqual(read_to_end(stream)[0], b"")


@causeway_only
class Version3(MsTest):
    """ms-version 3: SHA-256 with credentials whose password can be computed."""

    options = Options(secret="a long shared secret", extra=("--ms-version", "3"))

    def token(self) -> tuple[bytes, bytes]:
        """A credential of the shared secret."""
        import base64
        import hashlib
        import hmac
        name = b"%d:carol" % (time.time() + 600)
        return name, base64.b64encode(hmac.new(b"a long shared secret", name, hashlib.sha1).digest())

    def test_sha256_and_sha1(self):
        name, password = self.token()
        for version, size in ((6, 32), (3, 32), (2, 20)):
            with self.subTest(version):
                client, peer = self.ms(allocated=False, user=name, password=password, version=version), self.udp_peer()
                reply = client.allocate()
                self.assertEqual((reply.code, len(reply[INTEGRITY])), (0, size))
                self.assertEqual(client.set_active(self.own(peer)).code, 0)
                self.assertEqual(client.refresh().code, 0)


@causeway_only
class Full(MsTest):
    """No room: 300 with another server, where the configuration names one."""

    options = Options(limits={"max-allocations": 1}, extra=("--ms-alternate-server", "192.0.2.7:3478"))

    def test_try_alternate(self):
        first = self.ms()
        reply = self.ms(allocated=False).allocate()
        self.assertEqual((reply.code, reply[ALTERNATE]), (300, address(Address("192.0.2.7", 3478))))
        self.assertIn(INTEGRITY, reply)
        self.assertEqual(first.refresh(0).code, 0)
