"""Bytes that tell their own position, and patient ways to move them."""

from __future__ import annotations

import array
import hashlib
import select
import socket
import sys
import threading

MB = 1 << 20
PATIENCE_S = 15.0


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` octets of 64-bit counters: a hole, a swap or a repetition anywhere shows."""
    numbers = array.array("Q", range(seed << 40, (seed << 40) + size // 8 + 1))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()[:size]


def describe(got: bytes, want: bytes) -> str:
    """Where two byte strings part, in words; empty when they are equal."""
    if got == want:
        return ""
    same = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    return f"{len(got)} octets of {len(want)}, the same up to {same}, sha256 {hashlib.sha256(got).hexdigest()[:12]}"


def read_exactly(sock: socket.socket, size: int, patience_s: float = PATIENCE_S) -> bytes:
    """`size` octets, or fewer when the stream ends, is reset or is silent for `patience_s`."""
    return _read(sock, size, patience_s)[0]


def read_to_end(sock: socket.socket, patience_s: float = PATIENCE_S) -> tuple[bytes, str]:
    """Everything up to the end, and how it ended: `end`, `reset` or `silence`."""
    return _read(sock, None, patience_s)


def _read(sock: socket.socket, size: int | None, patience_s: float) -> tuple[bytes, str]:
    pieces, count = [], 0
    while size is None or count < size:
        sock.settimeout(patience_s)
        try:
            piece = sock.recv(65536 if size is None else min(size - count, 65536))
        except TimeoutError:
            return b"".join(pieces), "silence"
        except OSError:  # ssl.SSLError is one
            return b"".join(pieces), "reset"
        if not piece:
            return b"".join(pieces), "end"
        pieces.append(piece)
        count += len(piece)
    return b"".join(pieces), "size"


def is_silent(sock: socket.socket, seconds: float) -> bool:
    """Whether nothing (no octet, no end) comes for `seconds`."""
    return not select.select([sock], [], [], seconds)[0]


def ends(sock: socket.socket, patience_s: float = 10.0) -> bool:
    """Whether the stream ends or is reset within `patience_s` (octets before that are thrown away)."""
    return read_to_end(sock, patience_s)[1] != "silence"


class Sender(threading.Thread):
    """Sends in the background; `error` is what stopped it."""

    def __init__(self, sock: socket.socket, data: bytes, then=None) -> None:
        super().__init__(daemon=True)
        self._sock, self._data, self._then = sock, data, then
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            self._sock.settimeout(4 * PATIENCE_S)
            self._sock.sendall(self._data)
            if self._then:
                self._then()
        except OSError as error:
            self.error = error


class Reader(threading.Thread):
    """Reads in the background; `result` waits for `(bytes, how it ended)`."""

    def __init__(self, sock: socket.socket, size: int | None = None, patience_s: float = PATIENCE_S) -> None:
        super().__init__(daemon=True)
        self._arguments = (sock, size, patience_s)
        self._found: tuple[bytes, str] = (b"", "silence")
        self.start()

    def run(self) -> None:
        self._found = _read(*self._arguments)

    def result(self) -> tuple[bytes, str]:
        """Wait for the end."""
        self.join()
        return self._found
