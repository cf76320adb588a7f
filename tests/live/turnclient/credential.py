"""Long-term credentials as a client uses them (RFC 5389 s.10.2, RFC 8489 s.9.2)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace

from . import value
from .stun import At, Message

COOKIE = b"obMatJos2"
PASSWORD_ALGORITHMS_BIT = 0x800000
USERNAME_ANONYMITY_BIT = 0x400000


def security_bits(nonce: bytes) -> int | None:
    """The 24 security feature bits of a nonce, bit 0 of the RFC first; None without the nonce cookie."""
    if not nonce.startswith(COOKIE) or len(nonce) < len(COOKIE) + 4:
        return None
    try:
        return int.from_bytes(base64.b64decode(nonce[9:13], validate=True), "big")
    except ValueError:
        return None


def make_key(user: str, realm: str, password: str, algorithm: int = value.MD5) -> bytes:
    """The long-term key (RFC 8489 s.18.5.1)."""
    digest = hashlib.sha256 if algorithm == value.SHA256 else hashlib.md5
    return digest(f"{user}:{realm}:{password}".encode()).digest()


def user_hash(user: str, realm: str) -> bytes:
    """The value of USERHASH (RFC 8489 s.14.4)."""
    return hashlib.sha256(f"{user}:{realm}".encode()).digest()


def rest_user(secret: str, user: str, expiry: int) -> tuple[str, str]:
    """Name and password of the TURN REST scheme: the name tells its end, the password is its HMAC."""
    name = f"{expiry}:{user}" if user else str(expiry)
    return name, base64.b64encode(hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()).decode()


@dataclass
class Credential:
    """Who we are, and what the server told us about how to prove it.

    `modern` follows RFC 8489 where the server offers it: SHA-256 integrity, a password
    algorithm (`algorithm`, SHA-256 unless told), USERHASH when the nonce asks or `hash_user` is set.
    Otherwise it is a client of RFC 5389 that knows none of this.
    """

    user: str
    password: str
    modern: bool = False
    algorithm: int = value.SHA256
    hash_user: bool = False
    realm: str = ""
    nonce: bytes = b""
    offered: bytes = b""

    def copy(self) -> Credential:
        """A second client with the same knowledge."""
        return replace(self)

    def learn(self, response: Message) -> bool:
        """Take REALM, NONCE and PASSWORD-ALGORITHMS from a 401 or 438; False when there is nothing to learn."""
        nonce = response.get(At.NONCE)
        if nonce is None:
            return False
        self.nonce = nonce
        self.realm = (response.get(At.REALM) or self.realm.encode()).decode()
        self.offered = response.get(At.PASSWORD_ALGORITHMS) or b""
        return True

    @property
    def uses_algorithms(self) -> bool:
        """Whether requests name a password algorithm and are signed with SHA-256."""
        bits = security_bits(self.nonce) or 0
        offered = value.read_algorithms(self.offered)
        return self.modern and bool(bits & PASSWORD_ALGORITHMS_BIT) and self.algorithm in offered

    @property
    def key(self) -> bytes:
        """The key of the integrity attribute."""
        return make_key(self.user, self.realm, self.password, self.algorithm if self.uses_algorithms else value.MD5)

    def sign(self, message: Message) -> Message:
        """Append who we are and the integrity."""
        bits = security_bits(self.nonce) or 0
        if self.hash_user or (self.modern and bits & USERNAME_ANONYMITY_BIT):
            message.add(At.USERHASH, user_hash(self.user, self.realm))
        else:
            message.add(At.USERNAME, self.user.encode())
        message.add(At.REALM, self.realm.encode()).add(At.NONCE, self.nonce)
        if self.uses_algorithms:
            message.add(At.PASSWORD_ALGORITHMS, self.offered)
            message.add(At.PASSWORD_ALGORITHM, value.algorithms(self.algorithm))
        return message.sign(self.key, sha256=self.uses_algorithms)

    def is_proven(self, response: Message) -> bool:
        """Whether the server shows in a response that it knows our password."""
        return response.verify(self.key, sha256=self.uses_algorithms)
