"""Credentials for Microsoft's clients over SIP SERVICE: TCP, TLS and mutual TLS, who may ask, and everything malformed."""

from __future__ import annotations

import base64
import json
import os
import ssl
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from case import LiveTest, causeway_only, slow
from msclient import MsClient
from server import CausewayServer, Options, chosen, free_port, make_certificate
from sipclient import SipAnswer, SipClient, ask, message, request_xml
from turnclient import Address

RELAYS = ("internet://av.example.org:3478:443", "intranet://10.1.2.3:0:443", "[2001:db8::7]:3479")
HOST = "127.0.0.1"


def careless(cert: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A context that trusts everybody, with a certificate of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert:
        context.load_cert_chain(*cert)
    return context


class MrasTest(LiveTest):
    """A server with the service on `tcp` and `tls`."""

    more: ClassVar[tuple[str, ...]] = ()
    tcp_port: ClassVar[int]
    tls_port: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        cls.tcp_port, cls.tls_port = free_port((HOST,)), free_port((HOST,))
        words = ["--mras-listen", f"tcp://{HOST}:{cls.tcp_port}", "--mras-listen", f"tls://{HOST}:{cls.tls_port}"]
        for relay in RELAYS:
            words += ["--mras-relay", relay]
        cls.options = Options(extra=(*words, *cls.more))
        super().setUpClass()

    def sip(self, kind: str = "tcp", cert: tuple[Path, Path] | None = None, source: str = "") -> SipClient:
        """A connection, closed at the end."""
        port, context = (self.tcp_port, None) if kind == "tcp" else (self.tls_port, careless(cert))
        client = SipClient(Address(HOST, port), context, source)
        self.addCleanup(client.close)
        return client

    def service(self, *asks: str, kind: str = "tcp", **how) -> SipAnswer:
        """The answer to a request."""
        return self.sip(kind).call(message(body=request_xml(*asks, **how)))

    def assert_turned_away(self, **how) -> None:
        """A connection is closed before it is heard."""
        try:
            client = self.sip(**how)
            client.send(message("OPTIONS"))
        except (ConnectionError, ssl.SSLError):
            return
        self.assertTrue(client.is_ended())


@causeway_only
class Credentials(MrasTest):
    """What a SIP server gets for its clients."""

    def test_they_open_the_relay(self):
        for kind in ("tcp", "tls"):
            with self.subTest(kind):
                answer = self.service(kind=kind)
                self.assertEqual((answer.status, answer.phrase), (200, "OK"))
                (user, password), = answer.credentials()
                self.assertEqual((len(user), len(password)), (56, 20))
                client = MsClient(self.server.address(), "tcp", user=user, password=password)
                self.addCleanup(client.close)
                self.assertEqual(client.allocate().code, 0)
                issued = self.server.wait_event("mras credentials issued", transport=f"sip/{kind}")
                made = self.server.wait_event("allocation made", client=f"{HOST}:{client.sock.getsockname()[1]}")
                self.assertTrue(issued and made, self.server.tail())
                self.assertEqual(issued["user"], "sip:alice@example.org")
                self.assertEqual(made["user"], issued["account"])

    def test_forged_ones_do_not(self):
        (user, password), = self.service().credentials()
        for at in (4, 20, 55):
            forged = bytearray(user)
            forged[at] ^= 1
            client = MsClient(self.server.address(), "udp", user=bytes(forged), password=password)
            self.addCleanup(client.close)
            self.assertEqual(client.allocate().code, 436)
        client = MsClient(self.server.address(), "udp", user=user, password=password[::-1])
        self.addCleanup(client.close)
        self.assertEqual(client.allocate().code, 431)

    def test_head_of_the_answer(self):
        answer = self.sip().call(message(body=request_xml(), branch="z9hG4bKx", more="Via: SIP/2.0/TLS b;branch=c\r\n"))
        vias = [value for name, value in answer.headers if name == "Via"]
        self.assertEqual(vias, ["SIP/2.0/TCP fe.example.org:5060;branch=z9hG4bKx;received=127.0.0.1",
                                "SIP/2.0/TLS b;branch=c"])
        self.assertRegex(answer["To"], r"^<sip:MRASLoc.x@example.org>;tag=[0-9a-f]{16}$")
        self.assertEqual(answer["From"], "<sip:alice@example.org>;tag=1;epid=2")
        self.assertEqual(answer["CSeq"], "1 SERVICE")
        self.assertEqual(answer.root.attrib, {
            "requestID": "71301", "version": "2.0", "serverVersion": "2.0", "to": "sip:MRASLoc.x@example.org",
            "from": "sip:alice@example.org", "reasonPhrase": "OK"})

    def test_relays_by_location(self):
        everywhere = self.service(ask())
        self.assertEqual(everywhere.texts("location"), ["internet", "intranet", "internet", "intranet"])
        self.assertEqual(everywhere.texts("hostName"), ["av.example.org", "10.1.2.3", "2001:db8::7", "2001:db8::7"])
        self.assertEqual(everywhere.texts("udpPort"), ["3478", "3479", "3479"])
        self.assertEqual(everywhere.texts("tcpPort"), ["443"] * 4)
        self.assertEqual(self.service(ask(location="intranet")).texts("hostName"), ["10.1.2.3", "2001:db8::7"])
        direct = self.service(ask(location="intranet"), more='route="directip"')
        self.assertEqual(direct.texts("directIPAddress"), ["10.1.2.3", "2001:db8::7"])

    def test_durations(self):
        for wanted, given in (("", "480"), ("10", "10"), ("480", "480"), ("481", "480"), ("99999999999999", "480")):
            self.assertEqual(self.service(ask(duration=wanted)).texts("duration"), [given])

    def test_a_hundred(self):
        answer = self.service(*(ask(f"sip:u{i}@example.org", i) for i in range(1, 101)))
        self.assertEqual(answer.phrase, "OK")
        self.assertEqual(len(set(answer.credentials())), 100)

    def test_one_connection_serves_many(self):
        with self.sip("tls") as client:
            client.send(b"".join(message(body=request_xml()) for _ in range(20)))
            self.assertEqual([client.receive().status for _ in range(20)], [200] * 20)
            one = message(body=request_xml())
            for cut in range(1, len(one), 97):
                client.send(one[:cut])
                time.sleep(0.002)
                client.send(one[cut:])
                self.assertEqual(client.receive().phrase, "OK")

    def test_keepalive(self):
        with self.sip() as client:
            client.send(b"\r\n\r\n")
            self.assertEqual(client.receive_exactly(2), b"\r\n")
            client.send(b"\r\n" + message("OPTIONS"))
            self.assertEqual(client.receive().status, 200)

    def test_key_file(self):
        path = self.server.folder / "state" / "mras.keys"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertRegex(path.read_text(), r"^[0-9]+ [0-9a-f]{64}\n$")

    def test_command_line(self):
        words = [CausewayServer.program(), "user", "mras", "sip:bob@example.org", "--json", "--ttl", "60s", "--state",
                 str(self.server.folder / "state"), "--realm", "example.org"]
        made = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        self.assertEqual((made["ttl"], made["realm"]), (60, "example.org"))
        client = MsClient(self.server.address(), "udp", user=base64.b64decode(made["username"]),
                          password=base64.b64decode(made["password"]))
        self.addCleanup(client.close)
        self.assertEqual(client.allocate().code, 0)


@causeway_only
class BadInput(MrasTest):
    """Each is answered by the right refusal, and the connection lives on where it can."""

    def test_bodies_that_are_no_request(self):
        bomb = '<!DOCTYPE r [<!ENTITY a "' + "ha" * 50 + '">' + "".join(
            f'<!ENTITY {c} "{f"&{p};" * 10}">' for p, c in zip("abcdefgh", "bcdefghi")) + "]>"
        outside = '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
        with self.sip() as client:
            for body in ("hello", "<x/>", bomb + request_xml(ask("&i;")), outside + request_xml(ask("&a;")),
                         request_xml(ask("&a;")), request_xml()[:-1], request_xml() + "x", "\x00", "<a>" * 5000,
                         '<?xml version="1.0"?>' + request_xml().replace(">", "\xff>", 1)):
                answer = client.call(message(body=body.encode("latin-1")))
                self.assertEqual((answer.status, answer.body), (400, b""), body[:60])
            self.assertEqual(client.call(message(body="")).status, 415)
            self.assertEqual(client.call(message(body=request_xml())).phrase, "OK")

    def test_requests_that_cannot_be_granted(self):
        with self.sip() as client:
            for phrase, body in (
                    ("Request Too Large", request_xml(*(ask(number=i) for i in range(1, 102)))),
                    ("Version Mismatch", request_xml(version="7.0")),
                    ("Request Malformed", request_xml("<nothing/>")),
                    ("Request Malformed", request_xml(ask(identity=""))),
                    ("Request Malformed", request_xml(ask(location="moon"))),
                    ("Request Malformed", request_xml(ask(duration="0"))),
                    ("Request Malformed", request_xml(more='route="elsewhere"')),
                    ("Request Malformed", request_xml("<a>" * 100 + "</a>" * 100))):
                answer = client.call(message(body=body))
                self.assertEqual((answer.status, answer.phrase), (200, phrase))
                self.assertEqual(answer.credentials(), [])
            for version in ("1.0", "3.0"):
                self.assertEqual(client.call(message(body=request_xml(version=version))).phrase, "OK")

    def test_methods(self):
        with self.sip() as client:
            for method, status in (("INVITE", 405), ("REGISTER", 405), ("SUBSCRIBE", 405), ("X-NEW", 405),
                                   ("CANCEL", 481), ("OPTIONS", 200)):
                answer = client.call(message(method))
                self.assertEqual(answer.status, status, method)
                if status in (200, 405):
                    self.assertEqual(answer["Allow"], "SERVICE, OPTIONS")
            client.send(message("ACK") + message("BENOTIFY") + b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n")
            self.assertEqual(client.call(message("OPTIONS")).status, 200)

    def test_heads(self):
        xml = request_xml()
        good = message(body=xml)
        with self.sip() as client:
            for status, data in (
                    (400, message(body=xml, more="CSeq: 1 SERVICE\r\n")),
                    (400, good.replace(b"CSeq: 1 SERVICE", b"CSeq: 1 INVITE")),
                    (400, good.replace(b"Max-Forwards: 70", b"Max-Forwards: 256")),
                    (400, good.replace(b"Call-ID", b"X-Call")),
                    (400, message(body=xml, more="a line without a colon\r\n")),
                    (400, message(body=xml, more="X: a\nY: b\r\n")),
                    (400, message(body=xml, uri="sip:a b@c")),
                    (400, message(body=xml, uri="<sip:a@b>")),
                    (416, message(body=xml, uri="nobody:knows")),
                    (415, message(body=xml, kind="text/xml")),
                    (415, message(body=xml, more="Content-Encoding: gzip\r\n")),
                    (420, message(body=xml, more="Require: 100rel\r\n")),
                    (505, good.replace(b"SIP/2.0\r\n", b"SIP/9.0\r\n", 1))):
                self.assertEqual(client.call(data).status, status, data[:300])
            self.assertEqual(client.call(message(body=xml, kind=" APPLICATION/msrtc-media-relay-auth+xml ;charset=utf-8",
                                                 more="Content-Encoding: identity\r\n")).status, 200)

    def test_streams_that_are_lost(self):
        for status, data in (
                (400, message(length="-1")),
                (400, message(length="18446744073709551616")),
                (400, message(length="5\r\nl: 5")),
                (400, message().replace(b"Content-Length", b"X-Length")),
                (413, message(length=str(64 * 1024 + 1))),
                (413, message(length="18446744073709551615"))):
            with self.sip() as client:
                self.assertEqual(client.call(data).status, status, data)
                self.assertTrue(client.is_ended())
        for data in (b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"\rx", b"\nx", b" x",
                     b"A" * 17000, b"SERVICE sip:a SIP/2.0\r\n" + b"X: y\r\n" * 200 + b"l: 0\r\n\r\n", b"\x00" * 100):
            with self.sip() as client:
                client.send(data)
                self.assertTrue(client.is_ended(), data[:40])

    def test_tls_ports_speak_tls(self):
        client = SipClient(Address(HOST, self.tls_port))
        self.addCleanup(client.close)
        client.send(message("OPTIONS"))
        self.assertTrue(client.is_ended())

    def test_a_flood_is_answered_with_503(self):
        seen = set()
        with self.sip() as client:
            for _ in range(20):
                client.send(message("OPTIONS") * 200)
                seen |= {client.receive().status for _ in range(200)}
        self.assertEqual(seen, {200, 503})
        with self.sip() as client:
            self.assertEqual(client.call(message("OPTIONS")).status, 200)

    def test_connections_of_one_address(self):
        held = [self.sip() for _ in range(16)]
        self.assertEqual(held[-1].call(message("OPTIONS")).status, 200)
        self.assert_turned_away()
        self.assertEqual(self.sip(source="127.0.0.5").call(message("OPTIONS")).status, 200)
        held[0].close()
        time.sleep(0.3)
        self.assertEqual(self.sip().call(message("OPTIONS")).status, 200)

    @slow
    def test_the_slow_are_closed(self):
        silent, dribbling, resting = self.sip(), self.sip(), self.sip()
        self.assertEqual(resting.call(message("OPTIONS")).status, 200)
        end, data = time.monotonic() + 20, iter(message(body=request_xml()))
        try:
            while time.monotonic() < end:
                dribbling.send(bytes((next(data),)))
                time.sleep(0.25)
            self.fail("a message that takes for ever is waited for")
        except (ConnectionError, BrokenPipeError):
            pass
        self.assertTrue(silent.is_ended())
        self.assertEqual(resting.call(message("OPTIONS")).status, 200)


@causeway_only
class ByAddress(MrasTest):
    """mras-allow."""

    more = ("--mras-allow", "127.0.0.7/32", "--mras-allow", "127.0.1.0/24")

    def test_who_may_ask(self):
        for source in ("127.0.0.7", "127.0.1.9"):
            self.assertEqual(self.sip(source=source).call(message("OPTIONS")).status, 200)
            self.assertEqual(self.sip("tls", source=source).call(message("OPTIONS")).status, 200)
        for kind in ("tcp", "tls"):
            self.assert_turned_away(kind=kind, source="127.0.0.8")
        refused = self.server.wait_event("client refused", rule="mras-allow")
        self.assertTrue(refused and refused["client"].startswith("127.0.0.8:"), self.server.tail())


@causeway_only
class ByCertificate(LiveTest):
    """mras-client-ca, and reloads of it."""

    @classmethod
    def setUpClass(cls) -> None:
        """Nothing: a server for each test."""

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="causeway-mras-")
        self.addCleanup(holder.cleanup)
        folder = Path(holder.name)
        folder.chmod(0o755)
        self.good, self.other = make_certificate(folder, "fe.example.org"), make_certificate(folder, "fe.example.net")
        self.port = free_port((HOST,))
        type(self).server = chosen()(Options(config=self.config(self.good))).start()
        self.addCleanup(self.server.stop)
        super().setUp()

    def config(self, authority: tuple[Path, Path], allow: str = "", secret: str = "") -> str:
        """The text of a configuration file."""
        text = f'mras-listen = "tls://{HOST}:{self.port}"\nmras-relay = "av.example.org"\nmras-client-ca = "{authority[0]}"\n'
        return text + (f'mras-allow = "{allow}"\n' if allow else "") + (f'secret = {{ "{secret}" }}\n' if secret else "")

    def connect(self, cert: tuple[Path, Path] | None, source: str = "") -> SipClient:
        """A connection."""
        client = SipClient(Address(HOST, self.port), careless(cert), source)
        self.addCleanup(client.close)
        return client

    def is_served(self, cert: tuple[Path, Path] | None, source: str = "") -> bool:
        """Whether a request is answered."""
        try:
            return self.connect(cert, source).call(message(body=request_xml())).phrase == "OK"
        except (OSError, EOFError):
            return False

    def reload(self, text: str) -> None:
        """Reload and wait."""
        before = len(self.server.events("configuration loaded"))
        self.server.reload(text)
        end = time.monotonic() + 10
        while len(self.server.events("configuration loaded")) == before:
            self.assertLess(time.monotonic(), end, self.server.tail())
            time.sleep(0.05)

    def test_certificates(self):
        self.assertTrue(self.is_served(self.good))
        self.assertFalse(self.is_served(None))
        self.assertFalse(self.is_served(self.other))
        old = self.connect(self.good)
        self.assertEqual(old.call(message("OPTIONS")).status, 200)
        self.reload(self.config(self.other))
        self.assertTrue(old.is_ended())
        self.assertTrue(self.is_served(self.other))
        self.assertFalse(self.is_served(self.good))
        self.reload(self.config(self.good, allow="127.0.0.7"))
        self.assertFalse(self.is_served(self.good))
        self.assertTrue(self.is_served(self.good, "127.0.0.7"))
        self.assertFalse(self.is_served(self.other, "127.0.0.7"))

    def test_a_bad_authority_changes_nothing(self):
        bad = Path(self.good[0]).with_name("bad.pem")
        bad.write_text("no certificate")
        self.server.reload(self.config((bad, bad)))
        refused = self.server.wait_event("configuration refused")
        self.assertIn("mras-client-ca", str(refused))
        self.assertTrue(self.is_served(self.good))

    def test_secrets_are_changed_by_a_reload(self):
        def code(credentials: tuple[bytes, bytes]) -> int:
            client = MsClient(self.server.address(), "udp", user=credentials[0], password=credentials[1])
            self.addCleanup(client.close)
            return client.allocate().code

        def issue() -> tuple[bytes, bytes]:
            return self.connect(self.good).call(message(body=request_xml())).credentials()[0]

        kept = issue()
        self.reload(self.config(self.good, secret="a secret of the configuration"))
        configured = issue()
        self.assertEqual((code(kept), code(configured)), (436, 0))
        self.reload(self.config(self.good, secret='another", "a secret of the configuration'))
        self.assertEqual((code(configured), code(issue())), (0, 0))
        self.assertEqual(os.access(self.server.folder / "state" / "mras.keys", os.F_OK), True)
