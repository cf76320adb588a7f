"""The ways to the server: UDP, TCP, TLS and DTLS, told apart on one port (RFC 7350, RFC 7443)."""

from __future__ import annotations

import os
import socket
import ssl
import time

from case import LiveTest, causeway_only, credential
from server import Options, certificate, free_port
from stream import MB, Reader, Sender, describe, pattern, read_exactly
from turnclient import (
    Address, Client, Dtls, Message, Method, Tcp, TcpAllocation, Tls, UdpAllocation, careless_context, end_writing,
)

KINDS = ("udp", "tcp", "tls", "dtls")


class OnePort(LiveTest):
    """All four on the same port number."""

    def test_binding(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Client.open(self.server.address(), kind) as client:
                mapped = client.binding()
                self.assertEqual(mapped.ip, "127.0.0.1")
                if kind != "dtls":
                    self.assertEqual(mapped, client.transport.local)

    def test_all_at_once(self):
        clients = [Client.open(self.server.address(), kind, credential()) for kind in KINDS for _ in range(3)]
        for client in clients:
            self.addCleanup(client.close)
        for _ in range(3):
            for client in clients:
                client.binding()

    def test_allocations_of_every_kind(self):
        for kind in KINDS:
            with self.subTest(kind=kind):
                relay, peer = self.udp(kind=kind), self.udp_peer()
                relay.send(peer.getsockname(), b"there")
                self.assertEqual(peer.recv(10), b"there")
                peer.sendto(b"back", relay.relayed)
                self.assertEqual(relay.recv()[1], b"back")
                relay.release()

    def test_ten_thousand_octets_of_messages(self):
        for kind in ("tcp", "tls"):
            with self.subTest(kind=kind):
                client = self.client(kind)
                messages = [Message(Method.BINDING) for _ in range(500)]
                client.transport.send(b"".join(map(bytes, messages)))
                for message in messages:
                    self.assertEqual(client.receive().txid, message.txid)

    def test_dtls_client_comes_and_goes(self):
        for _ in range(3):
            with Client.open(self.server.address(), "dtls", credential()) as client:
                client.binding()

    def test_plain_and_dtls_from_one_address_and_port(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with Client.open(self.server.address(), "udp", source="127.0.0.1", port=port) as client:
            client.binding()
        with Client(Dtls(self.server.address(), "127.0.0.1", port)) as client:
            client.binding()

    def test_udp_relay_over_tls_in_bulk(self):
        relay, peer = self.udp(kind="tls"), self.udp_peer()
        relay.bind_channel(0x4000, peer.getsockname())
        for number in range(300):
            data = b"%06d" % number + bytes(1000)
            relay.send_channel(0x4000, data)
            self.assertEqual(peer.recv(2000), data)
            peer.sendto(data, relay.relayed)
            self.assertEqual(relay.recv_channel(), (0x4000, data))


class TlsTests(LiveTest):
    """TLS in particular."""

    def tls(self, **how) -> Tls:
        """A TLS connection."""
        transport = Tls(self.server.address(), **how)
        self.addCleanup(transport.close)
        return transport

    def test_alpn(self):
        for offered in (("stun.turn",), ("h2", "stun.turn"), ("stun.nat-discovery", "stun.turn")):
            with self.subTest(offered=offered):
                transport = self.tls(alpn=offered)
                self.assertIn(transport.sock.selected_alpn_protocol(), ("stun.turn", "stun.nat-discovery"))
                Client(transport).binding()

    def test_without_alpn(self):
        self.assertIsNone(self.tls().sock.selected_alpn_protocol())

    def test_versions(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version=version):
                context = careless_context()
                context.minimum_version = context.maximum_version = version
                Client(self.tls(context=context)).binding()

    def test_old_versions_are_refused(self):
        context = careless_context()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.tls(context=context)

    def test_relay_of_a_megabyte(self):
        relay, listener = self.tcp(kind="tls"), self.listener()
        with relay.connect(listener.getsockname()) as sock:
            self.assertIsInstance(sock, ssl.SSLSocket)
            peer = self.accept(listener)
            want = pattern(MB)
            Sender(sock, want)
            self.assertEqual(describe(read_exactly(peer, MB), want), "")
            Sender(peer, want)
            self.assertEqual(describe(read_exactly(sock, MB), want), "")

    def test_bind_over_tls_for_a_plain_allocation_and_back(self):
        for control, data in (("tcp", "tls"), ("tls", "tcp")):
            with self.subTest(control=control, data=data):
                relay, listener = self.tcp(kind=control), self.listener()
                connection_id = relay.connect_id(listener.getsockname())
                peer = self.accept(listener)
                relay.kind = data
                with relay.bind(connection_id) as sock:
                    want = pattern(MB)
                    reader = Reader(peer)
                    sock.sendall(want)
                    end_writing(sock)
                    self.assertEqual(describe(reader.result()[0], want), "")

    def test_tls_record_cut_into_pieces(self):
        client = Client(Tcp(self.server.address()))
        self.addCleanup(client.close)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = careless_context().wrap_bio(incoming, outgoing)
        sock = client.transport.sock
        sock.settimeout(10)

        def step(action, *arguments):
            while True:
                try:
                    return action(*arguments)
                except ssl.SSLWantReadError:
                    for octet in outgoing.read():
                        sock.sendall(bytes((octet,)))
                    incoming.write(sock.recv(65536))

        step(tls.do_handshake)
        message = Message(Method.BINDING)
        tls.write(bytes(message))
        self.assertEqual(Message.parse(step(tls.read, 2000)).txid, message.txid)


class Certificates(LiveTest):
    """A certificate of one's own."""

    @classmethod
    def setUpClass(cls) -> None:
        cert, key = certificate()
        for path in (cert.parent, cert, key):
            path.chmod(0o755 if path.is_dir() else 0o644)
        cls.options = Options(extra=("--cert", str(cert), "--key", str(key)))
        super().setUpClass()

    def test_it_is_shown(self):
        cert, _ = certificate()
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        transport = Tls(self.server.address(), context=context)
        self.addCleanup(transport.close)
        self.assertEqual(ssl.get_server_certificate(self.server.address()).strip(), cert.read_text().strip())
        Client(transport).binding()


@causeway_only
class Listeners(LiveTest):
    """--listen with a scheme takes nothing else on its port."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.ports = {}
        for kind in KINDS:
            while (port := free_port(("127.0.0.1",))) in cls.ports.values():
                continue
            cls.ports[kind] = port
        extra = [word for kind, port in cls.ports.items() for word in ("--listen", f"{kind}://127.0.0.1:{port}")]
        cls.options = Options(extra=tuple(extra))
        super().setUpClass()

    def test_each_serves_its_own(self):
        for kind, port in self.ports.items():
            with self.subTest(kind=kind), Client.open(Address("127.0.0.1", port), kind) as client:
                client.binding()

    def test_plain_bytes_on_the_tls_port(self):
        with self.assertRaises((ConnectionError, TimeoutError)):
            with Client.open(Address("127.0.0.1", self.ports["tls"]), "tcp") as client:
                client.binding(3)
                self.fail("a plain client was served on a TLS port")

    def test_tls_on_the_plain_port(self):
        with self.assertRaises((ssl.SSLError, OSError)):
            Tls(Address("127.0.0.1", self.ports["tcp"]))

    def test_plain_datagrams_on_the_dtls_port(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", self.ports["dtls"]))
            sock.send(bytes(Message(Method.BINDING)))
            self.assert_nothing(sock)

    def test_nothing_else_is_open(self):
        for kind, other in (("udp", socket.SOCK_STREAM), ("tcp", socket.SOCK_DGRAM)):
            with self.subTest(kind=kind), socket.socket(socket.AF_INET, other) as sock:
                sock.settimeout(2)
                with self.assertRaises(ConnectionRefusedError):
                    sock.connect(("127.0.0.1", self.ports[kind]))
                    sock.send(bytes(Message(Method.BINDING)))
                    sock.recv(100)


class DtlsState(LiveTest):
    """No DTLS state before the client has proven its address (checklist S30)."""

    def hello(self) -> bytes:
        """A DTLS 1.2 ClientHello without cookie."""
        suites = bytes.fromhex("c02bc02fc02cc030009e0033")
        body = b"\xfe\xfd" + os.urandom(32) + b"\0" + b"\0" + len(suites).to_bytes(2, "big") + suites + b"\1\0"
        groups = bytes.fromhex("000a00080006001d00170018" "000b00020100" "000d000a0008040305030401050100170000")
        body += len(groups).to_bytes(2, "big") + groups
        size = len(body).to_bytes(3, "big")
        handshake = b"\1" + size + b"\0\0" + b"\0\0\0" + size + body
        return b"\x16\xfe\xff" + bytes(8) + len(handshake).to_bytes(2, "big") + handshake

    def test_answer_is_a_small_hello_verify(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self.server.address())
            sock.settimeout(5)
            hello = self.hello()
            sock.send(hello)
            answer = sock.recv(4000)
            self.assertEqual(answer[0], 22, "not a handshake record")
            self.assertEqual(answer[13], 3, "not a HelloVerifyRequest")
            self.assertLessEqual(len(answer), len(hello))

    @causeway_only
    def test_ten_thousand_hellos_cost_nothing(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self.server.address())
            hello = self.hello()
            before, descriptors = self.server.memory_kib(), self.server.descriptors()
            for number in range(10_000):
                sock.send(hello)
                if number % 100 == 0:
                    time.sleep(0.002)
            time.sleep(0.3)
            if not self.server.is_sanitized():
                self.assertLess(self.server.memory_kib() - before, 4096)
            self.assertLessEqual(self.server.descriptors(), descriptors + 2)


class Ipv6(LiveTest):
    """Clients in IPv6."""

    options = Options(hosts=("::1",), relay_ips=("::1", "127.0.0.1"))

    def test_every_transport(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Client.open(self.server.address(), kind) as client:
                self.assertEqual(client.binding().ip, "::1")

    def test_relays(self):
        with UdpAllocation(self.server.address(), kind="udp", credential=credential()) as relay:
            relay.permit("127.0.0.2")
            peer = self.udp_peer()
            relay.send(peer.getsockname(), b"six to four")
            self.assertEqual(peer.recv(20), b"six to four")
        with TcpAllocation(self.server.address(), kind="tls", credential=credential()) as relay:
            listener = self.listener()
            with relay.connect(listener.getsockname()) as sock:
                sock.sendall(b"six to four")
                self.assertEqual(self.accept(listener).recv(20), b"six to four")
