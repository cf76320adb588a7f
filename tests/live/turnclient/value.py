"""The contents of attributes: addresses, numbers, password algorithms."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

from .stun import MAGIC

IPV4 = 0x01
IPV6 = 0x02
UDP = 17
TCP = 6
MD5 = 0x0001
SHA256 = 0x0002


class Address(NamedTuple):
    """A transport address; `ip` is text."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT` or `[HOST]:PORT`."""
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def plain_address(ip: str, port: int) -> bytes:
    """The value of MAPPED-ADDRESS."""
    address = ipaddress.ip_address(ip)
    return struct.pack("!BBH", 0, IPV4 if address.version == 4 else IPV6, port) + address.packed


def xor_address(ip: str, port: int, txid: bytes) -> bytes:
    """The value of XOR-MAPPED-, XOR-PEER- and XOR-RELAYED-ADDRESS (RFC 8489 s.14.2)."""
    return _xor(plain_address(ip, port), txid)


def read_xor_address(value: bytes, txid: bytes) -> Address:
    """The reverse of `xor_address`."""
    plain = _xor(value, txid)
    size = {IPV4: 4, IPV6: 16}[plain[1]]
    if len(plain) != 4 + size:
        raise ValueError(f"address of {len(plain)} octets")
    return Address(str(ipaddress.ip_address(plain[4:])), struct.unpack("!H", plain[2:4])[0])


def _xor(value: bytes, txid: bytes) -> bytes:
    mask = struct.pack("!I", MAGIC) + txid
    head = value[:2] + bytes(a ^ b for a, b in zip(value[2:4], mask))
    return head + bytes(a ^ b for a, b in zip(value[4:], mask))


def u32(number: int) -> bytes:
    """LIFETIME, CONNECTION-ID."""
    return struct.pack("!I", number)


def read_u32(value: bytes | None) -> int:
    """The number in LIFETIME or CONNECTION-ID."""
    if value is None or len(value) != 4:
        raise ValueError("no 32-bit number")
    return struct.unpack("!I", value)[0]


def octet(number: int) -> bytes:
    """REQUESTED-TRANSPORT, REQUESTED-ADDRESS-FAMILY: a number and three octets of zero."""
    return bytes((number, 0, 0, 0))


def channel_number(number: int) -> bytes:
    """CHANNEL-NUMBER."""
    return struct.pack("!HH", number, 0)


def channel_data(number: int, data: bytes, is_padded: bool = False) -> bytes:
    """A ChannelData message (RFC 8656 s.12.4)."""
    return struct.pack("!HH", number, len(data)) + data + (bytes(-len(data) % 4) if is_padded else b"")


def algorithms(*numbers: int) -> bytes:
    """PASSWORD-ALGORITHMS, or PASSWORD-ALGORITHM when one number is given."""
    return b"".join(struct.pack("!HH", number, 0) for number in numbers)


def read_algorithms(value: bytes) -> list[int]:
    """The numbers in PASSWORD-ALGORITHMS (RFC 8489 s.14.11)."""
    found, at = [], 0
    while at + 4 <= len(value):
        number, size = struct.unpack("!HH", value[at : at + 4])
        found.append(number)
        at += 4 + size + -size % 4
    return found


class Icmp(NamedTuple):
    """The ICMP attribute; `raw` are the sixteen bits that hold type and code."""

    raw: int
    data: bytes

    def means(self, kind: int, code: int) -> bool:
        """Whether it is this type and code: seven and nine bits as RFC 8656 s.18.13 draws them, or an octet each."""
        return self.raw in (kind << 9 | code, kind << 8 | code)


def read_icmp(value: bytes) -> Icmp:
    """Reads an ICMP attribute."""
    if len(value) != 8:
        raise ValueError(f"ICMP attribute of {len(value)} octets")
    return Icmp(struct.unpack("!H", value[2:4])[0], value[4:])
