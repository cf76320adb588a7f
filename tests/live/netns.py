"""Two network namespaces joined by a cable, for addresses that this machine should not have.

They live as long as their child processes, and those as long as we do: nothing stays behind, whatever happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import unittest

CLONE_NEWNET = 0x40000000
RELAY_IP, RELAY_IP6 = "45.76.10.1", "2a05:d014:1::1"
WORLD_IP, WORLD_IP6 = "45.76.10.2", "2a05:d014:1::2"


class Namespace:
    """One network namespace, held by a child that ends when we let go of its input."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        try:
            self._holder.stdin.write(b"\n")
            self._holder.stdin.flush()
            ready = self._holder.stdout.read(1)
        except BrokenPipeError:
            ready = b""
        if not ready:
            self.close()
            raise unittest.SkipTest("no permission to make network namespaces")
        self.path = f"/proc/{self.pid}/ns/net"
        self.ip("link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        """The child."""
        return self._holder.pid

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words in front of a command that shall run inside."""
        return ("nsenter", f"--net={self.path}", "--")

    def ip(self, *words: str) -> None:
        """Run `ip` inside."""
        subprocess.run([*self.prefix, "ip", *words], check=True, capture_output=True)

    @contextlib.contextmanager
    def entered(self):
        """Sockets made by this thread belong to the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(self.path) as inside:
            _set(libc, inside.fileno())
            try:
                yield
            finally:
                _set(libc, home.fileno())

    def close(self) -> None:
        """Let it go."""
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait()


def _set(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Cable:
    """`relay` and `world`, two namespaces with public addresses on one wire."""

    def __init__(self) -> None:
        self.relay, self.world = Namespace(), Namespace()
        self.relay.ip("link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(self.world.pid))
        for side, ip, ip6 in ((self.relay, RELAY_IP, RELAY_IP6), (self.world, WORLD_IP, WORLD_IP6)):
            side.ip("address", "add", f"{ip}/24", "dev", "wire")
            side.ip("address", "add", f"{ip6}/64", "dev", "wire", "nodad")
            side.ip("link", "set", "wire", "up")

    def close(self) -> None:
        """Remove both."""
        self.relay.close()
        self.world.close()
