"""ConnectionBind (RFC 6062 s.5.4): failures are answered on a usable connection, only success uses the id up."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import replace

from case import OTHER, credential, slow
from pairing import ByAttempt, ByConnect, Pairing, load_concrete
from stream import ends, read_exactly
from turnclient import At, Client, Credential, Message, Method, bind_request, taken_socket

HAND_OVERS = 24


class BindTests(Pairing):
    """Everything about the request itself."""

    def setUp(self) -> None:
        super().setUp()
        self.relay = self.tcp()
        self.peer, self.connection_id = self.waiting(self.relay)

    def connection(self, who: Credential | None = None) -> Client:
        """A second connection that knows the nonce."""
        client = self.relay.data_client(who)
        self.addCleanup(client.close)
        return client

    def bind_on(self, client: Client, who: Credential | None = None) -> None:
        """Bind on this connection, now or again, and see bytes pass."""
        client.credential = who or self.relay.credential.copy()
        client.call(bind_request(self.connection_id))
        self.assert_joined(taken_socket(client), self.peer)

    def fail_then_bind(self, request: Message, *codes: int, client: Client | None = None) -> Message:
        """The request is refused with one of the codes; then the bind succeeds on the same connection."""
        client = client or self.connection()
        response = client.request(request)
        self.assert_code(response, *codes)
        self.bind_on(client)
        return response

    # failures are answered, and the same connection may try again

    def test_no_credentials(self):
        response = self.fail_then_bind(bind_request(self.connection_id), 401)
        self.assertTrue(response.has(At.NONCE) and response.has(At.REALM), "401 without challenge")

    def test_challenge_can_be_used(self):
        client = Client.open(self.server.address(), "tcp", credential())
        self.addCleanup(client.close)
        client.call(bind_request(self.connection_id))
        self.assert_joined(taken_socket(client), self.peer)

    def test_wrong_password(self):
        wrong = self.relay.credential.copy()
        wrong.password = "wrong"
        self.fail_then_bind(wrong.sign(bind_request(self.connection_id)), 401)

    def test_unknown_user(self):
        wrong = self.relay.credential.copy()
        wrong.user = "nobody"
        self.fail_then_bind(wrong.sign(bind_request(self.connection_id)), 401)

    def test_bad_nonce(self):
        stale = self.relay.credential.copy()
        stale.nonce = stale.nonce[:-4] + b"0000"
        response = self.fail_then_bind(stale.sign(bind_request(self.connection_id)), 438)
        self.assertTrue(response.has(At.NONCE), "438 without a new nonce")

    def test_nonce_missing(self):
        request = bind_request(self.connection_id)
        request.add(At.USERNAME, self.relay.credential.user.encode())
        request.add(At.REALM, self.relay.credential.realm.encode())
        self.fail_then_bind(request.sign(self.relay.credential.key), 400)

    def test_connection_id_missing(self):
        self.fail_then_bind(self.relay.credential.sign(Message(Method.CONNECTION_BIND)), 400)

    def test_connection_id_of_wrong_size(self):
        for size in (0, 3, 8):
            with self.subTest(size=size):
                request = Message(Method.CONNECTION_BIND).add(At.CONNECTION_ID, bytes(size))
                self.assert_code(self.connection().request(self.relay.credential.sign(request)), 400)
        self.bind_on(self.connection())

    def test_unknown_id(self):
        unknown = struct.unpack("!I", os.urandom(4))[0] ^ self.connection_id | 1
        self.fail_then_bind(self.relay.credential.sign(bind_request(unknown)), 400)

    def test_unknown_attribute(self):
        request = bind_request(self.connection_id).add(0x7ABC, b"what")
        response = self.fail_then_bind(self.relay.credential.sign(request), 420)
        self.assertEqual(response.get(At.UNKNOWN_ATTRIBUTES), b"\x7a\xbc")

    def test_every_failure_in_turn(self):
        client = self.connection()
        wrong = self.relay.credential.copy()
        wrong.password = "wrong"
        stale = self.relay.credential.copy()
        stale.nonce = b"stale"
        for _ in range(2):
            self.assert_code(client.request(bind_request(self.connection_id)), 401)
            self.assert_code(client.request(wrong.sign(bind_request(self.connection_id))), 401)
            self.assert_code(client.request(stale.sign(bind_request(self.connection_id))), 438)
            self.assert_code(client.request(self.relay.credential.sign(Message(Method.CONNECTION_BIND))), 400)
            self.assert_code(client.request(Message(Method.BINDING)), 0)
        self.bind_on(client)

    # only success uses the id up

    def test_failures_of_others_burn_nothing(self):
        for _ in range(5):
            with Client.open(self.server.address(), "tcp") as stranger:
                self.assert_code(stranger.request(bind_request(self.connection_id)), 401)
        self.bind_on(self.connection())

    def test_foreign_user_neither_binds_nor_burns(self):
        for _ in range(3):
            foreigner = self.connection(credential(OTHER))
            self.assert_code(foreigner.try_call(bind_request(self.connection_id)), 441)
        self.bind_on(self.connection())

    def test_foreign_user_then_owner_on_one_connection(self):
        client = self.connection(credential(OTHER))
        self.assert_code(client.try_call(bind_request(self.connection_id)), 441)
        self.bind_on(client)

    def test_over_udp(self):
        client = self.client("udp")
        self.assert_code(client.try_call(bind_request(self.connection_id)), 400)
        self.bind_on(self.connection())

    def test_on_the_control_connection(self):
        response = self.relay.client.try_call(bind_request(self.connection_id))
        self.assertGreaterEqual(response.code, 400)
        self.relay.refresh()
        self.bind_on(self.connection())

    def test_second_bind_of_a_used_id(self):
        client, again = self.connection(), self.connection()
        client.call(bind_request(self.connection_id))
        self.assert_code(again.try_call(bind_request(self.connection_id)), 400)
        self.assert_joined(taken_socket(client), self.peer)

    def test_a_bind_after_success_is_the_peers(self):
        client = self.connection()
        client.call(bind_request(self.connection_id))
        later = bytes(client.signed(bind_request(self.connection_id)))
        client.transport.send(later)
        self.assertEqual(read_exactly(self.peer, len(later), 10), later)

    # around it

    def test_modern_credentials(self):
        self.bind_on(self.connection(), replace(self.relay.credential, modern=True))

    def test_bind_over_tls(self):
        client = Client.open(self.server.address(), "tls", self.relay.credential.copy())
        self.addCleanup(client.close)
        client.call(bind_request(self.connection_id))
        self.assert_joined(taken_socket(client), self.peer)

    def test_request_octet_by_octet(self):
        client = self.connection()
        for octet in bytes(client.signed(bind_request(self.connection_id))):
            client.transport.send(bytes((octet,)))
            time.sleep(0.001)
        self.assert_code(client.receive(), 0)
        self.assert_joined(taken_socket(client), self.peer)

    def test_hand_over_between_workers(self):
        self.bind_on(self.connection())
        for number in range(HAND_OVERS):
            peer, connection_id = self.waiting(self.relay)
            with self.relay.bind(connection_id) as client, peer:
                word = b"%d" % number
                client.sendall(word)
                self.assertEqual(read_exactly(peer, len(word), 10), word)

    def test_peer_gone_before_the_bind(self):
        self.peer.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: reset
        self.peer.close()
        client = self.connection()
        response = client.try_call(bind_request(self.connection_id))
        self.assert_code(response, 0, 400)
        if response.is_success:
            self.assertTrue(ends(taken_socket(client)))
        self.relay.refresh()

    def test_control_connection_closes_waiting_peer(self):
        self.relay.close()
        self.assertTrue(ends(self.peer), "the waiting peer outlived the allocation")

    @slow
    def test_unbound_peer_ends_after_30_s(self):
        began = time.monotonic()
        self.assertTrue(ends(self.peer, 40), "an unbound peer was kept for 40 s")
        self.assertGreaterEqual(time.monotonic() - began, 25)
        self.assert_code(self.connection().try_call(bind_request(self.connection_id)), 400)


class BindAfterConnect(BindTests, ByConnect):
    """Connection ids of Connect responses."""


class BindAfterAttempt(BindTests, ByAttempt):
    """Connection ids of ConnectionAttempt indications."""


class Guessing(ByAttempt):
    """Connection ids cannot be found by trying."""

    def test_ids_are_not_a_sequence(self):
        relay = self.tcp()
        ids = []
        for _ in range(8):
            peer, connection_id = self.waiting(relay)
            ids.append(connection_id & 0xFFFFFF)
            peer.close()
        steps = {(b - a) & 0xFFFFFF for a, b in zip(ids, ids[1:])}
        self.assertEqual(len(set(ids)), len(ids))
        self.assertGreater(len(steps), 4, f"ids follow each other: {ids}")


def load_tests(loader, _tests, _pattern):
    """Leave the mix-ins out."""
    return load_concrete(loader, BindAfterConnect, BindAfterAttempt, Guessing)
