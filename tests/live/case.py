"""What every live test stands on: a server for each class, clients, peers, and a look at the server afterwards."""

from __future__ import annotations

import os
import socket
import unittest
from typing import ClassVar

from server import OTHER, OTHER_PASSWORD, PASSWORD, USER, Options, Server, chosen, is_there
from stream import ends
from turnclient import Address, Client, Credential, Message, Refused, TcpAllocation, UdpAllocation

PEER_IP = "127.0.0.2"
QUIET_S = 0.4

slow = unittest.skipUnless(os.environ.get("CAUSEWAY_SLOW") == "1", "slow: set CAUSEWAY_SLOW=1")
causeway_only = unittest.skipIf(os.environ.get("CAUSEWAY_PEER") == "coturn", "about Causeway alone")


def credential(user: str = USER, **how: object) -> Credential:
    """The credentials of one of the two users."""
    password = {USER: PASSWORD, OTHER: OTHER_PASSWORD}.get(user, "unknown")
    return Credential(user, password, **how)  # type: ignore[arg-type]


@unittest.skipUnless(is_there(), "no server program: build it or set CAUSEWAY_BIN")
class LiveTest(unittest.TestCase):
    """Tests against one running server, `self.server`, started with `options`."""

    options: ClassVar[Options] = Options()
    weight: ClassVar[int] = 0  # heavier classes begin first
    server: ClassVar[Server]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = chosen()(cls.options).start()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self) -> None:
        if not self.server.is_alive():
            self.fail("the server has ended in an earlier test")
        self.addCleanup(self.check_server)

    def check_server(self) -> None:
        """A test has failed when the server died of it or stopped to answer."""
        if not self.server.is_alive():
            self.fail(f"the server has ended with status {self.server.wait()}\n{self.server.tail(8)}")
        with Client.open(self.server.address(), "udp") as client:
            client.binding()

    # clients

    def client(self, kind: str = "udp", user: str = USER, source: str = "", **how: object) -> Client:
        """A client, closed at the end of the test."""
        client = Client.open(self.server.address(), kind, credential(user, **how), source)
        self.addCleanup(client.close)
        return client

    def tcp(self, user: str = USER, kind: str = "tcp", permit: tuple[str, ...] = (PEER_IP,), **how) -> TcpAllocation:
        """A TCP allocation with permissions."""
        allocation = TcpAllocation(self.server.address(), kind=kind, credential=credential(user), **how)
        self.addCleanup(allocation.close)
        if permit:
            allocation.permit(*permit)
        return allocation

    def udp(self, user: str = USER, kind: str = "udp", permit: tuple[str, ...] = (PEER_IP,), **how) -> UdpAllocation:
        """A UDP allocation with permissions."""
        allocation = UdpAllocation(self.server.address(), kind=kind, credential=credential(user), **how)
        self.addCleanup(allocation.close)
        if permit:
            allocation.permit(*permit)
        return allocation

    # peers

    def listener(self, ip: str = PEER_IP, backlog: int = 64) -> socket.socket:
        """A listening TCP peer."""
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        sock = socket.create_server((ip, 0), family=family, backlog=backlog)
        sock.settimeout(10)
        self.addCleanup(sock.close)
        return sock

    def accept(self, listener: socket.socket) -> socket.socket:
        """Accept a connection."""
        sock, _ = listener.accept()
        sock.settimeout(10)
        self.addCleanup(sock.close)
        return sock

    def dial(self, target: Address, ip: str = PEER_IP) -> socket.socket:
        """A TCP peer that dials, from `ip`."""
        sock = socket.create_connection(target, 10, source_address=(ip, 0))
        sock.settimeout(10)
        self.addCleanup(sock.close)
        return sock

    def is_turned_away(self, target: Address, ip: str = PEER_IP) -> bool:
        """Whether a TCP peer that dials from `ip` is refused, reset or closed."""
        try:
            return ends(self.dial(target, ip))
        except ConnectionError:
            return True

    def udp_peer(self, ip: str = PEER_IP) -> socket.socket:
        """A UDP peer."""
        sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((ip, 0))
        sock.settimeout(10)
        self.addCleanup(sock.close)
        return sock

    # judgements

    def assert_code(self, response: Message, *codes: int) -> None:
        """The response carries one of these error codes; 0 stands for success."""
        self.assertIn(response.code, codes, str(response))

    def assert_refused(self, code: int, action, *arguments, **how) -> Message:
        """The action is refused with this code; the response."""
        with self.assertRaises(Refused) as caught:
            action(*arguments, **how)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        return caught.exception.response

    def assert_nothing(self, sock: socket.socket, seconds: float = QUIET_S) -> None:
        """No datagram comes."""
        sock.settimeout(seconds)
        with self.assertRaises(TimeoutError):
            sock.recv(2048)
