"""TCP allocations, Connect and ConnectionAttempt (RFC 6062 s.5): who may, who is told what, who waits for nobody."""

from __future__ import annotations

import socket
import time

from case import OTHER, PEER_IP, QUIET_S, LiveTest, credential, slow
from server import Options
from stream import ends, is_silent
from turnclient import (
    Address, At, Client, Message, Method, TcpAllocation, allocate_request, peer_request, value,
)

PROMPT_S = 5.0


class Allocating(LiveTest):
    """Allocate with REQUESTED-TRANSPORT TCP (RFC 6062 s.5.1)."""

    def refused(self, request: Message, *codes: int, kind: str = "tcp") -> None:
        """The Allocate is refused with one of the codes."""
        self.assert_code(self.client(kind).try_call(request), *codes)

    def test_success_tells_address_and_lifetime(self):
        relay = self.tcp()
        self.assertEqual(relay.relayed.ip, "127.0.0.1")
        self.assertGreaterEqual(relay.relayed.port, 1024)
        self.assertEqual(relay.mapped, relay.client.transport.local)
        self.assertGreaterEqual(relay.lifetime, 600)

    def test_over_udp(self):
        self.refused(allocate_request(value.TCP), 400, kind="udp")

    def test_even_port(self):
        self.refused(allocate_request(value.TCP).add(At.EVEN_PORT, b"\x00"), 400)

    def test_dont_fragment(self):
        self.refused(allocate_request(value.TCP).add(At.DONT_FRAGMENT), 400)

    def test_reservation_token(self):
        self.refused(allocate_request(value.TCP).add(At.RESERVATION_TOKEN, bytes(8)), 400)

    def test_transport_missing(self):
        self.refused(Message(Method.ALLOCATE), 400)

    def test_transport_unknown(self):
        for protocol in (0, 1, 132, 255):
            with self.subTest(protocol=protocol):
                self.refused(allocate_request(protocol), 442)

    def test_family_without_relay_address(self):
        self.refused(allocate_request(value.TCP, family=value.IPV6), 440)
        self.refused(allocate_request(value.TCP, family=9), 440)

    def test_second_allocation_on_one_connection(self):
        relay = self.tcp()
        self.assert_code(relay.client.try_call(allocate_request(value.TCP)), 437)
        self.assert_code(relay.client.try_call(allocate_request(value.UDP)), 437)

    def test_again_after_release(self):
        relay = self.tcp()
        relay.refresh(0)
        self.assert_code(relay.client.try_call(allocate_request(value.TCP)), 0)

    def test_nobody_listens_after_release(self):
        relay = self.tcp()
        relay.release()
        with self.assertRaises(ConnectionRefusedError):
            self.dial(relay.relayed)

    def test_channels_and_send_are_no_part_of_it(self):
        relay = self.tcp()
        request = peer_request(Method.CHANNEL_BIND, (PEER_IP, 9)).add(At.CHANNEL_NUMBER, value.channel_number(0x4000))
        self.assertGreaterEqual(relay.client.try_call(request).code, 400)
        peer = self.listener()
        indication = peer_request(Method.SEND, peer.getsockname()).add(At.DATA, b"data")
        indication.cls = 1
        relay.client.transport.send(bytes(indication))
        relay.refresh()


class Connecting(LiveTest):
    """Connect (RFC 6062 s.5.2)."""

    def connect(self, relay: TcpAllocation, peer: tuple[str, int], timeout: float = 40.0) -> Message:
        """The response to a Connect."""
        return relay.client.try_call(peer_request(Method.CONNECT, peer), timeout)

    def test_source_is_the_relayed_address(self):
        relay, listener = self.tcp(), self.listener()
        relay.connect_id(listener.getsockname())
        _, source = listener.accept()
        self.assertEqual(source, relay.relayed)

    def test_needs_no_permission(self):
        relay, listener = self.tcp(permit=()), self.listener("127.0.0.3")
        relay.connect(listener.getsockname()).close()

    def test_several_peers_and_ports(self):
        relay = self.tcp()
        ids = {relay.connect_id(self.listener(ip).getsockname()) for ip in ("127.0.0.2", "127.0.0.3", "127.0.0.2")}
        self.assertEqual(len(ids), 3)

    def test_446_while_it_waits_and_while_bound(self):
        relay, listener = self.tcp(), self.listener()
        connection_id = relay.connect_id(listener.getsockname())
        self.assert_code(self.connect(relay, listener.getsockname()), 446)
        sock = relay.bind(connection_id)
        self.assert_code(self.connect(relay, listener.getsockname()), 446)
        sock.close()

    def test_446_while_in_progress(self):
        relay = self.tcp()
        stuck = self.stuck_listener()
        first = relay.client.signed(peer_request(Method.CONNECT, stuck))
        relay.client.transport.send(bytes(first))
        self.assert_code(self.connect(relay, stuck, PROMPT_S), 446)

    def test_another_allocation_may_have_the_same_peer(self):
        listener = self.listener()
        for _ in range(2):
            self.tcp().connect_id(listener.getsockname())

    def test_447_refused(self):
        relay, listener = self.tcp(), self.listener()
        peer = listener.getsockname()
        listener.close()
        for _ in range(3):
            self.assert_code(self.connect(relay, peer), 447)

    def test_447_then_success(self):
        relay = self.tcp()
        listener = self.listener()
        peer = listener.getsockname()
        listener.close()
        self.assert_code(self.connect(relay, peer), 447)
        again = socket.create_server(peer)
        self.addCleanup(again.close)
        relay.connect_id(peer)

    def test_peer_address_missing(self):
        self.assert_code(self.tcp().client.try_call(Message(Method.CONNECT)), 400)

    def test_peer_address_malformed(self):
        relay = self.tcp()
        for raw in (b"", b"\0\1\0", b"\0\1" + bytes(5), b"\0\2" + bytes(6), b"\0\7" + bytes(6), b"\0\1" + bytes(20)):
            with self.subTest(raw=raw.hex()):
                request = Message(Method.CONNECT).add(At.XOR_PEER_ADDRESS, raw)
                self.assert_code(relay.client.request(relay.credential.sign(request)), 400)

    def test_port_zero(self):
        self.assert_code(self.connect(self.tcp(), (PEER_IP, 0)), 400, 403, 447)

    def test_443_other_family(self):
        self.assert_code(self.connect(self.tcp(), ("::1", 9)), 443)

    def test_437_without_allocation(self):
        self.assert_code(self.client("tcp").try_call(peer_request(Method.CONNECT, (PEER_IP, 9))), 437)

    def test_on_a_udp_allocation(self):
        relay = self.udp(kind="tcp")
        self.assert_code(relay.client.try_call(peer_request(Method.CONNECT, (PEER_IP, 9))), 400, 437)

    def test_441_foreign_user(self):
        relay, listener = self.tcp(), self.listener()
        relay.client.credential = credential(OTHER)
        self.assert_code(self.connect(relay, listener.getsockname()), 441)

    def test_after_the_pair_has_ended(self):
        relay, listener = self.tcp(), self.listener()
        first = relay.connect(listener.getsockname())
        peer = self.accept(listener)
        first.close()
        self.assertTrue(ends(peer))
        peer.close()
        deadline = time.monotonic() + 10
        while (response := self.connect(relay, listener.getsockname())).code == 446 and time.monotonic() < deadline:
            time.sleep(0.1)
        # the kernel keeps the address pair for a while when the relay closed first: then 447 says so
        self.assert_code(response, 0, 447)

    # a peer that does not answer

    def stuck_listener(self) -> Address:
        """A peer to which connections neither succeed nor fail: its queue is full."""
        listener = self.listener("127.0.0.9", backlog=0)
        address = Address(*listener.getsockname())
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self.addCleanup(filler.close)
        time.sleep(0.1)
        return address

    def test_hanging_connect_delays_nobody(self):
        relay, other = self.tcp(), self.tcp(OTHER)
        stuck = [self.stuck_listener() for _ in range(3)]
        for peer in stuck:
            relay.client.transport.send(bytes(relay.client.signed(peer_request(Method.CONNECT, peer))))
        began = time.monotonic()
        relay.refresh()
        relay.permit("127.0.0.3")
        for allocation in (relay, other):
            listener = self.listener()
            with allocation.connect(listener.getsockname()) as sock:
                peer = self.accept(listener)
                sock.sendall(b"prompt")
                self.assertEqual(peer.recv(10), b"prompt")
            self.dial(allocation.relayed)
            self.assertIsNotNone(allocation.wait_attempt())
        self.tcp().close()
        self.assertLess(time.monotonic() - began, PROMPT_S, "a hanging Connect held others up")

    def test_release_during_a_hanging_connect(self):
        relay = self.tcp()
        relay.client.transport.send(bytes(relay.client.signed(peer_request(Method.CONNECT, self.stuck_listener()))))
        relay.release()

    @slow
    def test_447_when_the_peer_stays_silent(self):
        relay = self.tcp()
        self.assert_code(self.connect(relay, self.stuck_listener(), 90), 447)


class Attempts(LiveTest):
    """Peers that dial (RFC 6062 s.5.3)."""

    def test_without_permission(self):
        relay = self.tcp(permit=("127.0.0.3",))
        self.assertTrue(self.is_turned_away(relay.relayed), "a peer without permission is kept")
        self.assertIsNone(relay.wait_attempt(QUIET_S))

    def test_permission_is_about_the_ip_alone(self):
        relay = self.tcp()
        for _ in range(3):
            self.dial(relay.relayed)
            self.assertIsNotNone(relay.wait_attempt())

    def test_permission_comes_too_late(self):
        relay = self.tcp(permit=())
        self.assertTrue(self.is_turned_away(relay.relayed))
        relay.permit(PEER_IP)
        self.dial(relay.relayed)
        self.assertIsNotNone(relay.wait_attempt())

    def test_ids_differ(self):
        relay = self.tcp()
        for _ in range(5):
            self.dial(relay.relayed)
        ids = {relay.wait_attempt()[1] for _ in range(5)}
        self.assertEqual(len(ids), 5)

    def test_attempts_between_responses(self):
        relay = self.tcp()
        for _ in range(3):
            self.dial(relay.relayed)
            relay.refresh()
        for _ in range(3):
            self.assertIsNotNone(relay.wait_attempt())

    def test_two_allocations_hear_of_their_own_peers(self):
        relays = [self.tcp(), self.tcp(OTHER)]
        for relay in relays:
            peer = self.dial(relay.relayed)
            self.assertEqual(relay.wait_attempt()[0], peer.getsockname())
        for relay in relays:
            self.assertIsNone(relay.wait_attempt(0.2))


class Ending(LiveTest):
    """What ends with what (RFC 6062 s.5.5, RFC 8656 s.8)."""

    def pairs(self, relay: TcpAllocation):
        """One bound pair and one waiting peer."""
        listener = self.listener()
        client = relay.connect(listener.getsockname())
        self.addCleanup(client.close)
        waiting = self.dial(relay.relayed)
        self.assertIsNotNone(relay.wait_attempt())
        return client, self.accept(listener), waiting

    def assert_all_end(self, *socks: socket.socket) -> None:
        """Each of these streams ends."""
        for sock in socks:
            self.assertTrue(ends(sock), "a connection outlived its allocation")

    def test_control_connection_closes(self):
        relay = self.tcp()
        socks = self.pairs(relay)
        relay.close()
        self.assert_all_end(*socks)
        with self.assertRaises(ConnectionRefusedError):
            self.dial(relay.relayed)

    def test_refresh_with_lifetime_zero(self):
        relay = self.tcp()
        socks = self.pairs(relay)
        relay.refresh(0)
        self.assert_all_end(*socks)

    def test_data_connection_leaves_the_rest_alone(self):
        relay = self.tcp()
        client, peer, waiting = self.pairs(relay)
        client.close()
        self.assertTrue(ends(peer))
        self.assertTrue(is_silent(waiting, QUIET_S))
        relay.refresh()

    def test_refresh_by_foreign_user(self):
        relay = self.tcp()
        client, peer, _ = self.pairs(relay)
        relay.client.credential = credential(OTHER)
        response = relay.client.try_call(Message(Method.REFRESH).add(At.LIFETIME, value.u32(0)))
        self.assert_code(response, 441)
        self.assertTrue(is_silent(client, QUIET_S) and is_silent(peer, QUIET_S))

    def test_other_allocations_stay(self):
        ending, staying = self.tcp(), self.tcp(OTHER)
        self.pairs(ending)
        client, peer, _ = self.pairs(staying)
        ending.close()
        client.sendall(b"alive")
        self.assertEqual(peer.recv(10), b"alive")


class Ipv6(LiveTest):
    """TCP relays in IPv6 (RFC 6062 with RFC 8656 s.7.2)."""

    options = Options(hosts=("127.0.0.1", "::1"), relay_ips=("127.0.0.1", "::1"))

    def test_connect_and_attempt(self):
        relay = self.tcp(family=value.IPV6, permit=("::1",))
        self.assertEqual(relay.relayed.ip, "::1")
        listener = self.listener("::1")
        with relay.connect(listener.getsockname()[:2]) as sock:
            peer = self.accept(listener)
            sock.sendall(b"six")
            self.assertEqual(peer.recv(9), b"six")
        self.dial(relay.relayed, "::1")
        attempt = relay.wait_attempt()
        self.assertEqual(attempt[0].ip, "::1")
        relay.bind(attempt[1]).close()

    def test_443_for_ipv4_peers(self):
        relay = self.tcp(family=value.IPV6, permit=())
        self.assertEqual(relay.try_permit("127.0.0.2"), 443)
        self.assert_code(relay.client.try_call(peer_request(Method.CONNECT, ("127.0.0.2", 9))), 443)

    def test_client_in_ipv6(self):
        relay = TcpAllocation(self.server.address("::1"), credential=credential(), family=value.IPV4)
        self.addCleanup(relay.close)
        self.assertEqual(relay.relayed.ip, "127.0.0.1")
        self.assertEqual(relay.mapped.ip, "::1")
        with Client.open(self.server.address("::1"), "udp") as client:
            self.assertEqual(client.binding(), client.transport.local)
