"""Who may be a peer: by default nothing special or private, in any notation (S1 to S5); CIDR rules to the bit."""

from __future__ import annotations

from case import LiveTest, causeway_only, credential
from netns import RELAY_IP, RELAY_IP6, WORLD_IP, WORLD_IP6, Cable
from server import Options
from turnclient import At, Client, Method, TcpAllocation, UdpAllocation, peer_request, value

LOCAL_V4 = ("127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3")
SPECIAL_V4 = (
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1",
    "100.127.255.255", "169.254.169.254", "169.254.0.1", "198.18.0.1", "198.19.255.255", "192.0.0.1", "192.0.0.170",
    "240.0.0.1", "255.255.255.254", "255.255.255.255", "224.0.0.1", "239.255.255.250", "192.0.2.1", "198.51.100.1",
    "203.0.113.1",
)
LOCAL_V6 = (
    "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:7f00:1::1", "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "::ffff:0:127.0.0.1", "::ffff:0:7f00:1",
)
SPECIAL_V6 = (
    "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "2002:c0a8:1::1", "2002:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe", "::ffff:0:192.168.1.1", "::ffff:169.254.169.254", "fe80::1", "febf::1",
    "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "fec0::1", "100::1", "2001:db8::1", "::ffff:224.0.0.1",
    "::ffff:255.255.255.255",
)
PUBLIC_V4 = ("8.8.8.8", "1.1.1.1", "11.0.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1",
             "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1", "169.253.1.1", "223.255.255.254")
PUBLIC_V6 = ("2606:4700::1111", "2a00:1450::1", "2003::1")


class Deny(LiveTest):
    """A server as it comes, without any rule."""

    options = Options(hosts=("127.0.0.1", "::1"), relay_ips=("127.0.0.1", "::1"), allow=())

    def codes(self, relay, ip: str) -> dict[str, int]:
        """What each request that can name a peer is answered."""
        client = relay.client
        found = {"CreatePermission": client.try_call(peer_request(Method.CREATE_PERMISSION, (ip, 0))).code}
        if isinstance(relay, TcpAllocation):
            found["Connect"] = client.try_call(peer_request(Method.CONNECT, (ip, self.server.port))).code
        else:
            request = peer_request(Method.CHANNEL_BIND, (ip, self.server.port))
            request.add(At.CHANNEL_NUMBER, value.channel_number(0x4000))
            found["ChannelBind"] = client.try_call(request).code
        return found

    def assert_all_denied(self, ips: tuple[str, ...], family: int) -> None:
        """403 for each address and each request."""
        for make in (self.udp, self.tcp):
            relay = make(family=family, permit=())
            for ip in ips:
                with self.subTest(ip=ip, relay=make.__name__):
                    self.assertEqual(set(self.codes(relay, ip).values()), {403}, self.codes(relay, ip))

    def test_local_v4(self):
        self.assert_all_denied(LOCAL_V4, value.IPV4)

    def test_special_v4(self):
        self.assert_all_denied(SPECIAL_V4, value.IPV4)

    def test_local_v6(self):
        self.assert_all_denied(LOCAL_V6, value.IPV6)

    def test_special_v6(self):
        self.assert_all_denied(SPECIAL_V6, value.IPV6)

    def test_v4_notations_on_a_v4_relay(self):
        relay = self.udp(permit=())
        for ip in LOCAL_V6 + SPECIAL_V6:
            with self.subTest(ip=ip):
                self.assertLessEqual(set(self.codes(relay, ip).values()), {403, 443})

    def test_public_addresses_are_allowed(self):
        for family, ips in ((value.IPV4, PUBLIC_V4), (value.IPV6, PUBLIC_V6)):
            relay = self.udp(family=family, permit=())
            for ip in ips:
                with self.subTest(ip=ip):
                    self.assertEqual(relay.try_permit(ip), 0)

    def test_one_denied_address_spoils_the_request(self):
        relay = self.udp(permit=())
        self.assertEqual(relay.try_permit("8.8.8.8", "127.0.0.1"), 403)
        self.assertEqual(relay.try_permit("127.0.0.1", "8.8.8.8"), 403)

    def test_send_reaches_no_denied_peer(self):
        for family, ips in ((value.IPV4, ("127.0.0.1", "127.0.0.2", "0.0.0.0")),
                            (value.IPV6, ("::1", "::ffff:127.0.0.1", "::"))):
            relay = self.udp(family=family, permit=())
            for ip in ips:
                with self.subTest(ip=ip):
                    heard = [self.udp_peer("127.0.0.1"), self.udp_peer("::1")]
                    for peer in heard:
                        relay.try_permit(ip)
                        relay.send((ip, peer.getsockname()[1]), b"knock")
                    for peer in heard:
                        self.assert_nothing(peer, 0.1)

    def test_connect_reaches_no_denied_peer(self):
        relay = self.tcp(permit=())
        listener = self.listener("127.0.0.1")
        response = relay.client.try_call(peer_request(Method.CONNECT, listener.getsockname()))
        self.assert_code(response, 403)
        listener.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            listener.accept()

    def test_denied_peers_that_dial_are_turned_away(self):
        relay = self.tcp(permit=())
        relay.try_permit("127.0.0.2")
        self.assertTrue(self.is_turned_away(relay.relayed))
        self.assertIsNone(relay.wait_attempt(0.3))


@causeway_only
class Told(LiveTest):
    """A refusal says which rule it was."""

    options = Options(allow=("203.0.113.0/24",), deny=("8.8.8.0/24",))

    def test_the_log_names_the_rule(self):
        relay = self.udp(permit=())
        relay.try_permit("10.9.8.7")
        relay.try_permit("8.8.8.8")
        for peer, rule in (("10.9.8.7", "10.0.0.0/8"), ("8.8.8.8", "8.8.8.0/24")):
            event = self.server.wait_event("permission refused", peer=peer)
            self.assertIsNotNone(event, self.server.tail(5))
            self.assertIn(rule, event.get("rule", ""))
            self.assertEqual((event.get("user"), event.get("code")), ("alice", 403))


class Rules(LiveTest):
    """--allow-peer and --deny-peer: the most specific one decides."""

    options = Options(
        hosts=("127.0.0.1",), relay_ips=("127.0.0.1", "::1"),
        allow=("198.51.100.0/24", "10.1.0.0/16", "2001:db8:1::/48", "9.9.9.9/32"),
        deny=("198.51.100.128/25", "10.1.2.3/32", "2001:db8:1:2::/64", "8.8.0.0/16", "9.0.0.0/8"))

    def assert_edges(self, family: int, expected: dict[str, int]) -> None:
        """The code for each address."""
        relay = self.udp(family=family, permit=())
        for ip, code in expected.items():
            with self.subTest(ip=ip):
                self.assertEqual(relay.try_permit(ip), code)

    def test_v4(self):
        self.assert_edges(value.IPV4, {
            "198.51.99.255": 0, "198.51.100.0": 0, "198.51.100.127": 0, "198.51.100.128": 403, "198.51.100.255": 403,
            "198.51.101.0": 0, "10.0.255.255": 403, "10.1.0.0": 0, "10.1.2.2": 0, "10.1.2.3": 403, "10.1.2.4": 0,
            "10.1.255.255": 0, "10.2.0.0": 403, "8.7.255.255": 0, "8.8.8.8": 403, "8.9.0.0": 0, "9.9.9.8": 403,
            "9.9.9.9": 0, "9.9.9.10": 403, "127.0.0.1": 403})

    def test_v6(self):
        last = "ffff:ffff:ffff:ffff"
        self.assert_edges(value.IPV6, {
            f"2001:db8:0:ffff:{last}": 403, "2001:db8:1::": 0, f"2001:db8:1:1:{last}": 0, "2001:db8:1:2::": 403,
            f"2001:db8:1:2:{last}": 403, "2001:db8:1:3::": 0, f"2001:db8:1:ffff:{last}": 0, "2001:db8:2::": 403})

    def test_a_rule_about_v4_holds_for_its_v6_notations(self):
        relay = self.udp(family=value.IPV6, permit=())
        for ip in ("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "::ffff:10.1.2.3"):
            with self.subTest(ip=ip):
                self.assertEqual(relay.try_permit(ip), 403)


class Public(LiveTest):
    """A server with its default rules among public addresses: it relays, but not to itself."""

    OTHER_IP = "45.76.10.9"

    @classmethod
    def setUpClass(cls) -> None:
        cls.cable = Cable()
        cls.addClassCleanup(cls.cable.close)
        cls.cable.relay.ip("address", "add", f"{cls.OTHER_IP}/24", "dev", "wire")
        cls.options = Options(hosts=(RELAY_IP, RELAY_IP6), allow=(), prefix=cls.cable.relay.prefix)
        super().setUpClass()

    def setUp(self) -> None:
        inside = self.cable.world.entered()
        inside.__enter__()
        super().setUp()
        self.addCleanup(lambda: inside.__exit__(None, None, None))

    def check_server(self) -> None:
        with self.cable.world.entered():
            super().check_server()

    def reached(self, make, kind: str, server: str, peer: str):
        """An allocation of the family in which the server was reached."""
        family = value.IPV6 if ":" in server else value.IPV4
        relay = make(self.server.address(server), kind=kind, credential=credential(), family=family)
        self.addCleanup(relay.close)
        relay.permit(peer)
        return relay

    def test_udp(self):
        for ip, relay_ip in ((WORLD_IP, RELAY_IP), (WORLD_IP6, RELAY_IP6)):
            with self.subTest(ip=ip):
                relay = self.reached(UdpAllocation, "udp", relay_ip, ip)
                self.assertEqual(relay.relayed.ip, relay_ip)
                peer = self.udp_peer(ip)
                relay.send(peer.getsockname()[:2], b"out")
                self.assertEqual(peer.recv(10), b"out")
                peer.sendto(b"in", relay.relayed)
                self.assertEqual(relay.recv()[1], b"in")

    def test_tcp(self):
        for ip, relay_ip in ((WORLD_IP, RELAY_IP), (WORLD_IP6, RELAY_IP6)):
            with self.subTest(ip=ip):
                relay = self.reached(TcpAllocation, "tcp", relay_ip, ip)
                listener = self.listener(ip)
                with relay.connect(listener.getsockname()[:2]) as sock:
                    peer = self.accept(listener)
                    sock.sendall(b"out")
                    self.assertEqual(peer.recv(10), b"out")
                peer = self.dial(relay.relayed, ip)
                attempt = relay.wait_attempt()
                self.assertEqual(attempt[0], peer.getsockname()[:2])
                with relay.bind(attempt[1]) as sock:
                    peer.sendall(b"in")
                    self.assertEqual(sock.recv(10), b"in")

    def test_relay_to_relay(self):
        left, right = self.udp(permit=(RELAY_IP,)), self.udp("bob", permit=(RELAY_IP,))
        left.send(right.relayed, b"over")
        self.assertEqual(right.recv(), (left.relayed, b"over"))
        left, right = self.tcp(permit=()), self.tcp("bob", permit=(RELAY_IP,))
        connection_id = left.connect_id(right.relayed)
        attempt = right.wait_attempt()
        with left.bind(connection_id) as a, right.bind(attempt[1]) as b:
            a.sendall(b"over")
            self.assertEqual(b.recv(10), b"over")

    def test_own_services_get_no_datagrams(self):
        relay = self.udp(permit=())
        for ip in (self.OTHER_IP, RELAY_IP):
            relay.try_permit(ip)  # may be granted for the sake of other relays there
            with self.cable.relay.entered():
                service = self.udp_peer(ip)
            relay.send(service.getsockname(), b"knock")
            relay.try_bind_channel(0x4000, service.getsockname())
            relay.send_channel(0x4000, b"knock")
            self.assert_nothing(service)

    def test_own_services_get_no_connections(self):
        relay = self.tcp(permit=())
        for peer in ((self.OTHER_IP, self.server.port), (RELAY_IP, self.server.port), (RELAY_IP, 22)):
            with self.subTest(peer=peer):
                self.assert_code(relay.client.try_call(peer_request(Method.CONNECT, peer)), 403)

    def test_own_service_ports_get_no_datagrams(self):
        relay = self.udp(permit=(RELAY_IP,))
        for _ in range(3):
            relay.send((RELAY_IP, self.server.port), bytes.fromhex("000100002112a442") + bytes(12))
        self.assertIsNone(relay.recv(0.5), "the server talked to itself through a relay")

    def test_relay_address_is_the_one_reached(self):
        with UdpAllocation(self.server.address(RELAY_IP), "alice", "sesame", kind="udp") as relay:
            self.assertEqual(relay.relayed.ip, RELAY_IP)
        with Client.open(self.server.address(RELAY_IP6), "tcp") as client:
            self.assertEqual(client.binding().ip, WORLD_IP6)
