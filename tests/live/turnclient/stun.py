"""STUN messages as bytes: build, read, sign and verify them (RFC 8489 s.5, s.14).

Nothing here refuses to build a wrong message: attributes keep their order, any
type, length and value can be written, and `Message.raw` is what was received.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import os
import struct
import zlib
from dataclasses import dataclass, field

MAGIC = 0x2112A442
HEADER = 20
FINGERPRINT_XOR = 0x5354554E


class Method(enum.IntEnum):
    """Methods of RFC 8489, RFC 8656 and RFC 6062."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009
    CONNECT = 0x00A
    CONNECTION_BIND = 0x00B
    CONNECTION_ATTEMPT = 0x00C


class Cls(enum.IntEnum):
    """Message classes (RFC 8489 s.5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class At(enum.IntEnum):
    """Attribute types."""

    MAPPED_ADDRESS = 0x0001
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    EVEN_PORT = 0x0018
    REQUESTED_TRANSPORT = 0x0019
    DONT_FRAGMENT = 0x001A
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    RESERVATION_TOKEN = 0x0022
    CONNECTION_ID = 0x002A
    ADDITIONAL_ADDRESS_FAMILY = 0x8000
    ADDRESS_ERROR_CODE = 0x8001
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    ICMP = 0x8004
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023
    FINGERPRINT = 0x8028


class StunError(ValueError):
    """The bytes are no STUN message."""


def message_type(method: int, cls: int) -> int:
    """Interleave method and class bits (RFC 8489 s.5, figure 3)."""
    return (method & 0xF80) << 2 | (method & 0x070) << 1 | (method & 0x00F) | (cls & 2) << 7 | (cls & 1) << 4


def split_type(wire: int) -> tuple[int, int]:
    """The method and class of a wire type."""
    method = (wire >> 2) & 0xF80 | (wire >> 1) & 0x070 | wire & 0x00F
    return method, (wire >> 7) & 2 | (wire >> 4) & 1


def padding(size: int) -> int:
    """Octets that fill a value up to a multiple of four."""
    return -size % 4


@dataclass
class Attribute:
    """One attribute as received; `offset` is that of its type field."""

    type: int
    value: bytes
    offset: int = -1
    pad: bytes = b""


@dataclass
class Message:
    """A message to build (`add`, `sign`, `fingerprint`, `bytes()`) or a received one (`parse`)."""

    method: int
    cls: int = Cls.REQUEST
    txid: bytes = field(default_factory=lambda: os.urandom(12))
    attributes: list[Attribute] = field(default_factory=list)
    magic: int = MAGIC
    raw: bytes = b""

    # building

    def add(self, kind: int, value: bytes = b"") -> Message:
        """Append an attribute; returns the message so that calls chain."""
        self.attributes.append(Attribute(kind, value, pad=bytes(padding(len(value)))))
        return self

    def body(self) -> bytes:
        """The attributes as bytes."""
        return b"".join(struct.pack("!HH", a.type, len(a.value)) + a.value + a.pad for a in self.attributes)

    def header(self, length: int) -> bytes:
        """The 20 octets in front, telling `length`."""
        return struct.pack("!HHI", message_type(self.method, self.cls), length & 0xFFFF, self.magic) + self.txid

    def __bytes__(self) -> bytes:
        body = self.body()
        return self.header(len(body)) + body

    def sign(self, key: bytes, sha256: bool = False, size: int = 32) -> Message:
        """Append MESSAGE-INTEGRITY or, with `sha256`, MESSAGE-INTEGRITY-SHA256 of `size` octets."""
        kind, digest, length = _integrity(sha256, size)
        body = self.body()
        mac = hmac.new(key, self.header(len(body) + 4 + length) + body, digest).digest()
        return self.add(kind, mac[:length])

    def fingerprint(self) -> Message:
        """Append FINGERPRINT."""
        body = self.body()
        crc = zlib.crc32(self.header(len(body) + 8) + body) ^ FINGERPRINT_XOR
        return self.add(At.FINGERPRINT, struct.pack("!I", crc))

    # reading

    @classmethod
    def parse(cls, raw: bytes) -> Message:
        """Read exactly one message; StunError when the bytes are not one."""
        if len(raw) < HEADER:
            raise StunError(f"{len(raw)} octets are too short")
        wire, length, magic = struct.unpack("!HHI", raw[:8])
        if wire & 0xC000:
            raise StunError(f"first octet {raw[0]:#04x} is not STUN")
        if length != len(raw) - HEADER or length % 4:
            raise StunError(f"length {length} in a message of {len(raw)} octets")
        method, klass = split_type(wire)
        return cls(method, klass, raw[8:20], list(_attributes(raw)), magic, raw)

    def all(self, kind: int) -> list[bytes]:
        """The values of every attribute of this type."""
        return [a.value for a in self.attributes if a.type == kind]

    def get(self, kind: int) -> bytes | None:
        """The value of the first attribute of this type."""
        return next((a.value for a in self.attributes if a.type == kind), None)

    def has(self, kind: int) -> bool:
        """Whether an attribute of this type is there."""
        return self.get(kind) is not None

    @property
    def code(self) -> int:
        """The error code (RFC 8489 s.14.8); 0 in a success response."""
        value = self.get(At.ERROR_CODE)
        if value is None or len(value) < 4:
            return 0
        return (value[2] & 7) * 100 + value[3]

    @property
    def reason(self) -> str:
        """The reason phrase of an error response."""
        return (self.get(At.ERROR_CODE) or b"")[4:].decode("utf-8", "replace")

    @property
    def is_success(self) -> bool:
        """Whether this is a success response."""
        return self.cls == Cls.SUCCESS

    def verify(self, key: bytes, sha256: bool = False) -> bool:
        """Whether the received message carries the integrity that `key` gives."""
        kind = At.MESSAGE_INTEGRITY_SHA256 if sha256 else At.MESSAGE_INTEGRITY
        found = next((a for a in self.attributes if a.type == kind), None)
        if found is None:
            return False
        _, digest, _ = _integrity(sha256, len(found.value))
        end = found.offset + 4 + len(found.value)
        head = self.raw[:2] + struct.pack("!H", end - HEADER) + self.raw[4 : found.offset]
        return hmac.compare_digest(hmac.new(key, head, digest).digest()[: len(found.value)], found.value)

    def is_fingerprint_right(self) -> bool:
        """Whether the last attribute is a FINGERPRINT that fits."""
        if not self.attributes or self.attributes[-1].type != At.FINGERPRINT:
            return False
        crc = zlib.crc32(self.raw[:-8]) ^ FINGERPRINT_XOR
        return self.attributes[-1].value == struct.pack("!I", crc)

    def __str__(self) -> str:
        name = Method(self.method).name if self.method in list(Method) else f"{self.method:#x}"
        code = f" {self.code} {self.reason}".rstrip() if self.cls == Cls.ERROR else ""
        kinds = ", ".join(At(a.type).name if a.type in list(At) else f"{a.type:#06x}" for a in self.attributes)
        return f"{name} {Cls(self.cls).name}{code} [{kinds}]"


def _integrity(sha256: bool, size: int):
    if sha256:
        return At.MESSAGE_INTEGRITY_SHA256, hashlib.sha256, size
    return At.MESSAGE_INTEGRITY, hashlib.sha1, 20


def _attributes(raw: bytes):
    at = HEADER
    while at < len(raw):
        kind, size = struct.unpack("!HH", raw[at : at + 4])
        end = at + 4 + size
        if end + padding(size) > len(raw):
            raise StunError(f"attribute {kind:#06x} of {size} octets leaves the message")
        yield Attribute(kind, raw[at + 4 : end], at, raw[end : end + padding(size)])
        at = end + padding(size)
