"""UDP relays (RFC 8656): allocations, permissions, channels, Send and Data, and every refusal the RFC names."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time

from case import OTHER, PEER_IP, QUIET_S, LiveTest, causeway_only, credential, slow
from server import Options
from stream import ends, pattern
from turnclient import Address, At, Client, Message, Method, UdpAllocation, allocate_request, peer_request, value

MAX_LIFETIME_S = 3600
SO_ATTACH_FILTER = 26


class Allocating(LiveTest):
    """Allocate and Refresh (RFC 8656 s.7, s.8)."""

    def allocate(self, *attributes: tuple[int, bytes], protocol: int = value.UDP) -> Message:
        """The response to an Allocate with more attributes."""
        request = allocate_request(protocol)
        for kind, data in attributes:
            request.add(kind, data)
        return self.client().try_call(request)

    def test_success(self):
        relay = self.udp()
        self.assertEqual(relay.relayed.ip, "127.0.0.1")
        self.assertEqual(relay.mapped, relay.client.transport.local)
        self.assertGreaterEqual(relay.lifetime, 600)
        self.assertLessEqual(relay.lifetime, MAX_LIFETIME_S)

    def test_retransmitted_request_gets_the_same_answer(self):
        client = self.client()
        client.try_call(allocate_request(1))  # learns the nonce
        request = client.signed(allocate_request(value.UDP))
        first, second = client.request(request), client.request(request)
        self.assert_code(first, 0)
        self.assert_code(second, 0)
        relayed = [value.read_xor_address(r.get(At.XOR_RELAYED_ADDRESS), r.txid) for r in (first, second)]
        self.assertEqual(relayed[0], relayed[1])

    def test_437_for_a_second_one(self):
        relay = self.udp()
        self.assert_code(relay.client.try_call(allocate_request(value.UDP)), 437)

    def test_437_without_allocation(self):
        channel = peer_request(Method.CHANNEL_BIND, (PEER_IP, 9)).add(At.CHANNEL_NUMBER, value.channel_number(0x4000))
        for request in (Message(Method.REFRESH), peer_request(Method.CREATE_PERMISSION, (PEER_IP, 0)), channel):
            with self.subTest(method=request.method):
                self.assert_code(self.client().try_call(request), 437)

    def test_400_and_442_for_the_transport(self):
        self.assert_code(self.client().try_call(Message(Method.ALLOCATE)), 400)
        self.assert_code(self.client().try_call(Message(Method.ALLOCATE).add(At.REQUESTED_TRANSPORT, b"\x11")), 400)
        self.assert_code(self.allocate(protocol=99), 442)

    def test_lifetime_is_clamped(self):
        asked = {0xFFFFFFFF: MAX_LIFETIME_S, 100_000: MAX_LIFETIME_S, 1800: 1800}
        for lifetime, most in asked.items():
            with self.subTest(lifetime=lifetime):
                self.assertLessEqual(self.udp(lifetime=lifetime).lifetime, most)
        self.assertGreaterEqual(self.udp(lifetime=1).lifetime, 1)
        self.assertGreater(self.udp(lifetime=0).lifetime, 0)

    def test_refresh(self):
        relay = self.udp()
        self.assertEqual(relay.refresh(1200), 1200)
        self.assertLessEqual(relay.refresh(0xFFFFFFFF), MAX_LIFETIME_S)
        self.assertGreaterEqual(relay.refresh(), 600)

    def test_refresh_with_zero_ends_it(self):
        relay, peer = self.udp(), self.udp_peer()
        self.assertEqual(relay.refresh(0), 0)
        peer.sendto(b"too late", relay.relayed)
        self.assertIsNone(relay.recv(QUIET_S))
        self.assert_code(relay.client.try_call(Message(Method.REFRESH)), 437)
        self.assert_code(relay.client.try_call(allocate_request(value.UDP)), 0)

    def test_441_foreign_user(self):
        relay = self.udp()
        relay.client.credential = credential(OTHER)
        channel = peer_request(Method.CHANNEL_BIND, (PEER_IP, 9)).add(At.CHANNEL_NUMBER, value.channel_number(0x4000))
        requests = (Message(Method.REFRESH).add(At.LIFETIME, value.u32(0)),
                    peer_request(Method.CREATE_PERMISSION, ("127.0.0.3", 0)), channel)
        for request in requests:
            with self.subTest(method=request.method):
                self.assert_code(relay.client.try_call(request), 441)
        relay.client.credential = credential()
        relay.refresh()

    def test_even_port(self):
        for _ in range(4):
            response = self.allocate((At.EVEN_PORT, b"\x00"))
            self.assert_code(response, 0)
            self.assertEqual(value.read_xor_address(response.get(At.XOR_RELAYED_ADDRESS), response.txid).port % 2, 0)

    def test_reservation(self):
        response = self.allocate((At.EVEN_PORT, b"\x80"))
        self.assert_code(response, 0)
        token = response.get(At.RESERVATION_TOKEN)
        self.assertIsNotNone(token)
        self.assertEqual(len(token), 8)
        second = self.allocate((At.RESERVATION_TOKEN, token))
        self.assert_code(second, 0)
        ports = [value.read_xor_address(r.get(At.XOR_RELAYED_ADDRESS), r.txid).port for r in (response, second)]
        self.assertEqual(ports[0] % 2, 0)
        self.assertEqual(ports[1], ports[0] + 1)
        self.assert_code(self.allocate((At.RESERVATION_TOKEN, token)), 508)

    def test_reservation_unknown_or_contradictory(self):
        self.assert_code(self.allocate((At.RESERVATION_TOKEN, os.urandom(8))), 508)
        self.assert_code(self.allocate((At.RESERVATION_TOKEN, bytes(8)), (At.EVEN_PORT, b"\x00")), 400)
        self.assert_code(self.allocate((At.RESERVATION_TOKEN, bytes(8)),
                                       (At.REQUESTED_ADDRESS_FAMILY, value.octet(value.IPV4))), 400)
        self.assert_code(self.allocate((At.RESERVATION_TOKEN, b"short")), 400)

    def test_reservation_of_another_user(self):
        response = self.allocate((At.EVEN_PORT, b"\x80"))
        token = response.get(At.RESERVATION_TOKEN)
        other = self.client(user=OTHER).try_call(allocate_request(value.UDP).add(At.RESERVATION_TOKEN, token))
        # nothing in the RFC forbids it; whatever is decided, the answer is a clean one
        self.assert_code(other, 0, 441, 508)

    def test_440_address_family(self):
        self.assert_code(self.allocate((At.REQUESTED_ADDRESS_FAMILY, value.octet(value.IPV6))), 440)
        self.assert_code(self.allocate((At.REQUESTED_ADDRESS_FAMILY, value.octet(7))), 440)
        self.assert_code(self.allocate((At.REQUESTED_ADDRESS_FAMILY, value.octet(value.IPV4))), 0)

    def test_client_closes_its_tcp_connection(self):
        relay, peer = self.udp(kind="tcp"), self.udp_peer()
        relay.close()
        time.sleep(0.3)
        peer.connect(relay.relayed)
        peer.send(b"anybody there?")
        peer.settimeout(5)
        with self.assertRaises(ConnectionRefusedError):
            peer.recv(10)


@causeway_only
class Expiry(LiveTest):
    """What is not refreshed ends (RFC 8656 s.8)."""

    options = Options(extra=("--lifetime", "2s", "--lifetime-max", "5s"))

    def test_udp(self):
        relay, peer = self.udp(), self.udp_peer()
        self.assertEqual(relay.lifetime, 2)
        time.sleep(4)
        peer.connect(relay.relayed)
        peer.send(b"anybody there?")
        with self.assertRaises(ConnectionRefusedError):
            peer.recv(10)
        self.assert_code(relay.client.try_call(Message(Method.REFRESH)), 437)

    def test_tcp(self):
        relay, listener = self.tcp(), self.listener()
        sock = relay.connect(listener.getsockname())
        peer = self.accept(listener)
        self.assertTrue(ends(sock) and ends(peer))
        with self.assertRaises(ConnectionRefusedError):
            self.dial(relay.relayed)

    def test_refreshed_ones_live_on(self):
        relay, peer = self.udp(), self.udp_peer()
        for _ in range(3):
            self.assertEqual(relay.refresh(100), 5)
            time.sleep(1.5)
        relay.send(peer.getsockname(), b"alive")
        self.assertEqual(peer.recv(10), b"alive")


class Permissions(LiveTest):
    """CreatePermission (RFC 8656 s.9, s.10)."""

    weight = 3

    def test_only_permitted_peers_get_through(self):
        relay = self.udp()
        friend, stranger = self.udp_peer(), self.udp_peer("127.0.0.3")
        stranger.sendto(b"no", relay.relayed)
        friend.sendto(b"yes", relay.relayed)
        self.assertEqual(relay.recv(), (Address(*friend.getsockname()), b"yes"))
        self.assertIsNone(relay.recv(QUIET_S))

    def test_any_port_of_the_ip(self):
        relay = self.udp()
        for _ in range(3):
            peer = self.udp_peer()
            peer.sendto(b"port", relay.relayed)
            self.assertEqual(relay.recv()[0], peer.getsockname())

    def test_send_without_permission_is_dropped(self):
        relay, peer = self.udp(permit=()), self.udp_peer()
        relay.send(peer.getsockname(), b"no")
        self.assert_nothing(peer)

    def test_several_in_one_request(self):
        relay = self.udp(permit=())
        ips = tuple(f"127.0.0.{n}" for n in range(2, 12))
        relay.permit(*ips)
        for ip in ips:
            self.udp_peer(ip).sendto(ip.encode(), relay.relayed)
            self.assertEqual(relay.recv()[1], ip.encode())

    def test_one_bad_address_spoils_the_request(self):
        relay = self.udp(permit=())
        request = peer_request(Method.CREATE_PERMISSION, (PEER_IP, 0)).add(At.XOR_PEER_ADDRESS, b"\0\1\0")
        self.assert_code(relay.client.request(relay.credential.sign(request)), 400)
        self.udp_peer().sendto(b"no", relay.relayed)
        self.assertIsNone(relay.recv(QUIET_S))

    def test_400_without_address(self):
        self.assert_code(self.udp().client.try_call(Message(Method.CREATE_PERMISSION)), 400)

    def test_443_other_family(self):
        relay = self.udp(permit=())
        self.assertEqual(relay.try_permit("::1"), 443)
        self.assertEqual(relay.try_permit(PEER_IP, "::1"), 443)

    @slow
    def test_expires_after_300_s(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.refresh(600)
        began = time.monotonic()
        time.sleep(290 - (time.monotonic() - began))
        peer.sendto(b"in time", relay.relayed)
        self.assertIsNotNone(relay.recv())
        time.sleep(315 - (time.monotonic() - began))
        peer.sendto(b"late", relay.relayed)
        self.assertIsNone(relay.recv(QUIET_S))


class Carrying(LiveTest):
    """Send, Data and channels (RFC 8656 s.11, s.12), over each way to the server."""

    KINDS = ("udp", "tcp", "tls", "dtls")

    def test_send_and_data(self):
        for kind in self.KINDS:
            with self.subTest(kind=kind):
                relay, peer = self.udp(kind=kind), self.udp_peer()
                for size in (0, 1, 3, 4, 100, 1200):
                    data = pattern(size)
                    relay.send(peer.getsockname(), data)
                    self.assertEqual(peer.recvfrom(2048), (data, relay.relayed))
                    peer.sendto(data, relay.relayed)
                    self.assertEqual(relay.recv(), (Address(*peer.getsockname()), data))

    def test_channels(self):
        for kind in self.KINDS:
            with self.subTest(kind=kind):
                relay, peer = self.udp(kind=kind, permit=()), self.udp_peer()
                relay.bind_channel(0x4001, peer.getsockname())
                for size in (0, 1, 2, 3, 4, 100, 1200):
                    data = pattern(size)
                    relay.send_channel(0x4001, data)
                    self.assertEqual(peer.recvfrom(2048), (data, relay.relayed))
                    peer.sendto(data, relay.relayed)
                    self.assertEqual(relay.recv_channel(), (0x4001, data))

    def test_big_datagrams(self):
        relay, peer = self.udp(kind="tcp"), self.udp_peer()
        relay.bind_channel(0x4001, peer.getsockname())
        for size in (9000, 40_000, 65_000):
            data = pattern(size)
            relay.send_channel(0x4001, data)
            self.assertEqual(peer.recv(70_000), data)
            peer.sendto(data, relay.relayed)
            number, got = relay.recv_channel()
            self.assertEqual((number, got), (0x4001, data))

    def test_channel_installs_a_permission(self):
        relay, peer = self.udp(permit=()), self.udp_peer()
        relay.bind_channel(0x4001, peer.getsockname())
        other = self.udp_peer()  # the same IP, another port: a Data indication
        other.sendto(b"by permission", relay.relayed)
        self.assertEqual(relay.recv(), (Address(*other.getsockname()), b"by permission"))

    def test_channel_padding_over_udp_is_optional(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.bind_channel(0x4001, peer.getsockname())
        for is_padded in (False, True):
            relay.client.transport.send(value.channel_data(0x4001, b"12345", is_padded))
            self.assertEqual(peer.recv(100), b"12345")

    def test_channel_without_binding_is_dropped(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.send_channel(0x4005, b"no")
        self.assert_nothing(peer)

    def test_send_with_too_little_is_dropped(self):
        relay, peer = self.udp(), self.udp_peer()
        for message in (Message(Method.SEND, 1).add(At.DATA, b"no peer"),
                        _indication(peer_request(Method.SEND, peer.getsockname())),
                        _indication(peer_request(Method.SEND, (PEER_IP, 0)).add(At.DATA, b"port 0"))):
            relay.client.transport.send(bytes(message))
        self.assert_nothing(peer)

    def test_send_with_unknown_required_attribute_is_dropped(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.send(peer.getsockname(), b"no", (0x7ABC, b"what"))
        self.assert_nothing(peer)

    def test_two_clients_one_peer(self):
        peer = self.udp_peer()
        relays = [self.udp(), self.udp(OTHER)]
        for relay in relays:
            relay.send(peer.getsockname(), b"hello")
            self.assertEqual(peer.recvfrom(100)[1], relay.relayed)
        for relay in relays:
            peer.sendto(str(relay.relayed).encode(), relay.relayed)
        for relay in relays:
            self.assertEqual(relay.recv()[1], str(relay.relayed).encode())
            self.assertIsNone(relay.recv(0.1))

    def test_relay_to_relay(self):
        left, right = self.udp(permit=("127.0.0.1",)), self.udp(OTHER, permit=("127.0.0.1",), kind="tcp")
        left.send(right.relayed, b"over")
        self.assertEqual(right.recv(), (left.relayed, b"over"))
        right.send(left.relayed, b"and back")
        self.assertEqual(left.recv(), (right.relayed, b"and back"))

    def test_dont_fragment_is_accepted(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.send(peer.getsockname(), b"whole", (At.DONT_FRAGMENT, b""))
        self.assertEqual(peer.recv(100), b"whole")
        self.udp(request=allocate_request(value.UDP).add(At.DONT_FRAGMENT))

    def test_dont_fragment_sets_the_bit(self):
        try:
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        except PermissionError:
            self.skipTest("no permission to capture packets")
        self.addCleanup(tap.close)
        tap.bind(("lo", 0x0800))
        relay, peer = self.udp(), self.udp_peer()
        _listen_for(tap, relay.relayed.port)
        for extra, is_set in (((), False), (((At.DONT_FRAGMENT, b""),), True)):
            relay.send(peer.getsockname(), b"marked", *extra)
            peer.recv(100)
            self.assertEqual(_has_df(tap, peer.getsockname()[1]), is_set, f"DONT-FRAGMENT {is_set}")

    def test_icmp_reaches_the_client(self):
        relay, peer = self.udp(), self.udp_peer()
        closed = peer.getsockname()
        peer.close()
        found = None
        for _ in range(5):
            relay.send(closed, b"is there anybody?")
            found = relay.client.indication(Method.DATA, 1)
            if found:
                break
        self.assertIsNotNone(found, "no Data indication with ICMP")
        self.assertIsNone(found.get(At.DATA))
        self.assertEqual(value.read_xor_address(found.get(At.XOR_PEER_ADDRESS), found.txid), closed)
        icmp = value.read_icmp(found.get(At.ICMP) or b"")
        self.assertTrue(icmp.means(3, 3), icmp)


class Channels(LiveTest):
    """ChannelBind (RFC 8656 s.12.2)."""

    def bind(self, relay: UdpAllocation, number: int, peer: tuple[str, int]) -> int:
        """The code of a ChannelBind."""
        return relay.try_bind_channel(number, peer).code

    def test_numbers(self):
        relay = self.udp()
        # RFC 8656 s.12 ends at 0x4fff; clients of RFC 5766 use numbers up to 0x7fff
        codes = {0: {400}, 0x3FFF: {400}, 0x4000: {0}, 0x4FFF: {0}, 0x5000: {0, 400}, 0x7FFF: {0, 400}, 0x8000: {400},
                 0xFFFF: {400}}
        for number, allowed in codes.items():
            with self.subTest(number=hex(number)):
                self.assertIn(self.bind(relay, number, (PEER_IP, 10_000 + number % 1000)), allowed)

    def test_conflicts(self):
        relay = self.udp()
        self.assertEqual(self.bind(relay, 0x4000, (PEER_IP, 1000)), 0)
        self.assertEqual(self.bind(relay, 0x4000, (PEER_IP, 1000)), 0, "a refresh")
        self.assertEqual(self.bind(relay, 0x4000, (PEER_IP, 1001)), 400, "number in use")
        self.assertEqual(self.bind(relay, 0x4001, (PEER_IP, 1000)), 400, "peer in use")
        self.assertEqual(self.bind(relay, 0x4001, ("127.0.0.3", 1000)), 0)

    def test_parts_missing(self):
        relay = self.udp()
        self.assert_code(relay.client.try_call(peer_request(Method.CHANNEL_BIND, (PEER_IP, 9))), 400)
        number = Message(Method.CHANNEL_BIND).add(At.CHANNEL_NUMBER, value.channel_number(0x4000))
        self.assert_code(relay.client.try_call(number), 400)

    def test_443_other_family(self):
        self.assertEqual(self.bind(self.udp(), 0x4000, ("::1", 9)), 443)

    def test_same_number_in_two_allocations(self):
        relays, peers = [self.udp(), self.udp(OTHER)], [self.udp_peer(), self.udp_peer()]
        for relay, peer in zip(relays, peers):
            relay.bind_channel(0x4000, peer.getsockname())
        for relay, peer in zip(relays, peers):
            relay.send_channel(0x4000, str(peer.getsockname()).encode())
            self.assertEqual(peer.recv(100), str(peer.getsockname()).encode())


@causeway_only
class BehindNat(LiveTest):
    """--relay-ip LOCAL=PUBLIC: behind a 1:1 NAT clients are told the public address."""

    options = Options(relay_ips=("127.0.0.1=203.0.113.9",))

    def test_public_address_is_told_and_local_one_used(self):
        for relay in (self.udp(), self.tcp()):
            self.assertEqual(relay.relayed.ip, "203.0.113.9")
        relay, peer = self.udp(), self.udp_peer()
        relay.send(peer.getsockname(), b"out")
        self.assertEqual(peer.recvfrom(10), (b"out", ("127.0.0.1", relay.relayed.port)))
        peer.sendto(b"in", ("127.0.0.1", relay.relayed.port))
        self.assertEqual(relay.recv()[1], b"in")


class Ipv6(LiveTest):
    """IPv6 relays and both families in one allocation (RFC 8656 s.7.2)."""

    options = Options(hosts=("127.0.0.1", "::1"), relay_ips=("127.0.0.1", "::1"))

    def echo(self, relay: UdpAllocation, relayed: Address, ip: str) -> None:
        """A datagram to a peer and back."""
        peer = self.udp_peer(ip)
        relay.send(peer.getsockname()[:2], b"there")
        data, source = peer.recvfrom(100)
        self.assertEqual((data, source[:2]), (b"there", relayed))
        peer.sendto(b"back", relayed)
        self.assertEqual(relay.recv(), (Address(*peer.getsockname()[:2]), b"back"))

    def test_requested_family(self):
        for family, ip in ((value.IPV4, "127.0.0.1"), (value.IPV6, "::1")):
            for host in ("127.0.0.1", "::1"):
                with self.subTest(family=family, host=host):
                    relay = UdpAllocation(self.server.address(host), kind="udp", credential=credential(), family=family)
                    self.addCleanup(relay.close)
                    self.assertEqual(relay.relayed.ip, ip)
                    relay.permit(ip)
                    self.echo(relay, relay.relayed, ip)

    def test_ipv4_is_the_default(self):
        with UdpAllocation(self.server.address("::1"), kind="udp", credential=credential()) as relay:
            self.assertEqual(relay.relayed.ip, "127.0.0.1")

    def test_channel(self):
        relay, peer = self.udp(family=value.IPV6, permit=()), self.udp_peer("::1")
        relay.bind_channel(0x4000, peer.getsockname()[:2])
        relay.send_channel(0x4000, b"six")
        self.assertEqual(peer.recv(10), b"six")
        peer.sendto(b"back", relay.relayed)
        self.assertEqual(relay.recv_channel(), (0x4000, b"back"))

    def test_443(self):
        relay = self.udp(family=value.IPV6, permit=())
        self.assertEqual(relay.try_permit("127.0.0.2"), 443)

    def both(self) -> UdpAllocation:
        """An allocation with an address of each family."""
        request = allocate_request(value.UDP).add(At.ADDITIONAL_ADDRESS_FAMILY, value.octet(value.IPV6))
        return self.udp(request=request, permit=())

    def test_additional_family(self):
        relay = self.both()
        self.assertEqual(sorted(a.ip for a in relay.all_relayed), ["127.0.0.1", "::1"])
        relay.permit("127.0.0.2", "::1")
        by_ip = {a.ip: a for a in relay.all_relayed}
        self.echo(relay, by_ip["127.0.0.1"], "127.0.0.2")
        self.echo(relay, by_ip["::1"], "::1")

    def test_additional_family_refresh_of_one(self):
        relay = self.both()
        relay.permit("127.0.0.2", "::1")
        request = Message(Method.REFRESH).add(At.LIFETIME, value.u32(0))
        relay.client.call(request.add(At.REQUESTED_ADDRESS_FAMILY, value.octet(value.IPV6)))
        self.assertEqual(relay.try_permit("::1"), 443)
        self.echo(relay, next(a for a in relay.all_relayed if a.ip == "127.0.0.1"), "127.0.0.2")

    def test_refresh_of_a_family_that_is_not_there(self):
        relay = self.udp(permit=())
        request = Message(Method.REFRESH).add(At.REQUESTED_ADDRESS_FAMILY, value.octet(value.IPV6))
        self.assert_code(relay.client.try_call(request), 443)

    def test_additional_family_wrongly_used(self):
        ipv4 = (At.ADDITIONAL_ADDRESS_FAMILY, value.octet(value.IPV4))
        ipv6 = (At.ADDITIONAL_ADDRESS_FAMILY, value.octet(value.IPV6))
        requested = (At.REQUESTED_ADDRESS_FAMILY, value.octet(value.IPV4))
        for attributes in ((ipv4,), (ipv6, requested), (ipv6, (At.RESERVATION_TOKEN, bytes(8))),
                           (ipv6, (At.EVEN_PORT, b"\x80"))):
            request = allocate_request(value.UDP)
            for kind, data in attributes:
                request.add(kind, data)
            with self.subTest(attributes=attributes):
                self.assert_code(self.client().try_call(request), 400)


class OneFamily(LiveTest):
    """A server with IPv4 relays alone."""

    def test_additional_family_that_cannot_be_had(self):
        request = allocate_request(value.UDP).add(At.ADDITIONAL_ADDRESS_FAMILY, value.octet(value.IPV6))
        relay = self.udp(request=request, permit=())
        self.assertEqual([a.ip for a in relay.all_relayed], ["127.0.0.1"])
        error = relay.response.get(At.ADDRESS_ERROR_CODE)
        self.assertIsNotNone(error, "no ADDRESS-ERROR-CODE")
        self.assertEqual((error[0], (error[2] & 7) * 100 + error[3]), (value.IPV6, 440))


class SmallRange(LiveTest):
    """A server with few ports."""

    options = Options(relay_ports=(19_100, 19_103))

    def test_508_when_ports_run_out_and_recovery(self):
        for _ in range(3):
            held = []
            code = 0
            for _ in range(6):
                client = self.client()
                code = client.try_call(allocate_request(value.UDP)).code
                if code:
                    client.close()
                    break
                held.append(client)
            self.assertEqual(code, 508)
            self.assertGreater(len(held), 0)
            for client in held:
                client.call(Message(Method.REFRESH).add(At.LIFETIME, value.u32(0)))
                client.close()

    def test_ports_stay_in_the_range(self):
        relay = self.udp(permit=())
        self.assertIn(relay.relayed.port, range(19_100, 19_104))
        relay.release()

    def test_even_port_leaks_nothing(self):
        for number in range(60):
            request = allocate_request(value.UDP).add(At.EVEN_PORT, b"\x80" if number % 2 else b"\x00")
            client = self.client()
            response = client.try_call(request)
            self.assert_code(response, 0)
            token = response.get(At.RESERVATION_TOKEN)
            if token:
                with Client.open(self.server.address(), "udp", credential()) as second:
                    self.assert_code(second.try_call(allocate_request(value.UDP).add(At.RESERVATION_TOKEN, token)), 0)
                    second.call(Message(Method.REFRESH).add(At.LIFETIME, value.u32(0)))
            client.call(Message(Method.REFRESH).add(At.LIFETIME, value.u32(0)))
            client.close()


def _indication(message: Message) -> Message:
    message.cls = 1
    return message


def _listen_for(tap: socket.socket, port: int) -> None:
    """Let the kernel pass only IPv4 packets of UDP from this port; others may keep the wire busy."""
    program = ((0x30, 0, 0, 9), (0x15, 0, 3, 17), (0x28, 0, 0, 20), (0x15, 0, 1, port), (0x06, 0, 0, 0xFFFF),
               (0x06, 0, 0, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))


def _has_df(tap: socket.socket, target: int) -> bool:
    """The DF bit of the next packet to this port."""
    tap.settimeout(10)
    while True:
        packet = tap.recv(65536)
        if int.from_bytes(packet[22:24], "big") == target:
            return bool(packet[6] & 0x40)
