"""Who takes part: Causeway and its peers, each started anew for every measurement, on one core, and swept away."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

USER = "bench:sesame"
START_S = 15.0
NO_LIMITS = (
    "--max-allocations", "--max-allocations-per-user", "--max-allocations-per-source", "--max-connections",
    "--max-connections-per-source", "--max-connects-per-minute", "--user-bandwidth", "--source-bandwidth",
    "--bandwidth", "--unauthenticated-answers")
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


class StartError(Exception):
    """A contestant does not get ready; the text says which one and what it said."""


@dataclass
class Place:
    """Where things are on this machine. No `relay_core`: anywhere."""

    build: Path
    relay_core: int | None
    generator_core: int | None

    def pinned(self, command: list[str], core: int | None) -> list[str]:
        """The command on its core; it dies with us, whatever happens to us."""
        pin = [] if core is None else ["taskset", "-c", str(core)]
        return ["setpriv", "--pdeathsig", "KILL", *pin, *command]


class Contestant:
    """A relay: a TURN server or a bare TCP proxy."""

    name = ""
    title = ""
    is_turn = False
    version_command: list[str] = []

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port, self.far_port = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, folder: Path) -> list[str]:
        """The command line; configuration is written to the folder."""
        raise NotImplementedError

    def reach(self) -> list[str]:
        """What bench_stream is told."""
        if self.is_turn:
            return ["--turn", f"127.0.0.1:{self.port}", "--user", USER]
        return ["--through", f"127.0.0.1:{self.port}", "--far", f"127.0.0.1:{self.far_port}"]

    def pids(self) -> list[int]:
        """The relay's processes: the one that was started and its children."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        return [pid, *map(int, children)]

    def resident_bytes(self) -> int:
        """Memory that the relay's processes hold in RAM."""
        return sum(_resident_bytes(pid) for pid in self.pids())

    @contextlib.contextmanager
    def running(self):
        """Started and ready; killed and swept away at the end."""
        folder = Path(tempfile.mkdtemp(prefix="causeway-bench-"))
        folder.chmod(0o755)  # a relay may become another user
        output = folder / "output"
        try:
            with output.open("wb") as log:
                self.process = subprocess.Popen(
                    self.place.pinned(self.command(folder), self.place.relay_core), cwd=folder,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log if self.name != "causeway" else subprocess.DEVNULL,
                    start_new_session=True)
            self._wait_ready(output)
            yield self
        finally:
            self._end()
            shutil.rmtree(folder, ignore_errors=True)

    def _wait_ready(self, output: Path) -> None:
        end = time.monotonic() + START_S
        while not is_listening(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                said = output.read_text(errors="replace")[-2000:]
                raise StartError(f"{self.title} does not get ready; it said:\n{said}")
            time.sleep(0.02)
        time.sleep(0.1)

    def _end(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Causeway(Contestant):
    """What this is about. Limits are off, for the peers have none."""

    name, title, is_turn = "causeway", "Causeway", True
    workers = 1

    def command(self, folder: Path) -> list[str]:
        limits = [word for name in NO_LIMITS for word in (name, "0")]
        return [str(self.place.build / "causeway"), "serve", "--listen", f"127.0.0.1:{self.port}", "--user", USER,
                "--workers", str(self.workers), "--allow-peer", "127.0.0.0/8", "--no-self-test", "--log", "json",
                "--state", str(folder / "state"), *limits]


class CausewayTwo(Causeway):
    """The same with two workers."""

    name, title, workers = "causeway-2", "Causeway, 2 workers", 2


class Coturn(Contestant):
    """The TURN server that most people run."""

    name, title, is_turn = "coturn", "coturn", True
    version_command = ["dpkg-query", "-W", "-f", "${Version}", "coturn"]

    def command(self, folder: Path) -> list[str]:
        return ["turnserver", "-n", "--no-cli", "--allow-loopback-peers", "-L", "127.0.0.1", "-p", str(self.port),
                "-a", "-f", "-r", "causeway", "-u", USER, "-m", "1", "--no-tls", "--no-dtls", "-l", "/dev/null",
                "--simple-log", "--no-stdout-log", "-b", str(folder / "turndb"), "--pidfile", str(folder / "pid")]


class HaproxySplice(Contestant):
    """HAProxy in TCP mode, splice forced in both directions, pipes for all."""

    name, title = "haproxy", "HAProxy, splice forced"
    version_command = ["dpkg-query", "-W", "-f", "${Version}", "haproxy"]
    options = " option splice-request\n option splice-response\n"

    def command(self, folder: Path) -> list[str]:
        config = folder / "haproxy.cfg"
        config.write_text(
            f"global\n maxconn 4096\n maxpipes 2048\n nbthread 1\ndefaults\n mode tcp\n{self.options}"
            f" timeout connect 30s\n timeout client 60s\n timeout server 60s\n"
            f"listen relay\n bind 127.0.0.1:{self.port} backlog 4096\n server far 127.0.0.1:{self.far_port}\n",
            encoding="ascii")
        return ["haproxy", "-f", str(config), "-db"]


class HaproxyCopy(HaproxySplice):
    """HAProxy as it is without splice: better for small messages."""

    name, title, options = "haproxy-copy", "HAProxy", ""


class Nginx(Contestant):
    """nginx with its stream module, one worker."""

    name, title = "nginx", "nginx stream"
    version_command = ["dpkg-query", "-W", "-f", "${Version}", "nginx"]

    def command(self, folder: Path) -> list[str]:
        config = folder / "nginx.conf"
        config.write_text(
            f"load_module {NGINX_STREAM};\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile 65536;\n"
            f"pid {folder}/pid;\nerror_log stderr;\nevents {{ worker_connections 16384; }}\n"
            f"stream {{ access_log off; server {{ listen 127.0.0.1:{self.port} backlog=4096;"
            f" proxy_pass 127.0.0.1:{self.far_port}; }} }}\n", encoding="ascii")
        return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(config)]


class Direct(Contestant):
    """No relay: the generator's near end dials its far end. What the machine can do at most."""

    name, title = "direct", "direct, no relay"

    def reach(self) -> list[str]:
        return ["--through", f"127.0.0.1:{self.far_port}", "--far", f"127.0.0.1:{self.far_port}"]

    def pids(self) -> list[int]:
        return []

    @contextlib.contextmanager
    def running(self):
        yield self


ALL = {kind.name: kind for kind in (Causeway, CausewayTwo, Coturn, HaproxySplice, HaproxyCopy, Nginx, Direct)}


def version(name: str, place: Place) -> str:
    """The contestant's version, empty when it has none."""
    command = [str(place.build / "causeway"), "--version"] if name == "causeway" else ALL[name].version_command
    if not command:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.strip().split("\n")[0].removeprefix("causeway ")


def free_ports(count: int) -> list[int]:
    """Ports that nothing uses, neither with TCP nor UDP, below the range from which the kernel takes its own."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20000, 30000)
        if port not in found and all(_is_free(port + i) for i in (0, 1)):  # coturn takes the next one, too
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def is_listening(port: int) -> bool:
    """Whether somebody accepts TCP connections there (asked of the kernel, not of the listener)."""
    wanted = re.compile(rf":{port:04X} 0{{8}}:0{{4}} 0A ")
    return bool(wanted.search(Path("/proc/net/tcp").read_text(encoding="ascii")))


def _resident_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except PermissionError:  # a relay that changed its user hides this; the other figure is a little coarser
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^(?:Vm)?R(?:ss|SS):\s+(\d+) kB", text, re.M).group(1)) * 1024
