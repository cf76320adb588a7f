"""Allocations: relayed addresses that a client holds at a server (RFC 8656, RFC 6062)."""

from __future__ import annotations

import socket
import time

from . import value
from .client import Client, Refused
from .credential import Credential
from .stun import At, Message, Method, StunError
from .transport import TIMEOUT, Tcp
from .value import Address

PERMISSION_LIFETIME = 300


def allocate_request(protocol: int, *, lifetime: int | None = None, family: int | None = None) -> Message:
    """An Allocate request without credentials; add to it what a test needs."""
    message = Message(Method.ALLOCATE).add(At.REQUESTED_TRANSPORT, value.octet(protocol))
    if lifetime is not None:
        message.add(At.LIFETIME, value.u32(lifetime))
    if family is not None:
        message.add(At.REQUESTED_ADDRESS_FAMILY, value.octet(family))
    return message


def peer_request(method: int, *peers: Address | tuple[str, int]) -> Message:
    """A request of `method` that names peers."""
    message = Message(method)
    for ip, port in peers:
        message.add(At.XOR_PEER_ADDRESS, value.xor_address(ip, port, message.txid))
    return message


class Allocation:
    """What UDP and TCP allocations share. Makes the allocation when created; Refused when the server says no."""

    protocol = 0

    def __init__(self, server: Address | tuple[str, int], user: str = "", password: str = "", *, kind: str = "tcp",
                 credential: Credential | None = None, request: Message | None = None, source: str = "",
                 lifetime: int | None = None, family: int | None = None) -> None:
        self.server = Address(*server)
        self.kind = kind
        self.source = source
        self.credential = credential or Credential(user, password)
        self.client = Client.open(self.server, kind, self.credential, source)
        asked = request or allocate_request(self.protocol, lifetime=lifetime, family=family)
        try:
            self.response = self.client.call(asked)
        except BaseException:
            self.client.close()
            raise
        relayed = [value.read_xor_address(raw, self.response.txid) for raw in self.response.all(At.XOR_RELAYED_ADDRESS)]
        if not relayed:
            raise StunError("Allocate success without XOR-RELAYED-ADDRESS")
        self.all_relayed = relayed
        self.relayed = relayed[0]
        self.lifetime = value.read_u32(self.response.get(At.LIFETIME))
        self.permissions: set[str] = set()
        self._refreshed = self._permitted = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close without a word to the server."""
        self.client.close()

    def release(self) -> None:
        """Refresh with lifetime 0, then close."""
        self.refresh(0)
        self.close()

    @property
    def mapped(self) -> Address:
        """Our own address in the Allocate response."""
        return value.read_xor_address(self.response.get(At.XOR_MAPPED_ADDRESS) or b"", self.response.txid)

    def refresh(self, lifetime: int | None = None) -> int:
        """Refresh; the lifetime that the server grants, in seconds."""
        message = Message(Method.REFRESH)
        if lifetime is not None:
            message.add(At.LIFETIME, value.u32(lifetime))
        self.lifetime = value.read_u32(self.client.call(message).get(At.LIFETIME))
        self._refreshed = time.monotonic()
        return self.lifetime

    def permit(self, *ips: str) -> None:
        """CreatePermission for these addresses."""
        self.client.call(peer_request(Method.CREATE_PERMISSION, *((ip, 0) for ip in ips)))
        self.permissions.update(ips)

    def try_permit(self, *ips: str) -> int:
        """The error code of a CreatePermission, 0 for success."""
        return self.client.try_call(peer_request(Method.CREATE_PERMISSION, *((ip, 0) for ip in ips))).code

    def keep(self) -> None:
        """Refresh allocation and permissions when half of their life has passed; call it every few seconds."""
        now = time.monotonic()
        if now - self._refreshed > self.lifetime / 2:
            self.refresh()
        if now - self._permitted > PERMISSION_LIFETIME / 2:
            self._permitted = now
            for ip in sorted(self.permissions):
                self.permit(ip)


class UdpAllocation(Allocation):
    """A relayed UDP address."""

    protocol = value.UDP

    def send(self, peer: Address | tuple[str, int], data: bytes, *extra: tuple[int, bytes]) -> None:
        """A Send indication."""
        message = Message(Method.SEND, 1)
        message.add(At.XOR_PEER_ADDRESS, value.xor_address(peer[0], peer[1], message.txid))
        for kind, content in extra:
            message.add(kind, content)
        self.client.transport.send(bytes(message.add(At.DATA, data)))

    def recv(self, timeout: float = TIMEOUT) -> tuple[Address, bytes] | None:
        """The next Data indication that carries data: the peer and its bytes."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            message = self.client.indication(Method.DATA, left)
            if message is None:
                return None
            data = message.get(At.DATA)
            if data is not None:
                return value.read_xor_address(message.get(At.XOR_PEER_ADDRESS) or b"", message.txid), data
        return None

    def bind_channel(self, number: int, peer: Address | tuple[str, int]) -> None:
        """ChannelBind."""
        code = self.try_bind_channel(number, peer)
        if code.code:
            raise Refused(code)

    def try_bind_channel(self, number: int, peer: Address | tuple[str, int]) -> Message:
        """ChannelBind; the response, whatever it is."""
        message = peer_request(Method.CHANNEL_BIND, peer).add(At.CHANNEL_NUMBER, value.channel_number(number))
        return self.client.try_call(message)

    def send_channel(self, number: int, data: bytes) -> None:
        """ChannelData, padded on streams."""
        self.client.transport.send(value.channel_data(number, data, self.client.transport.is_stream))

    def recv_channel(self, timeout: float = TIMEOUT) -> tuple[int, bytes] | None:
        """The next ChannelData."""
        return self.client.channel(timeout)


class TcpAllocation(Allocation):
    """A relayed TCP address (RFC 6062).

        with TcpAllocation(("127.0.0.1", 3478), "user", "password") as relay:
            relay.permit("198.51.100.7")
            peer, connection_id = relay.wait_attempt()
            sock = relay.bind(connection_id)
            other = relay.connect(("198.51.100.7", 5000))

    The sockets are ordinary connected sockets (or SSLSockets when `kind` is tls) and outlive nothing:
    the server ends them with the allocation.
    """

    protocol = value.TCP

    def wait_attempt(self, timeout: float = TIMEOUT) -> tuple[Address, int] | None:
        """The next ConnectionAttempt: peer and connection id; None when `timeout` passes."""
        message = self.client.indication(Method.CONNECTION_ATTEMPT, timeout)
        if message is None:
            return None
        peer = value.read_xor_address(message.get(At.XOR_PEER_ADDRESS) or b"", message.txid)
        return peer, value.read_u32(message.get(At.CONNECTION_ID))

    def connect_id(self, peer: Address | tuple[str, int], timeout: float = 40.0) -> int:
        """Connect; the connection id of the success response."""
        return value.read_u32(self.client.call(peer_request(Method.CONNECT, peer), timeout).get(At.CONNECTION_ID))

    def connect(self, peer: Address | tuple[str, int], timeout: float = 40.0) -> socket.socket:
        """Connect to a peer and bind: the socket that leads to it."""
        return self.bind(self.connect_id(peer, timeout))

    def data_client(self, credential: Credential | None = None) -> Client:
        """A new connection to the server, with our (or other) credentials, for a ConnectionBind."""
        return Client.open(self.server, self.kind, credential or self.credential.copy(), self.source)

    def bind(self, connection_id: int) -> socket.socket:
        """ConnectionBind on a new connection; the socket that leads to the peer."""
        client = self.data_client()
        try:
            client.call(bind_request(connection_id))
        except BaseException:
            client.close()
            raise
        return taken_socket(client)


def bind_request(connection_id: int) -> Message:
    """A ConnectionBind request without credentials."""
    return Message(Method.CONNECTION_BIND).add(At.CONNECTION_ID, value.u32(connection_id))


def taken_socket(client: Client) -> socket.socket:
    """The socket of a client whose connection now carries a peer's bytes."""
    assert isinstance(client.transport, Tcp)
    client.transport.sock.settimeout(TIMEOUT)
    return client.transport.sock
