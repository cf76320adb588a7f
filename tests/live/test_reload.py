"""SIGHUP: a new configuration at once or not at all, and what it forbids is closed (checklist S7)."""

from __future__ import annotations

import ssl
import time

from case import LiveTest, causeway_only, credential
from server import Options, certificate, chosen, make_certificate
from stream import ends, is_silent
from turnclient import Client, Credential, Message, Method, Tls, allocate_request, careless_context, peer_request, value


def config(allow: tuple[str, ...] = ("127.0.0.0/8",), deny: tuple[str, ...] = (),
           users: tuple[str, ...] = ("alice:sesame", "bob:open-it"), more: str = "") -> str:
    """The text of a configuration file."""
    def listed(words: tuple[str, ...]) -> str:
        return "{ " + ", ".join(f'"{word}"' for word in words) + " }"

    text = f"user = {listed(users)}\nallow-peer = {listed(allow)}\n"
    return text + (f"deny-peer = {listed(deny)}\n" if deny else "") + more


@causeway_only
class Reload(LiveTest):
    """A server whose users and rules come from a file, started anew for each test."""

    def setUp(self) -> None:
        type(self).options = Options(config=config(), users={}, allow=())
        type(self).server = chosen()(self.options).start()
        self.addCleanup(self.server.stop)
        super().setUp()

    @classmethod
    def setUpClass(cls) -> None:
        """Nothing: see setUp."""

    def reload(self, text: str, event: str = "configuration loaded") -> dict:
        """Reload and wait for what the server says about it."""
        before = len(self.server.events(event))
        self.server.reload(text)
        end = time.monotonic() + 10
        while len(self.server.events(event)) == before:
            self.assertLess(time.monotonic(), end, self.server.tail())
            time.sleep(0.05)
        time.sleep(0.3)  # every worker takes it over
        return self.server.events(event)[-1]

    def allocate(self, who: Credential) -> int:
        """The code of an Allocate."""
        with Client.open(self.server.address(), "udp", who) as client:
            return client.try_call(allocate_request(value.UDP)).code

    def test_sessions_go_on(self):
        relay, listener, udp, peer = self.tcp(), self.listener(), self.udp(), self.udp_peer()
        sock = relay.connect(listener.getsockname())
        other = self.accept(listener)
        for _ in range(3):
            self.reload(config())
        sock.sendall(b"on")
        self.assertEqual(other.recv(10), b"on")
        udp.send(peer.getsockname(), b"on")
        self.assertEqual(peer.recv(10), b"on")
        relay.refresh()
        udp.refresh()
        sock.close()

    def test_users_come_and_go(self):
        carol = Credential("carol", "new-here")
        self.assertEqual(self.allocate(carol), 401)
        self.reload(config(users=("alice:sesame", "carol:new-here")))
        self.assertEqual(self.allocate(carol), 0)
        self.assertEqual(self.allocate(credential("bob")), 401)
        self.assertEqual(self.allocate(credential()), 0)

    def test_bad_file_changes_nothing(self):
        for text in (config(allow=("300.0.0.0/8",)), "user = {\n", config(more="no-such-option = 1\n"), ""):
            if text:
                event = self.reload(text, "configuration refused")
                self.assertRegex(str(event), r"causeway\.conf:\d+")
            self.assertEqual(self.allocate(credential()), 0)
            self.assertEqual(self.udp(permit=()).try_permit("127.0.0.2"), 0)

    def test_missing_file_changes_nothing(self):
        (self.server.folder / "causeway.conf").unlink()
        self.server.signal(1)
        self.assertIsNotNone(self.server.wait_event("configuration refused"))
        self.assertEqual(self.allocate(credential()), 0)

    def test_new_deny_closes_connections(self):
        relay = self.tcp(permit=("127.0.0.2", "127.0.0.3"))
        pairs = {}
        for ip in ("127.0.0.2", "127.0.0.3"):
            listener = self.listener(ip)
            client = relay.connect(listener.getsockname())
            self.addCleanup(client.close)
            pairs[ip] = client, self.accept(listener)
        waiting = self.dial(relay.relayed)
        self.assertIsNotNone(relay.wait_attempt())
        self.reload(config(deny=("127.0.0.2/32",)))
        for sock in (*pairs["127.0.0.2"], waiting):
            self.assertTrue(ends(sock), "a connection that is forbidden now goes on")
        client, peer = pairs["127.0.0.3"]
        client.sendall(b"allowed")
        self.assertEqual(peer.recv(10), b"allowed")
        self.assertTrue(is_silent(client, 0.2))
        self.assert_code(relay.client.try_call(peer_request(Method.CONNECT, ("127.0.0.2", 9))), 403)
        self.assertTrue(self.is_turned_away(relay.relayed))

    def test_new_deny_ends_permissions_and_channels(self):
        relay = self.udp(permit=("127.0.0.2", "127.0.0.3"))
        denied, allowed, channel = self.udp_peer(), self.udp_peer("127.0.0.3"), self.udp_peer()
        relay.bind_channel(0x4000, channel.getsockname())
        self.reload(config(deny=("127.0.0.2/32",)))
        relay.send(denied.getsockname(), b"no")
        relay.send_channel(0x4000, b"no")
        self.assert_nothing(denied)
        self.assert_nothing(channel)
        denied.sendto(b"no", relay.relayed)
        channel.sendto(b"no", relay.relayed)
        allowed.sendto(b"yes", relay.relayed)
        self.assertEqual(relay.recv()[1], b"yes")
        self.assertIsNone(relay.recv(0.3))
        self.assertEqual(relay.try_permit("127.0.0.2"), 403)

    def test_allow_taken_away(self):
        relay = self.udp()
        self.reload(config(allow=("127.0.0.3/32",)))
        peer = self.udp_peer()
        relay.send(peer.getsockname(), b"no")
        self.assert_nothing(peer)
        self.assertEqual(relay.try_permit("127.0.0.3"), 0)

    def test_limits_change(self):
        held = self.udp(permit=())
        self.reload(config(more="max-allocations-per-user = 1\n"))
        self.assertEqual(self.allocate(credential()), 486)
        held.release()
        self.assertEqual(self.allocate(credential()), 0)

    def test_certificate_is_read_again(self):
        first, second = certificate(), make_certificate(self.server.folder, "second.example.org")
        for path in (first[0].parent, *first, *second):
            path.chmod(0o755 if path.is_dir() else 0o644)
        seen = []
        for cert, key in (first, second):
            self.reload(config(more=f'cert = "{cert}"\nkey = "{key}"\n'))
            seen.append(ssl.get_server_certificate(self.server.address()).strip())
            self.assertEqual(seen[-1], cert.read_text().strip())
        self.assertNotEqual(*seen)

    def test_tls_connections_outlive_it(self):
        client = Client(Tls(self.server.address(), context=careless_context()))
        self.addCleanup(client.close)
        client.binding()
        self.reload(config())
        client.binding()

    def test_many_reloads_under_load(self):
        relay, peer = self.udp(), self.udp_peer()
        relay.bind_channel(0x4000, peer.getsockname())
        for number in range(20):
            self.server.reload(config(deny=("10.0.0.0/8",) * (number % 2)))
            for _ in range(20):
                relay.send_channel(0x4000, b"x")
                self.assertEqual(peer.recv(10), b"x")
            relay.client.call(Message(Method.REFRESH))
        self.assertLess(self.server.descriptors(), 100)
