"""The two ways in which a peer comes to wait for a ConnectionBind, as mix-ins, so that each rule is tried both ways."""

from __future__ import annotations

import socket

from case import PEER_IP, LiveTest
from turnclient import TcpAllocation


class Pairing(LiveTest):
    """Brings a peer to the relay; `waiting` returns the peer's socket and the connection id."""

    way = ""

    def waiting(self, allocation: TcpAllocation, ip: str = PEER_IP) -> tuple[socket.socket, int]:
        """A peer that is connected to the relay and not bound yet."""
        raise NotImplementedError

    def joined(self, allocation: TcpAllocation, ip: str = PEER_IP) -> tuple[socket.socket, socket.socket]:
        """A bound pair: the client's socket and the peer's."""
        peer, connection_id = self.waiting(allocation, ip)
        client = allocation.bind(connection_id)
        self.addCleanup(client.close)
        return client, peer

    def assert_joined(self, client: socket.socket, peer: socket.socket) -> None:
        """Bytes pass both ways."""
        client.sendall(b"to the peer")
        self.assertEqual(peer.recv(100), b"to the peer")
        peer.sendall(b"to the client")
        self.assertEqual(client.recv(100), b"to the client")


class ByConnect(Pairing):
    """The client asks with Connect."""

    way = "Connect"

    def waiting(self, allocation: TcpAllocation, ip: str = PEER_IP) -> tuple[socket.socket, int]:
        listener = self.listener(ip)
        connection_id = allocation.connect_id(listener.getsockname()[:2])
        return self.accept(listener), connection_id


class ByAttempt(Pairing):
    """The peer dials, the client is told with ConnectionAttempt."""

    way = "ConnectionAttempt"

    def waiting(self, allocation: TcpAllocation, ip: str = PEER_IP) -> tuple[socket.socket, int]:
        peer = self.dial(allocation.relayed, ip)
        attempt = allocation.wait_attempt()
        self.assertIsNotNone(attempt, "no ConnectionAttempt")
        self.assertEqual(attempt[0], peer.getsockname()[:2], "ConnectionAttempt names another peer")
        return peer, attempt[1]


def load_concrete(loader, *cases: type[LiveTest]):
    """The suite of these classes alone (the mix-ins above are no tests)."""
    suite = loader.suiteClass()
    for case in cases:
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite
