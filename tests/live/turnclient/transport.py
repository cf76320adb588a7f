"""Ways to a server: udp, tcp, tls, dtls. Each carries whole messages and, below that, raw bytes."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import time

from .value import Address

TIMEOUT = 10.0


class Closed(ConnectionError):
    """The server ended the connection; `raw` is what came of an unfinished message."""

    def __init__(self, raw: bytes = b"") -> None:
        super().__init__("the server closed the connection")
        self.raw = raw


class Transport:
    """Common face of the four ways. `recv` returns one message, or None when `timeout` passes."""

    name = ""
    is_stream = False
    sock: socket.socket

    def send(self, data: bytes) -> None:
        """Send bytes as they are: a datagram, or a piece of the stream."""
        self.sock.sendall(data)

    def recv(self, timeout: float = TIMEOUT) -> bytes | None:
        """One datagram, or one message cut out of the stream."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the socket."""
        self.sock.close()

    @property
    def local(self) -> Address:
        """Our own end."""
        return Address(*self.sock.getsockname()[:2])


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _told_size(head: bytes) -> int:
    """How long a STUN or ChannelData message says it is, without padding; `head` are at least four octets."""
    first, length = struct.unpack("!HH", head[:4])
    return (4 if first & 0xC000 else 20) + length


class Udp(Transport):
    """Plain datagrams."""

    name = "udp"

    def __init__(self, server: Address, source: str = "", port: int = 0) -> None:
        self.sock = socket.socket(_family(server.ip), socket.SOCK_DGRAM)
        if source or port:
            self.sock.bind((source, port))
        self.sock.connect(server)

    def recv(self, timeout: float = TIMEOUT) -> bytes | None:
        self.sock.settimeout(max(timeout, 0.001))
        try:
            return self.sock.recv(65536)
        except TimeoutError:
            return None


class Tcp(Transport):
    """A stream; a message is never read beyond its last octet, so `sock` can be taken over at any time."""

    name = "tcp"
    is_stream = True

    def __init__(self, server: Address, source: str = "", port: int = 0) -> None:
        self.sock = socket.socket(_family(server.ip), socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source or port:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((source, port))
        self.sock.connect(server)
        self._partial = b""

    def send(self, data: bytes) -> None:
        self.sock.settimeout(TIMEOUT)
        self.sock.sendall(data)

    def recv(self, timeout: float = TIMEOUT) -> bytes | None:
        end = time.monotonic() + timeout
        while True:
            need = self._missing()
            if not need:
                whole, self._partial = self._partial, b""
                return whole
            self.sock.settimeout(max(end - time.monotonic(), 0.001))
            try:
                piece = self.sock.recv(need)
            except (TimeoutError, ssl.SSLWantReadError):
                return None
            except (ConnectionResetError, ssl.SSLEOFError):
                raise Closed(self._partial) from None
            if not piece:
                raise Closed(self._partial)
            self._partial += piece

    def _missing(self) -> int:
        """Octets still to come of the message that has begun (RFC 8656 s.12.5: stream ChannelData is padded)."""
        if len(self._partial) < 4:
            return 4 - len(self._partial)
        told = _told_size(self._partial)
        return told - len(self._partial) + (-told % 4 if self._partial[0] & 0xC0 else 0)


class Tls(Tcp):
    """TLS over TCP. Certificates are not judged unless a context is given."""

    name = "tls"

    def __init__(self, server: Address, source: str = "", port: int = 0, *, context: ssl.SSLContext | None = None,
                 alpn: tuple[str, ...] = (), host: str | None = None) -> None:
        super().__init__(server, source, port)
        self.context = context or careless_context()
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        try:
            self.sock = self.context.wrap_socket(self.sock, server_hostname=host)
        except (OSError, ssl.SSLError):
            self.sock.close()
            raise


def careless_context() -> ssl.SSLContext:
    """A client context that accepts any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def end_writing(sock: socket.socket) -> None:
    """Half-close: FIN on TCP; close_notify, without waiting for the other one, on TLS."""
    if not isinstance(sock, ssl.SSLSocket):
        sock.shutdown(socket.SHUT_WR)
        return
    before = sock.gettimeout()
    sock.settimeout(0)
    try:
        sock.unwrap()
    except ssl.SSLWantReadError:
        pass
    finally:
        sock.settimeout(before)


class Dtls(Transport):
    """DTLS through `openssl s_client`; a SEQPACKET pair keeps the datagrams apart."""

    name = "dtls"

    def __init__(self, server: Address, source: str = "", port: int = 0, *, alpn: tuple[str, ...] = ()) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = ["openssl", "s_client", "-dtls", "-quiet", "-connect", str(Address(*server))]
        if source or port:
            command += ["-bind", str(Address(source, port))]
        if alpn:
            command += ["-alpn", ",".join(alpn)]
        with theirs:
            self._child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)

    @staticmethod
    def is_available() -> bool:
        """Whether the openssl program is installed."""
        return shutil.which("openssl") is not None

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    def recv(self, timeout: float = TIMEOUT) -> bytes | None:
        """One datagram; the child hands longer ones out in pieces of 1024 octets."""
        self.sock.settimeout(max(timeout, 0.001))
        data = b""
        while len(data) < 4 or len(data) < _told_size(data):
            try:
                piece = self.sock.recv(65536)
            except TimeoutError:
                return data or None
            if not piece:
                raise Closed(data)
            data += piece
            if len(piece) < 1024:
                break
        return data

    def close(self) -> None:
        super().close()
        self._child.terminate()
        self._child.wait()

    @property
    def local(self) -> Address:
        raise NotImplementedError("the child owns the socket")


KINDS: dict[str, type[Transport]] = {kind.name: kind for kind in (Udp, Tcp, Tls, Dtls)}


def open_transport(name: str, server: Address, source: str = "", port: int = 0) -> Transport:
    """Open a transport by name, from `source` and `port` if given."""
    return KINDS[name](server, source, port)  # type: ignore[call-arg]
