"""A client of the Microsoft dialect of TURN, from the protocol's description alone: its own codec, frames and pseudo-TLS.

It shares nothing with the program under test, and nothing with `turnclient`, which speaks the standard.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

from turnclient import Address

COOKIE = bytes.fromhex("000f000472c64bc6")
ALLOCATE, SEND, SET_ACTIVE = 0x0003, 0x0004, 0x0006
DATA_INDICATION = 0x0115
MAPPED, USERNAME, INTEGRITY, ERROR, UNKNOWN, LIFETIME = 0x0001, 0x0006, 0x0008, 0x0009, 0x000A, 0x000D
ALTERNATE, DESTINATION, REMOTE, DATA, NONCE, REALM = 0x000E, 0x0011, 0x0012, 0x0013, 0x0014, 0x0015
VERSION, XOR_MAPPED, SEQUENCE, QUALITY = 0x8008, 0x8020, 0x8050, 0x8055
CONTROL, PLAIN = 2, 3
HELLO = bytes.fromhex("160301002d010000290301") + bytes(range(32)) + bytes.fromhex("00000200180100")
TIMEOUT = 10.0


def attribute(kind: int, value: bytes) -> bytes:
    """No padding in this dialect."""
    return struct.pack("!HH", kind, len(value)) + value


def address(at: Address) -> bytes:
    """An address in clear."""
    ip = ipaddress.ip_address(at.ip)
    return struct.pack("!BBH", 0, 1 if ip.version == 4 else 2, at.port) + ip.packed


def read_address(value: bytes, mask: bytes = bytes(16)) -> Address:
    """The reverse; `mask`: the transaction id for 0x8020."""
    port = struct.unpack("!H", bytes(a ^ b for a, b in zip(value[2:4], mask)))[0]
    return Address(str(ipaddress.ip_address(bytes(a ^ b for a, b in zip(value[4:], mask)))), port)


def packet(payload: bytes) -> bytes:
    """A packet of RFC 4571."""
    return struct.pack("!H", len(payload)) + payload


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of the TCP transport."""
    return struct.pack("!BBH", kind, 0, len(payload)) + payload


def padded(text: bytes) -> bytes:
    """What MESSAGE-INTEGRITY covers ends at a multiple of 64."""
    return text + bytes(-len(text) % 64)


@dataclass
class Reply:
    """A message of the server."""

    raw: bytes
    kind: int = 0
    tid: bytes = b""
    attributes: dict[int, bytes] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kind, size = struct.unpack("!HH", self.raw[:4])
        self.tid = self.raw[4:20]
        assert len(self.raw) == 20 + size, "length of the message"
        assert self.raw[20:28] == COOKIE, "the cookie comes first"
        at = 20
        while at < len(self.raw):
            kind, n = struct.unpack("!HH", self.raw[at : at + 4])
            assert at + 4 + n <= len(self.raw), "an attribute ends outside the message"
            self.attributes.setdefault(kind, self.raw[at + 4 : at + 4 + n])
            self.order.append(kind)
            at += 4 + n

    def __getitem__(self, kind: int) -> bytes:
        return self.attributes[kind]

    def __contains__(self, kind: int) -> bool:
        return kind in self.attributes

    @property
    def code(self) -> int:
        """0 for a success."""
        return self[ERROR][2] * 100 + self[ERROR][3] if ERROR in self else 0

    @property
    def remote(self) -> Address:
        """Of a Data Indication."""
        return read_address(self[REMOTE])


class MsClient:
    """One allocation over `udp`, `tcp` or `pseudotls`.

    What comes is sorted by `pump`: answers, Data Indications (`indications`), and data of the active destination (`plain`,
    one element a datagram or frame).
    """

    def __init__(self, server: Address, kind: str = "udp", user: bytes = b"alice", password: bytes = b"sesame",
                 version: int = 1, source: str = "") -> None:
        self.server, self.user, self.password, self.version = server, user, password, version
        self.is_stream = kind != "udp"
        self.realm = self.nonce = b""
        self.key = b""
        self.connection_id, self.sequence = b"", 0
        self.indications: list[tuple[Address, bytes]] = []
        self.plain: list[bytes] = []
        self.replies: list[Reply] = []
        self.relayed = self.mapped = Address("", 0)
        self.has_end = False
        self._partial = bytearray()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in server.ip else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM if self.is_stream else socket.SOCK_DGRAM)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(server)
        if kind == "pseudotls":
            self.answer_hello = self._shake()

    def close(self) -> None:
        """Close the transport."""
        self.sock.close()

    def _shake(self) -> bytes:
        self.sock.sendall(HELLO)
        answer = b""
        while len(answer) < 83:
            piece = self.sock.recv(83 - len(answer))
            assert piece, f"closed after {len(answer)} octets of the answer to pseudo-TLS"
            answer += piece
        assert answer[:11] == bytes.fromhex("160301004e020000460301") and answer[43] == 0x20, answer.hex()
        assert answer[76:] == bytes.fromhex("0018000e000000"), answer.hex()
        return answer

    # writing

    def message(self, kind: int, attributes: bytes, key: bytes = b"", tid: bytes = b"") -> bytes:
        """A message, protected when there is a key."""
        body = COOKIE + attributes
        tid = tid or os.urandom(16)
        if not key:
            return struct.pack("!HH", kind, len(body)) + tid + body
        size = 36 if len(key) == 32 else 24
        text = struct.pack("!HH", kind, len(body) + size) + tid + body
        algorithm = hashlib.sha256 if size == 36 else hashlib.sha1
        return text + attribute(INTEGRITY, hmac.new(key, padded(text), algorithm).digest())

    def put(self, raw: bytes, kind: int = CONTROL) -> None:
        """One message, or data with kind PLAIN."""
        if not self.is_stream:
            self.sock.send(raw)
            return
        with self._lock:
            self.sock.settimeout(60)
            self.sock.sendall(frame(kind, raw))

    def next_sequence(self) -> bytes:
        """Connection id and counter."""
        self.sequence += 1
        return attribute(SEQUENCE, self.connection_id + struct.pack("!I", self.sequence))

    # reading

    def _take(self) -> bool:
        """Sorts what is complete; True when something was."""
        found = False
        while len(self._partial) >= 4:
            kind, reserved, size = struct.unpack("!BBH", self._partial[:4])
            assert kind in (CONTROL, PLAIN) and reserved == 0, self._partial[:4].hex()
            if len(self._partial) < 4 + size:
                break
            body = bytes(self._partial[4 : 4 + size])
            del self._partial[: 4 + size]
            self._sort(body, kind == CONTROL)
            found = True
        return found

    def _sort(self, raw: bytes, is_control: bool) -> None:
        if not is_control:
            self.plain.append(raw)
            return
        reply = Reply(raw)
        if reply.kind == DATA_INDICATION:
            assert INTEGRITY not in reply
            self.indications.append((reply.remote, reply[DATA]))
        else:
            self.replies.append(reply)

    def pump(self, timeout: float = TIMEOUT) -> bool:
        """Reads once; False when nothing came in time, or the end."""
        self.sock.settimeout(max(timeout, 0.001))
        try:
            raw = self.sock.recv(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            raw = b""
        if not raw and self.is_stream:
            self.has_end = True
            return False
        if self.is_stream:
            self._partial += raw
            self._take()
        else:
            self._sort(raw, len(raw) >= 28 and raw[20:28] == COOKIE)
        return True

    def until(self, condition, timeout: float = TIMEOUT) -> bool:
        """Reads until the condition holds, or the end, or time is over."""
        end = time.monotonic() + timeout
        while not condition() and not self.has_end and time.monotonic() < end:
            self.pump(min(0.2, end - time.monotonic()))
        return bool(condition())

    def exchange(self, raw: bytes, timeout: float = TIMEOUT) -> Reply:
        """A request and its answer."""
        tid = raw[4:20]
        end = time.monotonic() + timeout
        while time.monotonic() < end and not self.has_end:
            self.put(raw)
            pause = min(timeout if self.is_stream else 0.5, end - time.monotonic())
            if self.until(lambda: any(r.tid == tid for r in self.replies), pause):
                reply = next(r for r in self.replies if r.tid == tid)
                self.replies.remove(reply)
                self.check(reply)
                return reply
        raise AssertionError("no answer" + (" (the server has closed)" if self.has_end else ""))

    def check(self, reply: Reply) -> None:
        """Integrity holds and is last, wherever it stands; successes have it."""
        if INTEGRITY not in reply:
            assert reply.code, "a success without integrity"
            return
        assert reply.order[-1] == INTEGRITY
        size = len(reply[INTEGRITY])
        text = padded(reply.raw[: -size - 4])
        algorithm = hashlib.sha256 if size == 32 else hashlib.sha1
        assert hmac.new(self.key, text, algorithm).digest() == reply[INTEGRITY], "wrong integrity"

    # requests

    def make_key(self, their_version: int) -> bytes:
        """MD5, or the derived key when both sides announce 3."""
        if min(self.version, their_version) < 3:
            return hashlib.md5(self.user + b":" + self.realm + b":" + self.password).digest()
        extracted = hmac.new(self.nonce, self.password, hashlib.sha256).digest()
        text = b"\x01TURN\x00" + self.user + self.realm + b"\x00\x00\x01\x00"
        return hmac.new(extracted, text, hashlib.sha256).digest()

    def names(self) -> bytes:
        """What an Allocate is authenticated with."""
        return attribute(USERNAME, self.user) + attribute(NONCE, self.nonce) + attribute(REALM, self.realm)

    def hello(self) -> bytes:
        """What every Allocate begins with."""
        return attribute(VERSION, struct.pack("!I", self.version))

    def challenge(self) -> Reply:
        """The first Allocate, which is refused."""
        reply = self.exchange(self.message(ALLOCATE, self.hello()))
        if reply.code == 401:
            self.realm, self.nonce = reply[REALM], reply[NONCE]
            self.key = self.make_key(struct.unpack("!I", reply[VERSION])[0])
        return reply

    def allocate_request(self, lifetime: int | None = None, with_sequence: bool = False) -> bytes:
        """An authenticated Allocate."""
        body = self.hello() + attribute(QUALITY, bytes.fromhex("00040001"))
        if lifetime is not None:
            body += attribute(LIFETIME, struct.pack("!I", lifetime))
        body += self.names()
        return self.message(ALLOCATE, body + (self.next_sequence() if with_sequence else b""), self.key)

    def allocate(self, lifetime: int | None = None) -> Reply:
        """The whole of it."""
        if not self.nonce:
            self.challenge()
        reply = self.exchange(self.allocate_request(lifetime))
        if reply.code == 0:
            self.relayed = read_address(reply[MAPPED])
            self.mapped = read_address(reply[XOR_MAPPED], reply.tid)
            self.connection_id = reply[SEQUENCE][:20]
        return reply

    def refresh(self, lifetime: int | None = None) -> Reply:
        """The same request again, with the allocation's sequence number."""
        return self.exchange(self.allocate_request(lifetime, True))

    def send_request(self, to: Address, data: bytes) -> bytes:
        """A Send."""
        body = attribute(VERSION, struct.pack("!I", self.version)) + attribute(USERNAME, self.user)
        body += self.next_sequence() + attribute(DESTINATION, address(to)) + attribute(DATA, data)
        return self.message(SEND, body, self.key)

    def send(self, to: Address, data: bytes) -> None:
        """Permission and data; never answered."""
        self.put(self.send_request(to, data))

    def active_request(self, to: Address, extra: bytes = b"") -> bytes:
        """A Set Active Destination."""
        body = attribute(USERNAME, self.user) + self.next_sequence() + extra + attribute(DESTINATION, address(to))
        return self.message(SET_ACTIVE, body, self.key)

    def set_active(self, to: Address) -> Reply:
        """Select a destination."""
        return self.exchange(self.active_request(to))

    def data(self, raw: bytes) -> None:
        """For the active destination."""
        self.put(raw, PLAIN)

    def received(self, peer: Address | None = None) -> bytes:
        """All bytes of Data Indications (from `peer`), then of the active destination."""
        return b"".join(d for who, d in self.indications if peer in (None, who)) + b"".join(self.plain)
