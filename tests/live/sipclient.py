"""A SIP client for one connection, and the XML of the media relay authentication service, from the protocols alone."""

from __future__ import annotations

import base64
import itertools
import socket
import ssl
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from turnclient import Address

MRAS_TYPE = "application/msrtc-media-relay-auth+xml"
NAMESPACE = "http://schemas.microsoft.com/2006/09/sip/mrasp"
TIMEOUT = 10.0
_branches = itertools.count(1)


def ask(identity: str = "sip:alice@example.org", number: int = 1, location: str = "", duration: str = "") -> str:
    """One credentialsRequest."""
    more = f"<location>{location}</location>" if location else ""
    more += f"<duration>{duration}</duration>" if duration else ""
    return (f'<credentialsRequest credentialsRequestID="{number}"><identity>{identity}</identity>{more}'
            "</credentialsRequest>")


def request_xml(*asks: str, version: str = "2.0", more: str = "") -> str:
    """A request with these asks."""
    return (f'<request requestID="71301" from="sip:alice@example.org" version="{version}" to="sip:MRASLoc.x@example.org" '
            f'xmlns="{NAMESPACE}" {more}>' + "".join(asks or (ask(),)) + "</request>")


def message(method: str = "SERVICE", body: bytes | str = b"", kind: str = MRAS_TYPE, uri: str = "sip:MRASLoc.x@example.org",
            more: str = "", branch: str = "", length: str = "") -> bytes:
    """A request. `more`: further header lines, each with its CRLF; `length`: instead of the true Content-Length."""
    body = body.encode() if isinstance(body, str) else body
    branch = branch or f"z9hG4bK{next(_branches)}"
    head = (f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP fe.example.org:5060;branch={branch}\r\nMax-Forwards: 70\r\n"
            f"From: <sip:alice@example.org>;tag=1;epid=2\r\nTo: <sip:MRASLoc.x@example.org>\r\nCall-ID: {branch}@fe\r\n"
            f"CSeq: 1 {method}\r\n{more}")
    head += f"Content-Type: {kind}\r\n" if body else ""
    return (head + f"Content-Length: {length or len(body)}\r\n\r\n").encode() + body


@dataclass
class SipAnswer:
    """A response."""

    status: int
    reason: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        return next(value for key, value in self.headers if key.lower() == name.lower())

    # the body of an MRAS answer

    @property
    def root(self) -> ET.Element:
        """Its document."""
        assert self["Content-Type"] == MRAS_TYPE
        root = ET.fromstring(self.body)
        assert root.tag == f"{{{NAMESPACE}}}response", root.tag
        return root

    @property
    def phrase(self) -> str:
        """Its reasonPhrase."""
        return self.root.attrib["reasonPhrase"]

    def texts(self, name: str) -> list[str]:
        """The texts of all elements of this name."""
        return [element.text or "" for element in self.root.iter(f"{{{NAMESPACE}}}{name}")]

    def credentials(self) -> list[tuple[bytes, bytes]]:
        """Usernames and passwords as MS-TURN carries them."""
        return [(base64.b64decode(user, validate=True), base64.b64decode(password, validate=True))
                for user, password in zip(self.texts("username"), self.texts("password"), strict=True)]


class SipClient:
    """One connection over TCP, or TLS where there is a context."""

    def __init__(self, server: Address, context: ssl.SSLContext | None = None, source: str = "") -> None:
        self._buffer = b""
        self.sock = socket.create_connection(server, TIMEOUT, source_address=(source, 0) if source else None)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="relay.example.org")

    def __enter__(self) -> SipClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send octets."""
        self.sock.sendall(data)

    def _more(self) -> None:
        piece = self.sock.recv(65536)
        if not piece:
            raise EOFError(f"the server has closed; left: {self._buffer!r}")
        self._buffer += piece

    def receive_exactly(self, n: int) -> bytes:
        """Octets that are no message."""
        while len(self._buffer) < n:
            self._more()
        taken, self._buffer = self._buffer[:n], self._buffer[n:]
        return taken

    def receive(self) -> SipAnswer:
        """The next response."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        version, status, reason = start.split(" ", 2)
        assert version == "SIP/2.0", start
        headers = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]
        answer = SipAnswer(int(status), reason, headers)
        answer.body = self.receive_exactly(int(answer["Content-Length"]))
        return answer

    def call(self, data: bytes) -> SipAnswer:
        """Send and receive."""
        self.send(data)
        return self.receive()

    def is_ended(self) -> bool:
        """Whether the server has closed, with nothing left to read."""
        try:
            return not self._buffer and self.sock.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True
