"""A client of one server over one transport: transactions, the challenge, indications."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from . import value
from .credential import Credential
from .stun import At, Cls, Message, Method, StunError
from .transport import TIMEOUT, Transport, open_transport
from .value import Address

RETRANSMIT = 0.5


class Refused(Exception):
    """The server answered with an error; `response` is the message, `code` its number."""

    def __init__(self, response: Message) -> None:
        super().__init__(str(response))
        self.response = response
        self.code = response.code


class NoAnswer(Exception):
    """Nothing came back in time."""


class Client:
    """Sends requests and keeps what else arrives.

    `request` sends one message and returns its response, whatever it is.
    `call` adds credentials, answers 401 and 438 once, and raises Refused for an error.
    """

    def __init__(self, transport: Transport, credential: Credential | None = None) -> None:
        self.transport = transport
        self.credential = credential
        self.indications: deque[Message] = deque()
        self.channel_data: deque[tuple[int, bytes]] = deque()

    @classmethod
    def open(cls, server: Address, kind: str = "udp", credential: Credential | None = None, source: str = "",
             port: int = 0) -> Client:
        """A client over a transport named udp, tcp, tls or dtls."""
        return cls(open_transport(kind, server, source, port), credential)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the transport; a stream's allocation ends with it."""
        self.transport.close()

    # transactions

    def request(self, message: Message, timeout: float = TIMEOUT) -> Message:
        """Send as it is, wait for the response with its transaction id (RFC 8489 s.6.2)."""
        return self.exchange(bytes(message), message.txid, timeout)

    def exchange(self, raw: bytes, txid: bytes, timeout: float = TIMEOUT) -> Message:
        """As `request`, for bytes that need not be a message."""
        end = time.monotonic() + timeout
        again = 0.0
        wait = RETRANSMIT
        while (now := time.monotonic()) < end:
            if now >= again and (again == 0.0 or not self.transport.is_stream):
                self.transport.send(raw)
                again, wait = now + wait, wait * 2
            until = end if self.transport.is_stream else min(end, again)
            found = self._read(until - time.monotonic(), lambda m: m.cls >= Cls.SUCCESS and m.txid == txid)
            if found:
                return found
        raise NoAnswer(f"no response in {timeout:g} s over {self.transport.name}")

    def call(self, message: Message, timeout: float = TIMEOUT) -> Message:
        """Authenticated request; the response must be a success that proves the server's knowledge."""
        response = self.try_call(message, timeout)
        if not response.is_success:
            raise Refused(response)
        if self.credential and not self.credential.is_proven(response):
            raise StunError(f"the integrity of the response does not hold: {response}")
        return response

    def try_call(self, message: Message, timeout: float = TIMEOUT) -> Message:
        """As `call`, but an error response is returned (after 401 without a try, and 438, were answered once)."""
        if not self.credential:
            return self.request(message, timeout)
        had_nonce = bool(self.credential.nonce)
        response = self.request(self.signed(message) if had_nonce else message, timeout)
        if response.code == 438 or (response.code == 401 and not had_nonce):
            if self.credential.learn(response):
                response = self.request(self.signed(message), timeout)
        return response

    def signed(self, message: Message) -> Message:
        """A copy with a new transaction id and our credentials."""
        assert self.credential
        copy = Message(message.method, message.cls)
        for attribute in message.attributes:
            data = attribute.value
            if attribute.type in (At.XOR_PEER_ADDRESS,):
                data = value.xor_address(*value.read_xor_address(data, message.txid), copy.txid)
            copy.add(attribute.type, data)
        return self.credential.sign(copy)

    def receive(self, timeout: float = TIMEOUT) -> Message:
        """The next message, whatever it is."""
        raw = self.transport.recv(timeout)
        if raw is None:
            raise NoAnswer(f"nothing in {timeout:g} s over {self.transport.name}")
        return Message.parse(raw)

    # what comes unasked

    def indication(self, method: int, timeout: float = TIMEOUT) -> Message | None:
        """The next indication of this method."""
        for kept in self.indications:
            if kept.method == method:
                self.indications.remove(kept)
                return kept
        return self._read(timeout, lambda m: m.cls == Cls.INDICATION and m.method == method)

    def channel(self, timeout: float = TIMEOUT) -> tuple[int, bytes] | None:
        """The next ChannelData: its number and data."""
        end = time.monotonic() + timeout
        while not self.channel_data and time.monotonic() < end:
            self._read(end - time.monotonic(), lambda _: False, lambda: bool(self.channel_data))
        return self.channel_data.popleft() if self.channel_data else None

    def _read(self, timeout: float, is_wanted: Callable[[Message], bool],
              is_done: Callable[[], bool] = lambda: False) -> Message | None:
        end = time.monotonic() + timeout
        while not is_done() and (left := end - time.monotonic()) > 0:
            raw = self.transport.recv(left)
            if raw is None:
                return None
            if raw and raw[0] & 0xC0:
                size = int.from_bytes(raw[2:4], "big")
                self.channel_data.append((int.from_bytes(raw[:2], "big"), raw[4 : 4 + size]))
                continue
            message = Message.parse(raw)
            if is_wanted(message):
                return message
            if message.cls == Cls.INDICATION:
                self.indications.append(message)
        return None

    # the methods

    def binding(self, timeout: float = TIMEOUT) -> Address:
        """Our address as the server sees it."""
        response = self.request(Message(Method.BINDING), timeout)
        if not response.is_success:
            raise Refused(response)
        return value.read_xor_address(response.get(At.XOR_MAPPED_ADDRESS) or b"", response.txid)
