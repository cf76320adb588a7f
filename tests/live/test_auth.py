"""Long-term credentials as RFC 8489 s.9.2 wants them, classic clients included, and all that must not open the door."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from dataclasses import replace

from case import LiveTest, causeway_only, credential
from server import OTHER, PASSWORD, USER, Options, chosen
from turnclient import (
    At, Client, Closed, Credential, Message, Method, NoAnswer, UdpAllocation, allocate_request, make_key, peer_request,
    rest_user, security_bits, value,
)
from turnclient.credential import PASSWORD_ALGORITHMS_BIT, USERNAME_ANONYMITY_BIT


class AuthTest(LiveTest):
    """Helpers: a client that has been challenged, requests signed by hand."""

    def challenged(self, **how: object) -> Client:
        """A UDP client that knows realm, nonce and password algorithms."""
        client = self.client(**how)
        client.credential.learn(client.request(allocate_request(value.UDP)))
        return client

    def request(self, client: Client, *, user: bytes | None = None, realm: bytes | None = None,
                nonce: bytes | None = None) -> Message:
        """An Allocate with USERNAME, REALM and NONCE; empty bytes leave an attribute out."""
        who = client.credential
        message = allocate_request(value.UDP)
        for kind, given, default in ((At.USERNAME, user, who.user.encode()), (At.REALM, realm, who.realm.encode()),
                                     (At.NONCE, nonce, who.nonce)):
            content = default if given is None else given
            if content:
                message.add(kind, content)
        return message


class Challenge(AuthTest):
    """The 401 (RFC 8489 s.9.2.4)."""

    options = Options(realm="cw")

    def test_contents(self):
        response = self.client().request(allocate_request(value.UDP))
        self.assert_code(response, 401)
        self.assertEqual(response.get(At.REALM), b"cw")
        self.assertTrue(response.has(At.NONCE))
        self.assertFalse(response.has(At.MESSAGE_INTEGRITY) or response.has(At.MESSAGE_INTEGRITY_SHA256))

    def test_nonce_cookie_and_algorithms(self):
        response = self.client().request(allocate_request(value.UDP))
        bits = security_bits(response.get(At.NONCE))
        self.assertIsNotNone(bits, "the nonce has no cookie")
        self.assertTrue(bits & PASSWORD_ALGORITHMS_BIT)
        offered = value.read_algorithms(response.get(At.PASSWORD_ALGORITHMS) or b"")
        self.assertIn(value.SHA256, offered)
        self.assertLessEqual(set(offered), {value.MD5, value.SHA256})

    def test_small_answers(self):
        request = allocate_request(value.UDP)
        self.assertEqual(len(bytes(request)), 28)
        self.assertLessEqual(len(self.client().request(request).raw), 90)
        self.assertEqual(len(self.client().request(Message(Method.BINDING)).raw), 32)

    def test_every_authenticated_method_is_challenged(self):
        for method in (Method.ALLOCATE, Method.REFRESH, Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT,
                       Method.CONNECTION_BIND):
            with self.subTest(method=method.name):
                self.assert_code(self.client("tcp").request(Message(method)), 401)

    def test_nonces_differ(self):
        clients = [self.client(source=f"127.0.0.{n}") for n in range(2, 10)]
        nonces = {client.request(allocate_request(value.UDP)).get(At.NONCE) for client in clients}
        self.assertEqual(len(nonces), 8, "different clients got the same nonce")

    def test_method_unknown(self):
        try:  # RFC 8489 s.6.3 has it discarded
            self.assert_code(self.client().request(Message(0x0FF), 1), 400, 401)
        except NoAnswer:
            pass


class Schemes(AuthTest):
    """Integrity and password algorithms that must work."""

    def allocate(self, who: Credential, kind: str = "udp") -> UdpAllocation:
        """An allocation with these credentials; checks the response's integrity."""
        relay = UdpAllocation(self.server.address(), kind=kind, credential=who)
        self.addCleanup(relay.close)
        return relay

    def test_classic(self):
        for kind in ("udp", "tcp"):
            response = self.allocate(credential(), kind).response
            self.assertTrue(response.has(At.MESSAGE_INTEGRITY))
            self.assertFalse(response.has(At.MESSAGE_INTEGRITY_SHA256))

    def test_sha256(self):
        for kind in ("udp", "tcp"):
            response = self.allocate(credential(modern=True), kind).response
            self.assertEqual(len(response.get(At.MESSAGE_INTEGRITY_SHA256) or b""), 32)
            self.assertFalse(response.has(At.MESSAGE_INTEGRITY))

    def test_md5_by_name(self):
        client = self.challenged()
        if value.MD5 not in value.read_algorithms(client.credential.offered):
            self.skipTest("MD5 is not offered by name")
        response = self.allocate(credential(modern=True, algorithm=value.MD5)).response
        self.assertTrue(response.has(At.MESSAGE_INTEGRITY_SHA256))

    def test_userhash(self):
        for modern in (True, False):
            with self.subTest(modern=modern):
                relay = self.allocate(credential(modern=modern, hash_user=True))
                relay.permit("127.0.0.2")
                relay.release()

    def test_anonymity_bit_is_set_when_userhash_works(self):
        client = self.challenged()
        self.assertTrue(security_bits(client.credential.nonce) & USERNAME_ANONYMITY_BIT)

    def test_every_request_of_a_modern_client(self):
        relay = self.allocate(credential(modern=True, hash_user=True))
        relay.permit("127.0.0.2")
        relay.bind_channel(0x4000, ("127.0.0.2", 9))
        self.assertGreater(relay.refresh(), 0)
        relay.release()

    def test_error_responses_are_signed(self):
        relay = self.allocate(credential())
        response = relay.client.try_call(allocate_request(value.UDP))
        self.assert_code(response, 437)
        self.assertTrue(relay.credential.is_proven(response))

    def test_fingerprint_is_answered(self):
        response = self.client().request(Message(Method.BINDING).fingerprint())
        self.assert_code(response, 0)
        self.assertTrue(response.is_fingerprint_right(), "no FINGERPRINT in the answer to a message with one")

    def test_a_user_of_another_password(self):
        self.allocate(credential(OTHER))


class Refusals(AuthTest):
    """What is wrong gets the code that the RFC names."""

    def test_parts_missing(self):
        client = self.challenged()
        for left_out in ("user", "realm", "nonce"):
            with self.subTest(missing=left_out):
                message = self.request(client, **{left_out: b""}).sign(client.credential.key)
                self.assert_code(client.request(message), 400)

    def test_integrity_missing(self):
        client = self.challenged()
        self.assert_code(client.request(self.request(client)), 401)

    def test_wrong_user_and_wrong_password_look_alike(self):
        def answer(**change: object) -> Message:
            client = self.challenged()
            who = replace(client.credential, **change)
            return client.request(who.sign(allocate_request(value.UDP)))

        for scheme in ({}, {"modern": True}, {"modern": True, "hash_user": True}):
            with self.subTest(scheme=scheme):
                answers = [answer(**scheme, password="wrong"), answer(**scheme, user="nobody"),
                           answer(**scheme, user="x" * 300)]
                self.assertEqual({a.code for a in answers}, {401})
                self.assertEqual(len({len(a.raw) for a in answers}), 1, "sizes differ")
                self.assertEqual(len({tuple(x.type for x in a.attributes) for a in answers}), 1)

    def test_wrong_realm(self):
        client = self.challenged()
        who = replace(client.credential, realm="elsewhere.example")
        self.assert_code(client.request(who.sign(allocate_request(value.UDP))), 400, 401, 441)

    def test_flipped_integrity(self):
        for modern in (False, True):
            client = self.challenged(modern=modern)
            message = client.credential.sign(allocate_request(value.UDP))
            last = message.attributes[-1]
            last.value = bytes((last.value[0] ^ 1,)) + last.value[1:]
            self.assert_code(client.request(message), 401)

    def test_truncated_integrity(self):
        client = self.challenged(modern=True)
        for size in (0, 4, 16, 28):
            with self.subTest(size=size):
                message = client.credential.sign(allocate_request(value.UDP))
                message.attributes.pop()
                message.sign(client.credential.key, sha256=True, size=size)
                self.assert_code(client.request(message), 400, 401)

    def test_integrity_of_odd_sizes(self):
        client = self.challenged()
        for kind, size in ((At.MESSAGE_INTEGRITY, 19), (At.MESSAGE_INTEGRITY, 0), (At.MESSAGE_INTEGRITY, 24),
                           (At.MESSAGE_INTEGRITY_SHA256, 33), (At.MESSAGE_INTEGRITY_SHA256, 64)):
            with self.subTest(kind=kind, size=size):
                self.assert_code(client.request(self.request(client).add(kind, bytes(size))), 400, 401)

    def test_key_of_another_algorithm(self):
        client = self.challenged(modern=True)
        key = make_key(USER, client.credential.realm, PASSWORD, value.MD5)
        message = client.credential.sign(allocate_request(value.UDP))
        message.attributes.pop()
        self.assert_code(client.request(message.sign(key, sha256=True)), 401)

    def test_empty_password_and_user(self):
        client = self.challenged()
        for change in ({"password": ""}, {"user": ""}):
            who = replace(client.credential, **change)
            self.assert_code(client.request(who.sign(allocate_request(value.UDP))), 400, 401)

    def test_strange_user_names(self):
        client = self.challenged()
        names = (b"%s%n%n%s", b"'; DROP TABLE users; --", b'"quoted"', b"a\r\nb: c", b"\0", b"\xff\xfe\xc0\xaf",
                 b"\x1b[31mred", b"{\"event\":\"forged\"}", b"x" * 512, b"x" * 513, b"x" * 1000)
        for name in names:
            with self.subTest(name=name[:30]):
                message = self.request(client, user=name).sign(os.urandom(16))
                self.assert_code(client.request(message), 400, 401)
        time.sleep(0.3)
        for line in self.server.lines:
            if line.startswith("{"):
                self.assertNotEqual(json.loads(line).get("event"), "forged")
            self.assertNotIn("\x1b", line)

    def test_secrets_are_not_logged(self):
        self.udp(permit=()).release()
        client = self.challenged()
        client.request(replace(client.credential, password="another-one").sign(allocate_request(value.UDP)))
        time.sleep(0.3)
        for secret in (PASSWORD, "another-one", client.credential.key.hex()):
            self.assertNotIn(secret, self.server.output)


class BidDown(AuthTest):
    """An attacker in the middle cannot talk the parties into weaker algorithms (RFC 8489 s.9.2.1, s.9.2.4)."""

    def attempt(self, algorithms: bytes | None, algorithm: bytes | None, *, sha256: bool = True,
                key: bytes | None = None) -> Message:
        """An Allocate with these two attributes, signed with the SHA-256 key."""
        client = self.challenged()
        message = self.request(client)
        if algorithms is not None:
            message.add(At.PASSWORD_ALGORITHMS, algorithms)
        if algorithm is not None:
            message.add(At.PASSWORD_ALGORITHM, algorithm)
        key = key or make_key(USER, client.credential.realm, PASSWORD, value.SHA256)
        return client.request(message.sign(key, sha256=sha256))

    def offered(self) -> list[int]:
        """The algorithms on offer."""
        return value.read_algorithms(self.challenged().credential.offered)

    def md5_key(self) -> bytes:
        """The key by MD5."""
        return make_key(USER, self.options.realm, PASSWORD)

    def test_only_one_of_the_two(self):
        self.assert_code(self.attempt(None, value.algorithms(value.SHA256)), 400)
        self.assert_code(self.attempt(value.algorithms(*self.offered()), None), 400)

    def test_list_cut_down(self):
        for algorithms in ((value.MD5,), (value.SHA256,), ()):
            if list(algorithms) == self.offered():
                continue
            with self.subTest(algorithms=algorithms):
                chosen = value.algorithms(algorithms[0] if algorithms else value.MD5)
                self.assert_code(self.attempt(value.algorithms(*algorithms), chosen, key=self.md5_key()), 400)

    def test_list_changed(self):
        offered = self.offered()
        both = [value.MD5, value.SHA256]
        for algorithms in (offered[::-1], [*offered, 3], [3, *offered], both, both[::-1]):
            if algorithms == offered:
                continue
            with self.subTest(algorithms=algorithms):
                self.assert_code(self.attempt(value.algorithms(*algorithms), value.algorithms(value.SHA256)), 400)

    def test_algorithm_not_in_the_list(self):
        self.assert_code(self.attempt(value.algorithms(*self.offered()), value.algorithms(7)), 400)

    def test_malformed(self):
        for algorithms, algorithm in ((b"\0\2\0", b"\0\2\0\0"), (b"", b""), (b"\0\2\0\4", b"\0\2\0\0")):
            with self.subTest(algorithms=algorithms):
                self.assert_code(self.attempt(algorithms, algorithm), 400)

    def test_sha1_integrity_with_algorithms(self):
        offered = value.algorithms(*self.offered())
        response = self.attempt(offered, value.algorithms(value.SHA256), sha256=False)
        if response.is_success:  # then at least the answer is strong
            self.assertTrue(response.has(At.MESSAGE_INTEGRITY_SHA256))
        else:
            self.assert_code(response, 400, 401)

    def test_feature_bits_stripped(self):
        client = self.challenged()
        nonce = client.credential.nonce
        stripped = nonce[:9] + base64.b64encode(bytes(3)) + nonce[13:]
        message = self.request(client, nonce=stripped).sign(self.md5_key())
        self.assert_code(client.request(message), 438)

    def test_cookie_stripped(self):
        client = self.challenged()
        message = self.request(client, nonce=client.credential.nonce[13:]).sign(self.md5_key())
        self.assert_code(client.request(message), 438)


class Nonces(AuthTest):
    """Nonces prove freshness (RFC 8489 s.9.2.4; checklist S18)."""

    options = Options(hosts=("127.0.0.1", "::1"), relay_ips=("127.0.0.1",))

    def test_bound_to_the_address(self):
        client = self.challenged(source="127.0.0.2")
        thief = self.client(source="127.0.0.3")
        response = thief.request(client.credential.sign(allocate_request(value.UDP)))
        self.assert_code(response, 438)
        thief.credential.learn(response)
        self.assert_code(thief.request(thief.credential.sign(allocate_request(value.UDP))), 0)

    def test_shared_by_transports_of_one_address(self):
        client = self.challenged()
        with Client.open(self.server.address(), "tcp", client.credential.copy()) as second:
            self.assert_code(second.request(second.signed(allocate_request(value.TCP))), 0)

    def test_invented(self):
        client = self.challenged()
        nonce = client.credential.nonce
        flipped = bytes((nonce[-1] ^ 1,))
        for invented in (b"x", b"0" * 16, nonce[:-1], nonce + b"0", nonce[:-1] + flipped, nonce[:13], b"z" * 763,
                         b"obMatJos2" + base64.b64encode(bytes(3)), os.urandom(40)):
            with self.subTest(nonce=invented[:40]):
                who = replace(client.credential, nonce=invented)
                response = client.request(who.sign(allocate_request(value.UDP)))
                self.assert_code(response, 438)
                self.assertTrue(response.has(At.NONCE) and response.has(At.REALM))

    def test_wrong_password_with_stale_nonce_tells_nothing(self):
        client = self.challenged()
        codes = set()
        for password in (PASSWORD, "wrong"):
            who = replace(client.credential, nonce=b"stale", password=password)
            codes.add(client.request(who.sign(allocate_request(value.UDP))).code)
        self.assertIn(codes, ({438}, {401, 438}))


class ShortNonces(AuthTest):
    """A nonce lifetime of two seconds."""

    options = Options(nonce_lifetime_s=2)

    def test_438_then_success(self):
        relay = self.udp(permit=())
        time.sleep(4.5)
        first = relay.client.request(relay.client.signed(Message(Method.REFRESH)))
        self.assert_code(first, 438)
        self.assertTrue(first.has(At.NONCE))
        self.assertNotEqual(first.get(At.NONCE), relay.credential.nonce)
        relay.refresh()

    def test_stale_nonce_on_connection_bind(self):
        relay = self.tcp()
        listener = self.listener()
        connection_id = relay.connect_id(listener.getsockname())
        peer = self.accept(listener)
        time.sleep(4.5)
        with relay.bind(connection_id) as sock:  # answers 438 once
            sock.sendall(b"fresh")
            self.assertEqual(peer.recv(10), b"fresh")


@causeway_only
class Restart(AuthTest):
    """Nonces of an earlier life."""

    def test_old_nonces_are_stale(self):
        client = self.challenged()
        old = client.credential.copy()
        second = chosen()(self.options).start()
        self.addCleanup(second.stop)
        with Client.open(second.address(), "udp", old) as again:
            self.assert_code(again.request(again.signed(allocate_request(value.UDP))), 438)


class AfterIntegrity(AuthTest):
    """What stands behind MESSAGE-INTEGRITY is nobody's word (RFC 8489 s.14.5; checklist S19, S20)."""

    def test_lifetime(self):
        relay = self.udp(permit=())
        message = relay.credential.sign(Message(Method.REFRESH)).add(At.LIFETIME, value.u32(0))
        response = relay.client.request(message)
        self.assert_code(response, 0)
        self.assertGreater(value.read_u32(response.get(At.LIFETIME)), 0)
        relay.refresh()

    def test_peer_address(self):
        relay, peer = self.udp(permit=()), self.udp_peer("127.0.0.3")
        message = relay.credential.sign(peer_request(Method.CREATE_PERMISSION, ("127.0.0.2", 0)))
        message.add(At.XOR_PEER_ADDRESS, value.xor_address("127.0.0.3", 0, message.txid))
        relay.client.request(message)
        peer.sendto(b"not permitted", relay.relayed)
        self.assertIsNone(relay.recv(0.4))

    def test_required_attribute(self):
        client = self.challenged()
        message = client.credential.sign(Message(Method.ALLOCATE)).add(At.REQUESTED_TRANSPORT, value.octet(value.UDP))
        self.assert_code(client.request(message), 400)

    def test_user(self):
        client = self.challenged()
        message = client.credential.sign(allocate_request(value.UDP)).add(At.USERNAME, b"nobody")
        self.assert_code(client.request(message), 0)

    def test_user_alone(self):
        client = self.challenged()
        who = client.credential
        message = self.request(client, user=b"").sign(who.key).add(At.USERNAME, who.user.encode())
        self.assert_code(client.request(message), 400)

    def test_unknown_required_attribute(self):
        client = self.challenged()
        message = client.credential.sign(allocate_request(value.UDP)).add(0x7ABC, b"")
        self.assert_code(client.request(message), 0)

    def test_second_integrity(self):
        client = self.challenged()
        message = client.credential.sign(allocate_request(value.UDP)).add(At.MESSAGE_INTEGRITY, bytes(20))
        self.assert_code(client.request(message), 0)
        client = self.challenged()
        message = self.request(client).add(At.MESSAGE_INTEGRITY, bytes(20)).sign(client.credential.key)
        self.assert_code(client.request(message), 400, 401)

    def test_first_of_two_counts(self):
        client = self.challenged()
        message = self.request(client).add(At.USERNAME, b"nobody").add(At.REALM, b"nowhere").sign(client.credential.key)
        self.assert_code(client.request(message), 0, 400)
        client = self.challenged()
        message = self.request(client, user=b"nobody").add(At.USERNAME, USER.encode()).sign(client.credential.key)
        self.assert_code(client.request(message), 400, 401)

    def test_wrong_fingerprint_is_no_message(self):
        client = self.challenged()
        message = client.credential.sign(allocate_request(value.UDP)).add(At.FINGERPRINT, b"fake")
        with self.assertRaises(NoAnswer):
            client.request(message, 1.5)

    def test_fingerprint_not_last(self):
        client = self.challenged()
        message = self.request(client).fingerprint()
        message.sign(client.credential.key)
        try:
            self.assertGreaterEqual(client.request(message, 1.5).code, 400)
        except NoAnswer:
            pass

    def test_fingerprint_behind_integrity(self):
        client = self.challenged()
        self.assert_code(client.request(client.credential.sign(allocate_request(value.UDP)).fingerprint()), 0)


class UnknownAttributes(AuthTest):
    """420 with the list (RFC 8489 s.6.3.1; checklist S39)."""

    def unknown(self, response: Message) -> list[int]:
        """The types in UNKNOWN-ATTRIBUTES."""
        raw = response.get(At.UNKNOWN_ATTRIBUTES) or b""
        return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]

    def test_binding(self):
        response = self.client().request(Message(Method.BINDING).add(0x7001, b"a").add(0x7002, b"").add(0xC001, b"xyz"))
        self.assert_code(response, 420)
        self.assertEqual(sorted(self.unknown(response)), [0x7001, 0x7002])

    def test_allocate(self):
        client = self.challenged()
        response = client.try_call(allocate_request(value.UDP).add(0x7001, b"a").add(0x7002, b"bcd"))
        self.assert_code(response, 420)
        self.assertEqual(sorted(self.unknown(response)), [0x7001, 0x7002])
        self.assertTrue(client.credential.is_proven(response))

    def test_optional_ones_are_ignored(self):
        self.assert_code(self.challenged().try_call(allocate_request(value.UDP).add(0x8ABC, b"?").add(0xFFFF, b"")), 0)

    def test_many(self):
        message = Message(Method.BINDING)
        for number in range(40):
            message.add(0x4000 + number, b"")
        response = self.client("tcp").request(message)
        self.assert_code(response, 420)
        found = self.unknown(response)
        self.assertEqual(set(found), set(range(0x4000, 0x4000 + 40)), f"{len(found)} of 40 are listed")

    def test_too_many(self):
        message = Message(Method.BINDING)
        for number in range(1000):
            message.add(0x4000 + number, b"")
        try:
            response = self.client("tcp").request(message)
        except Closed:
            return
        self.assert_code(response, 400, 420)
        self.assertLessEqual(set(self.unknown(response)), set(range(0x4000, 0x4000 + 1000)))


class RestTokens(LiveTest):
    """Time-limited credentials from a shared secret (coturn's use-auth-secret)."""

    SECRET = "north-pole"
    options = Options(secret=SECRET)

    def allocate(self, user: str, password: str, **how: object) -> int:
        """The code of an Allocate."""
        with Client.open(self.server.address(), "udp", Credential(user, password, **how)) as client:
            return client.try_call(allocate_request(value.UDP)).code

    def token(self, expiry: int, user: str = "carol") -> tuple[str, str]:
        """A token with the right HMAC."""
        return rest_user(self.SECRET, user, expiry)

    def test_valid(self):
        self.assertEqual(self.allocate(*self.token(int(time.time()) + 600)), 0)
        self.assertEqual(self.allocate(*self.token(int(time.time()) + 600), modern=True), 0)

    def test_expired(self):
        self.assertEqual(self.allocate(*self.token(int(time.time()) - 60)), 401)
        self.assertEqual(self.allocate(*self.token(0)), 401)

    def test_wrong_secret_or_name(self):
        user, password = self.token(int(time.time()) + 600)
        self.assertEqual(self.allocate(*rest_user("south-pole", "carol", int(time.time()) + 600)), 401)
        self.assertEqual(self.allocate(user.replace("carol", "dave"), password), 401)

    def test_strange_expiry(self):
        for text in ("-1", "99999999999999999999", "18446744073709551617", "1e99", "0x7fffffff", " 99999999999",
                     "+99999999999", "", "abc", "99999999999 "):
            user = f"{text}:carol"
            with self.subTest(user=user):
                code = self.allocate(user, rest_user_password(self.SECRET, user))
                self.assertEqual(code, 401)

    def test_far_future_is_no_crash(self):
        user = f"{2**63 - 1}:carol"
        self.assertIn(self.allocate(user, rest_user_password(self.SECRET, user)), (0, 401))

    def test_name_with_colons(self):
        self.assertEqual(self.allocate(*self.token(int(time.time()) + 600, "a:b:c")), 0)

    def test_owner_is_the_whole_name(self):
        first = self.token(int(time.time()) + 600, "carol")
        second = self.token(int(time.time()) + 600, "dave")
        with UdpAllocation(self.server.address(), *first, kind="udp") as relay:
            relay.client.credential = Credential(*second)
            self.assert_code(relay.client.try_call(Message(Method.REFRESH)), 441)


def rest_user_password(secret: str, name: str) -> str:
    """The password that belongs to any name."""
    return base64.b64encode(hmac.new(secret.encode(), name.encode(), hashlib.sha1).digest()).decode()
