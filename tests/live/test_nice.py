"""libnice in its Office Communicator 2007 R2 mode as a real client of MS-TURN: two agents, the relay their only way."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from case import LiveTest, causeway_only
from server import OTHER, OTHER_PASSWORD, PASSWORD, USER

SOURCE = Path(__file__).resolve().parent / "nice" / "agent.c"
PATIENCE_S = 90.0
RELAYED = "3"  # NICE_CANDIDATE_TYPE_RELAYED
_HELD: list[tempfile.TemporaryDirectory] = []


@functools.cache
def program() -> str:
    """The agent, compiled once a run; SkipTest without libnice."""
    compiler = shutil.which("cc")
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "nice"], capture_output=True, text=True, check=False)
    if not compiler or found.returncode:
        raise unittest.SkipTest("no libnice to build an agent with (libnice-dev, a C compiler)")
    _HELD.append(tempfile.TemporaryDirectory(prefix="causeway-nice-"))
    target = os.path.join(_HELD[-1].name, "agent")
    subprocess.run([compiler, "-O1", "-o", target, SOURCE, *found.stdout.split()], check=True, capture_output=True)
    return target


def text64(text: str) -> str:
    """As MRAS hands names and passwords out."""
    return base64.b64encode(text.encode()).decode()


class Agent:
    """One agent; its lines come through `wait`."""

    def __init__(self, kind: str, role: str, relay, user: str, password: str, messages: int, prefix=()) -> None:
        words = [*prefix, program(), kind, role, relay.ip, relay.ip, str(relay.port), text64(user), text64(password),
                 str(messages)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, env=os.environ | {"G_MESSAGES_DEBUG": os.environ.get("NICE_SAYS", "")})
        self.seen: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    def wait(self, word: str, patience_s: float = PATIENCE_S) -> list[str]:
        """The words behind the next line that begins with `word`."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=0.2)
                self.seen.append(line)
                if line.startswith(word + " "):
                    return line.split()[1:]
                if line == "":
                    break
        raise AssertionError(f"no {word} from the agent:\n" + "\n".join(self.seen[-40:]))

    def tell(self, sdp: str) -> None:
        """The other agent's description."""
        self.process.stdin.write(sdp + "\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@causeway_only
class Nice(LiveTest):
    """Over UDP, TCP and pseudo-TLS."""

    def play(self, kind: str, other_kind: str, messages: int) -> list[list[int]]:
        """Two agents that send each other `messages`; what each got: messages, octets, good ones."""
        server = self.server.address()
        one = Agent(kind, "controlling", server, USER, PASSWORD, messages)
        self.addCleanup(one.close)
        two = Agent(other_kind, "controlled", server, OTHER, OTHER_PASSWORD, messages)
        self.addCleanup(two.close)
        self.agents = (one, two)
        descriptions = [agent.wait("sdp")[0] for agent in self.agents]
        for text in descriptions:
            self.assertIn(" typ relay", base64.b64decode(text).decode())
        one.tell(descriptions[1])
        two.tell(descriptions[0])
        for agent in (one, two):
            self.assertEqual(agent.wait("pair")[:2], [RELAYED, RELAYED])
        return [[int(word) for word in agent.wait("result")] for agent in (one, two)]

    def remarks(self) -> str:
        """What the agents said of messages that came otherwise than they were sent."""
        return "\n".join(line for agent in self.agents for line in agent.seen if line.startswith("bad"))

    def test_udp(self):
        for got, _, good in self.play("udp", "udp", 4000):
            self.assertEqual(good, got)
            self.assertGreater(got, 3000)  # datagrams: a slow machine may lose some

    def test_tcp(self):
        for kinds in (("tcp", "tcp"), ("tls", "tls"), ("tcp", "tls")):
            with self.subTest("-".join(kinds)):
                for got, size, good in self.play(*kinds, 6000):
                    self.assertEqual((got, good), (6000, 6000), self.remarks())
                    self.assertGreater(size, 3_000_000)
