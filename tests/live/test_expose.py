"""`python3 -m turnclient expose`: carries a local service to a relayed address, as the demo uses it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from case import LiveTest, causeway_only
from server import PASSWORD, USER
from stream import MB, Reader, Sender, describe, pattern, read_to_end
from turnclient.value import parse_address


@causeway_only  # it needs half-close
class Expose(LiveTest):
    """A service that answers when the question has ended."""

    def setUp(self) -> None:
        super().setUp()
        self.service = self.listener("127.0.0.1")
        command = [sys.executable, "-B", "-m", "turnclient", "expose", "--server", str(self.server.address()), "--user",
                   f"{USER}:{PASSWORD}", "--permit", "127.0.0.2", "--to", "%s:%d" % self.service.getsockname()]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
        self.addCleanup(self.end)
        word, address = self.child.stdout.readline().split()
        self.assertEqual(word, "relayed")
        self.relayed = parse_address(address)

    def end(self) -> dict:
        """SIGTERM; what the command has counted."""
        if self.child.poll() is not None:
            return {}
        self.child.send_signal(signal.SIGTERM)
        said, _ = self.child.communicate(timeout=20)
        return json.loads(said)

    def answer_once(self, answer: bytes, heard: list[bytes]) -> None:
        """The service: read to the end, answer, close."""
        sock, _ = self.service.accept()
        with sock:
            heard.append(read_to_end(sock)[0])
            sock.sendall(answer)

    def test_question_and_answer(self):
        question, answer, heard = pattern(2 * MB, 1), pattern(3 * MB, 2), []
        service = threading.Thread(target=self.answer_once, args=(answer, heard), daemon=True)
        service.start()
        viewer = self.dial(self.relayed)
        reader = Reader(viewer)
        Sender(viewer, question, lambda: viewer.shutdown(socket.SHUT_WR))
        self.assertEqual(describe(reader.result()[0], answer), "")
        service.join(10)
        self.assertEqual(describe(heard[0], question), "")
        viewer.close()
        self.assertEqual(self.end(), {"connections": 1, "to_peer": len(answer), "from_peer": len(question)})

    def test_several_viewers(self):
        viewers = [self.dial(self.relayed) for _ in range(3)]
        services = [self.accept(self.service) for _ in viewers]
        for sock in services:
            sock.sendall(b"picture")
        for viewer in viewers:
            self.assertEqual(viewer.recv(100), b"picture")
        for sock in (*viewers, *services):
            sock.close()
        self.assertEqual(self.end()["connections"], 3)

    def test_strangers_stay_out(self):
        self.assertTrue(self.is_turned_away(self.relayed, "127.0.0.3"))
