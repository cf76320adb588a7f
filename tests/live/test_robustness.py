"""Bytes that make no sense: the right error or a clean end, no reflection, the server goes on (S31, S35 to S41)."""

from __future__ import annotations

import os
import random
import socket
import struct
import time

from case import LiveTest, causeway_only, slow
from stream import pattern, read_to_end
from turnclient import (
    At, Client, Closed, Message, Method, NoAnswer, Tcp, Udp, allocate_request, careless_context, peer_request, value,
)

PRE_AUTH_S = 10.0
HTTP = b"GET /index.html?x=reflected HTTP/1.1\r\nHost: relay\r\nUser-Agent: reflected\r\n\r\n"
STRANGERS = {
    "http get": HTTP,
    "http post": b"POST / HTTP/1.1\r\nHost: relay\r\nContent-Length: 9\r\n\r\nreflected",
    "sip": b"OPTIONS sip:reflected@relay SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nContent-Length: 0\r\n\r\n",
    "rdp": bytes.fromhex("0300002b26e00000000000") + b"Cookie: mstshash=reflected\r\n\x01\0\x08\0\x03\0\0\0",
    "ssh": b"SSH-2.0-reflected\r\n",
    "smtp": b"EHLO reflected\r\n",
    "smb": bytes.fromhex("000000547fff534d4272") + bytes(80),
    "zeros": bytes(4000),
    "ones": b"\xff" * 4000,
    "proxy v1": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
    "proxy v2": bytes.fromhex("0d0a0d0a000d0a515549540a2111000c0a0000010a00000200010002"),
    "rfc 3489": bytes.fromhex("00010000") + b"reflected-16-oct",
    "channel data": value.channel_data(0x4000, b"reflected" * 10),
    "huge channel data": struct.pack("!HH", 0x4000, 0xFFFF) + b"x" * 0x10000,
    "channel of the old range": value.channel_data(0x7FFF, b"reflected"),
}


def random_messages(seed: int, count: int):
    """Real messages with octets changed, cut or doubled."""
    chance = random.Random(seed)
    whole = [bytes(allocate_request(value.UDP).add(At.USERNAME, b"alice").add(At.REALM, b"example.org")
                   .add(At.NONCE, b"n" * 35).sign(b"key").fingerprint()),
             bytes(Message(Method.BINDING).add(0x8022, b"client").fingerprint()),
             bytes(peer_request(Method.CONNECT, ("127.0.0.2", 9))), value.channel_data(0x4000, b"data")]
    for _ in range(count):
        raw = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        cut = chance.randrange(4)
        yield bytes(raw[: chance.randrange(len(raw))]) if cut == 0 else bytes(raw * 2) if cut == 1 else bytes(raw)


class Strangers(LiveTest):
    """Other protocols on the port."""

    def reply(self, raw: bytes) -> tuple[bytes, str]:
        """Send it over TCP, close our direction, return what comes back and how it ends."""
        with socket.create_connection(self.server.address(), 10) as sock:
            try:
                sock.sendall(raw)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            return read_to_end(sock, 10)

    def test_over_tcp(self):
        for name, raw in STRANGERS.items():
            with self.subTest(protocol=name):
                answer, how = self.reply(raw)
                self.assertNotEqual(how, "silence", "the connection is kept")
                self.assertNotIn(b"reflected", answer)
                self.assertLessEqual(len(answer), 200)

    def test_connection_is_closed_without_our_help(self):
        for name in ("http get", "sip", "ssh", "ones"):
            with self.subTest(protocol=name), socket.create_connection(self.server.address(), 10) as sock:
                sock.sendall(STRANGERS[name])
                self.assertNotEqual(read_to_end(sock, PRE_AUTH_S + 5)[1], "silence")

    def test_over_udp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self.server.address())
            for name, raw in STRANGERS.items():
                with self.subTest(protocol=name):
                    sock.send(raw[:60_000])
                    sock.settimeout(0.15)
                    try:
                        answer = sock.recv(65536)
                    except TimeoutError:
                        continue
                    self.assertNotIn(b"reflected", answer)
                    self.assertLessEqual(len(answer), max(100, len(raw)))

    def test_inside_tls(self):
        for name in ("http get", "rdp", "ones", "zeros"):
            with self.subTest(protocol=name):
                raw = socket.create_connection(self.server.address(), 10)
                with careless_context().wrap_socket(raw) as sock:
                    sock.sendall(STRANGERS[name])
                    answer, how = read_to_end(sock, PRE_AUTH_S + 5)
                    self.assertNotEqual(how, "silence")
                    self.assertNotIn(b"reflected", answer)

    def test_broken_tls_hello(self):
        for raw in (b"\x16\x03\x01\x40\x00" + b"\xff" * 100, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x16\x03",
                    b"\x80\x2e\x01\x03\x01" + bytes(40), b"\x15\x03\x03\x00\x02\x02\x28"):
            with self.subTest(raw=raw[:8].hex()):
                self.assertNotEqual(self.reply(raw)[1], "silence")


class Malformed(LiveTest):
    """STUN that is not."""

    def udp_reply(self, raw: bytes) -> Message | None:
        """The answer to a datagram."""
        with Udp(self.server.address()).sock as sock:
            sock.settimeout(0.25)
            sock.send(raw)
            try:
                return Message.parse(sock.recv(65536))
            except TimeoutError:
                return None

    def test_every_length_of_a_message(self):
        whole = bytes(allocate_request(value.UDP).add(At.USERNAME, b"abc").fingerprint())
        with Udp(self.server.address()).sock as sock:
            for size in range(len(whole)):
                sock.send(whole[:size])
            sock.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                sock.recv(65536)

    def test_wrong_length_field(self):
        whole = bytes(Message(Method.BINDING))
        for length in (1, 2, 3, 4, 8, 0xFFFC, 0xFFFF):
            with self.subTest(length=length):
                self.assertIsNone(self.udp_reply(whole[:2] + struct.pack("!H", length) + whole[4:]))

    def test_wrong_attribute_lengths(self):
        for length in (1, 3, 5, 0xFFFC, 0xFFFF, 100):
            with self.subTest(length=length):
                message = Message(Method.BINDING)
                raw = bytearray(bytes(message.add(0x8022, b"abcd")))
                raw[22:24] = struct.pack("!H", length)
                answer = self.udp_reply(bytes(raw))
                if answer:
                    self.assertIn(answer.code, (0, 400) if length <= 4 else (400,))

    def test_attribute_header_cut(self):
        for size in (1, 2, 3):
            raw = bytes(Message(Method.BINDING)) + bytes(size)
            raw = raw[:2] + struct.pack("!H", size) + raw[4:]
            self.assertIsNone(self.udp_reply(raw))

    def test_attributes_of_every_small_size(self):
        client = self.client()
        client.credential.learn(client.request(allocate_request(value.UDP)))
        kinds = [kind for kind in At if kind not in (At.MESSAGE_INTEGRITY, At.MESSAGE_INTEGRITY_SHA256, At.FINGERPRINT,
                                                     At.USERNAME, At.REALM, At.NONCE, At.USERHASH,
                                                     At.PASSWORD_ALGORITHM, At.PASSWORD_ALGORITHMS)]
        for kind in kinds:
            for size in (0, 1, 2, 3, 5, 7, 9, 17, 21, 64, 763):
                message = Message(Method.REFRESH).add(kind, os.urandom(size))
                code = client.request(client.credential.sign(message)).code
                self.assertIn(code, (400, 420, 437, 443), f"{kind!r} of {size} octets")

    def test_no_answer_to_responses_and_indications(self):
        for cls in (1, 2, 3):
            for method in (Method.BINDING, Method.ALLOCATE, Method.DATA, 0x777):
                with self.subTest(cls=cls, method=method):
                    self.assertIsNone(self.udp_reply(bytes(Message(method, cls).add(At.ERROR_CODE, b"\0\0\4\1"))))

    def test_wrong_cookie(self):
        message = Message(Method.BINDING)
        message.magic = 0x12345678
        answer = self.udp_reply(bytes(message))
        self.assertIsNone(answer)

    def test_padding_of_answers_is_zero(self):
        client = self.client()
        for size in range(1, 9):
            response = client.request(allocate_request(value.UDP).add(0x7000 + size, bytes(size)))
            self.assertTrue(all(not any(a.pad) for a in response.attributes))

    def test_random_datagrams(self):
        with Udp(self.server.address()).sock as sock:
            for number, raw in enumerate(random_messages(1, 4000)):
                sock.send(raw)
                if number % 50 == 0:
                    time.sleep(0.001)

    def test_random_streams(self):
        for seed in range(60):
            with socket.create_connection(self.server.address(), 10) as sock:
                try:
                    for raw in random_messages(seed, 20):
                        sock.sendall(raw)
                except OSError:
                    pass

    def test_random_authenticated_requests(self):
        chance = random.Random(7)
        relay = self.udp(kind="tcp")
        for _ in range(200):
            message = Message(chance.choice(list(Method)))
            for _ in range(chance.randrange(4)):
                message.add(chance.choice([*At, 0x7777, 0x8888]), chance.randbytes(chance.choice((0, 1, 4, 8, 20, 33))))
            try:
                self.assertGreaterEqual(relay.client.request(relay.credential.sign(message), 0.1).code, 0)
            except NoAnswer:
                pass
            except Closed:
                relay = self.udp(kind="tcp")


class Streams(LiveTest):
    """Reassembly (checklist S37)."""

    def test_octet_by_octet(self):
        client = self.client("tcp")
        for _ in range(3):
            message = Message(Method.BINDING).fingerprint()
            for octet in bytes(message):
                client.transport.send(bytes((octet,)))
                time.sleep(0.0005)
            self.assertEqual(client.receive().txid, message.txid)

    def test_a_thousand_messages_in_one_piece(self):
        client = self.client("tcp")
        messages = [Message(Method.BINDING) for _ in range(1000)]
        client.transport.send(b"".join(map(bytes, messages)))
        for message in messages:
            self.assertEqual(client.receive().txid, message.txid)

    def test_cut_anywhere(self):
        whole = bytes(Message(Method.BINDING)) + bytes(Message(Method.BINDING).add(0x8022, b"x" * 33).fingerprint())
        for at in range(1, len(whole)):
            with Tcp(self.server.address()).sock as sock:
                sock.sendall(whole[:at])
                sock.sendall(whole[at:])
                got = b""
                sock.settimeout(10)
                while len(got) < 32 * 2 + 8:
                    got += sock.recv(1000)

    def test_messages_and_channel_data_mixed(self):
        relay, peer = self.udp(kind="tcp"), self.udp_peer()
        relay.bind_channel(0x4000, peer.getsockname())
        pieces, data = [], []
        for number in range(100):
            data.append(pattern(number % 9 + 1, number))
            pieces += [value.channel_data(0x4000, data[-1], True), bytes(Message(Method.BINDING))]
        raw = b"".join(pieces)
        for at in range(0, len(raw), 777):
            relay.client.transport.send(raw[at : at + 777])
        self.assertEqual([peer.recv(100) for _ in data], data)

    def test_biggest_channel_data(self):
        relay, peer = self.udp(kind="tcp"), self.udp_peer()
        relay.bind_channel(0x4000, peer.getsockname())
        relay.send_channel(0x4000, bytes(0xFFFF))  # no UDP datagram is that long
        relay.send_channel(0x4000, b"next")
        self.assertEqual(peer.recv(100_000)[:10], b"next")
        relay.refresh()

    def test_biggest_stun_message(self):
        client = self.client("tcp")
        message = Message(Method.BINDING).add(0x8022, bytes(65_500))
        try:
            self.assertIn(client.request(message).code, (0, 400))
        except Closed:
            pass

    def test_closing_in_the_middle(self):
        whole = bytes(allocate_request(value.TCP))
        for size in (1, 4, 19, 27):
            with socket.create_connection(self.server.address()) as sock:
                sock.sendall(whole[:size])


class SlowClients(LiveTest):
    """Connections that never say a whole word (checklist S40, S41)."""

    COUNT = 400

    def open_many(self, first: bytes, count: int) -> list[socket.socket]:
        """Connections that have sent only this."""
        socks = []
        for _ in range(count):
            sock = socket.create_connection(self.server.address(), 10)
            self.addCleanup(sock.close)
            sock.sendall(first)
            socks.append(sock)
        return socks

    @causeway_only
    def test_they_cost_little_and_end_early(self):
        began, before = time.monotonic(), self.server.memory_kib()
        socks = [sock for first in (b"\0\3\0", b"\x16\x03\x01", b"") for sock in self.open_many(first, self.COUNT // 3)]
        if not self.server.is_sanitized():
            self.assertLess(self.server.memory_kib() - before, self.COUNT * 12)
        self.udp(permit=()).release()  # others are served meanwhile
        for sock in socks:
            sock.settimeout(max(PRE_AUTH_S + 5 - (time.monotonic() - began), 0.001))
            try:
                self.assertEqual(sock.recv(100), b"")
            except ConnectionResetError:
                pass

    @causeway_only
    def test_drip_feeding_does_not_help(self):
        sock = self.open_many(b"\0", 1)[0]
        began = time.monotonic()
        sock.settimeout(0.5)
        with self.assertRaises(ConnectionError):
            for octet in bytes(Message(Method.BINDING).add(0x8022, bytes(400)))[1:]:
                sock.sendall(bytes((octet,)))
                try:
                    if not sock.recv(10):
                        raise ConnectionError("closed")
                except TimeoutError:
                    pass
                self.assertLess(time.monotonic() - began, 3 * PRE_AUTH_S, "one octet now and then keeps it open")

    @slow
    @causeway_only
    def test_two_thousand(self):
        before = self.server.memory_kib()
        self.open_many(b"\0\3\0\10", 2000)
        if not self.server.is_sanitized():
            self.assertLess(self.server.memory_kib() - before, 2000 * 6)
        self.udp(permit=()).release()


class Descriptors(LiveTest):
    """Nothing leaks."""

    def test_after_many_clients(self):
        self.exercise()
        time.sleep(0.5)
        before = self.server.descriptors()
        for _ in range(10):
            self.exercise()
        end = time.monotonic() + 10
        while self.server.descriptors() > before + 6 and time.monotonic() < end:
            time.sleep(0.1)
        self.assertLessEqual(self.server.descriptors(), before + 6, "descriptors leak")

    def exercise(self) -> None:
        """Allocations, connections, failed binds, garbage: come and go."""
        relay, udp, listener = self.tcp(), self.udp(), self.listener()
        sock = relay.connect(listener.getsockname())
        self.accept(listener).close()
        waiting = self.dial(relay.relayed)
        relay.wait_attempt()
        with Client.open(self.server.address(), "tcp") as client:
            client.request(Message(Method.CONNECTION_BIND))
        with Client.open(self.server.address(), "tls") as client:
            client.binding()
        with socket.create_connection(self.server.address()) as stranger:
            stranger.sendall(HTTP)
        sock.close()
        waiting.close()
        udp.release()
        relay.close()
