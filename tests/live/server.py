"""Servers under test: `causeway serve`, and coturn with the same face, to show that the probe can fail.

CAUSEWAY_BIN is the program (default: build/causeway), CAUSEWAY_PEER=coturn takes coturn instead.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from turnclient import Address

ROOT = Path(__file__).resolve().parents[2]
START_S = 20.0
STOP_S = 20.0
# hundreds of clients at one address would look like a flood
PATIENT_LIMITS = {"unauthenticated-answers": 100_000, "max-connects-per-minute": 100_000}
USER, PASSWORD = "alice", "sesame"
OTHER, OTHER_PASSWORD = "bob", "open-it"


@dataclass
class Options:
    """What a server is started with, in words that fit both programs."""

    hosts: tuple[str, ...] = ("127.0.0.1",)
    relay_ips: tuple[str, ...] = ()
    relay_ports: tuple[int, int] | None = None
    realm: str = "example.org"
    users: dict[str, str] = field(default_factory=lambda: {USER: PASSWORD, OTHER: OTHER_PASSWORD})
    secret: str = ""
    allow: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    deny: tuple[str, ...] = ()
    workers: int = 2
    limits: dict[str, int] = field(default_factory=dict)
    nonce_lifetime_s: int | None = None
    config: str = ""
    self_test: bool = False
    log: str = "json"
    extra: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()


class StartError(Exception):
    """The server ended, or did not get ready; `status` is its exit status, None while it runs."""

    def __init__(self, what: str, status: int | None, output: str) -> None:
        super().__init__(f"{what}\n{output}")
        self.status = status
        self.output = output


class Server:
    """A running server. `port` serves every transport on every host."""

    name = ""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.folder = Path(tempfile.mkdtemp(prefix="causeway-live-"))
        self.folder.chmod(0o755)  # the server may become another user
        self.port = free_port(self.options.hosts)
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    def command(self) -> list[str]:
        """The command line."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def address(self, host: str = "") -> Address:
        """Where clients go."""
        return Address(host or self.options.hosts[0], self.port)

    # life

    def start(self) -> Server:
        """Start and wait until it serves; StartError when it does not."""
        command = [*self.options.prefix, *self.command()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                         stdin=subprocess.DEVNULL, errors="surrogateescape", cwd=self.folder)
        self._readers = [threading.Thread(target=self._read, args=(pipe,), daemon=True)
                         for pipe in (self._process.stdout, self._process.stderr)]
        for reader in self._readers:
            reader.start()
        end = time.monotonic() + START_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                status = self._process.poll()
                what = "does not get ready" if status is None else f"ended with status {status}"
                self.stop()
                raise StartError(f"{' '.join(command)}: {what}", status, self.output)
            time.sleep(0.02)
        return self

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = STOP_S) -> int:
        """Wait for the end; the exit status."""
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(2)
        return status

    def stop(self) -> int:
        """SIGTERM twice (the second ends a drain), SIGKILL when nothing helps; removes the folder."""
        try:
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                if self.process.poll() is not None:
                    break
                self.signal(number)
                try:
                    self.process.wait(0.3 if number == signal.SIGTERM else STOP_S)
                except subprocess.TimeoutExpired:
                    continue
            return self.wait()
        finally:
            for pipe in (self.process.stdout, self.process.stderr):
                pipe.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def process(self) -> subprocess.Popen[str]:
        """The child; the server must have been started."""
        assert self._process
        return self._process

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    # words

    def _read(self, pipe) -> None:
        for line in pipe:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return "\n".join(self.lines)

    def tail(self, count: int = 25) -> str:
        """The last lines."""
        return "\n".join(self.lines[-count:])

    def events(self, kind: str = "", **fields: object) -> list[dict]:
        """JSON events printed so far, of a kind (\"allocation made\") and with these values."""
        found = []
        for line in list(self.lines):
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            named = str(event.get("event", "")).replace("-", " ")
            if kind in ("", named) and all(event.get(k) == v for k, v in fields.items()):
                found.append(event)
        return found

    def wait_event(self, kind: str, timeout: float = 10.0, **fields: object) -> dict | None:
        """The last such event, waited for."""
        end = time.monotonic() + timeout
        while True:
            found = self.events(kind, **fields)
            if found:
                return found[-1]
            left = end - time.monotonic()
            if left <= 0:
                return None
            with self._news:
                self._news.wait(min(left, 0.2))

    def memory_kib(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")

    @staticmethod
    def is_sanitized() -> bool:
        """Whether the program is built with a sanitizer, which hoards memory."""
        return chosen() is CausewayServer and b"__asan_init" in Path(CausewayServer.program()).read_bytes()

    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class CausewayServer(Server):
    """`causeway serve`, by its command-line contract."""

    name = "causeway"

    @staticmethod
    def program() -> str:
        """The path of the program."""
        return os.environ.get("CAUSEWAY_BIN") or str(ROOT / "build" / "causeway")

    def command(self) -> list[str]:
        given = self.options
        words = [self.program(), "serve", "--log", given.log, "--log-level", "debug"]
        words += ["--state", str(self.folder / "state")]
        if not given.self_test:
            words.append("--no-self-test")
        if given.config:
            words += ["-c", str(self.write_config(given.config))]
        for host in given.hosts:
            words += ["--listen", str(Address(host, self.port))]
        for ip in given.relay_ips:
            words += ["--relay-ip", ip]
        if given.relay_ports:
            words += ["--relay-ports", "%d-%d" % given.relay_ports]
        words += ["--realm", given.realm, "--workers", str(given.workers)]
        for user, password in given.users.items():
            words += ["--user", f"{user}:{password}"]
        if given.secret:
            words += ["--secret", given.secret]
        for cidr in given.allow:
            words += ["--allow-peer", cidr]
        for cidr in given.deny:
            words += ["--deny-peer", cidr]
        for limit, number in (PATIENT_LIMITS | given.limits).items():
            words += [f"--{limit}", str(number)]
        if given.nonce_lifetime_s is not None:
            words += ["--nonce-lifetime", str(given.nonce_lifetime_s)]
        return [*words, *given.extra]

    def write_config(self, text: str) -> Path:
        """(Re)write the configuration file, in one step: a reload may be reading it."""
        path = self.folder / "causeway.conf"
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        return fresh.replace(path)

    def reload(self, config: str) -> None:
        """Rewrite the configuration file and send SIGHUP."""
        self.write_config(config)
        self.signal(signal.SIGHUP)

    def is_ready(self) -> bool:
        return "ready" in self.lines


class CoturnServer(Server):
    """Debian's coturn."""

    name = "coturn"
    LIMITS = {"max-allocations-per-user": "user-quota", "max-allocations": "total-quota", "user-bandwidth": "max-bps"}

    def command(self) -> list[str]:
        given = self.options
        cert, key = certificate()
        words = ["turnserver", "-n", "--no-cli", "-a", "-f", "--log-file", "stdout", "--simple-log", "--realm",
                 given.realm, "-p", str(self.port), "--tls-listening-port", str(self.port), "--cert", str(cert),
                 "--pkey", str(key), "--pidfile", str(self.folder / "pid"), "--userdb", str(self.folder / "db")]
        for host in given.hosts:
            words += ["-L", host]
        for ip in given.relay_ips:
            words += ["-E", ip]
        if given.relay_ports:
            words += ["--min-port", str(given.relay_ports[0]), "--max-port", str(given.relay_ports[1])]
        if given.secret:
            words += ["--use-auth-secret", "--static-auth-secret", given.secret]
        else:
            for user, password in given.users.items():
                words += ["-u", f"{user}:{password}"]
        words += self._rules()
        for limit, number in given.limits.items():
            if limit in self.LIMITS:
                words += [f"--{self.LIMITS[limit]}={number}"]
        if given.nonce_lifetime_s is not None:
            words += [f"--stale-nonce={given.nonce_lifetime_s}"]
        return words

    def _rules(self) -> list[str]:
        words = []
        networks = [ipaddress.ip_network(cidr) for cidr in self.options.allow]
        if any(network.is_loopback for network in networks):
            words.append("--allow-loopback-peers")
        for option, cidrs in (("allowed", self.options.allow), ("denied", self.options.deny)):
            for cidr in cidrs:
                network = ipaddress.ip_network(cidr)
                words += [f"--{option}-peer-ip", f"{network[0]}-{network[-1]}"]
        return words

    def is_ready(self) -> bool:
        for host in self.options.hosts:
            try:
                if self.options.prefix:  # in another network namespace: its last line has to do
                    return "DB connection success" in self.output
                socket.create_connection((host, self.port), 1).close()
            except OSError:
                return False
        return True


def chosen() -> type[Server]:
    """The server that this run is about."""
    return CoturnServer if os.environ.get("CAUSEWAY_PEER") == "coturn" else CausewayServer


def is_there() -> bool:
    """Whether the chosen server's program exists."""
    if chosen() is CoturnServer:
        return shutil.which("turnserver") is not None
    return os.access(CausewayServer.program(), os.X_OK)


def free_port(hosts: tuple[str, ...]) -> int:
    """A port below the ephemeral ones that is free for UDP and TCP."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        try:
            for host in hosts:
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
                        # an address of another namespace cannot be tried here
                        if _is_ours(sock, host):
                            sock.bind((host, port))
        except OSError:
            continue
        return port
    raise RuntimeError("no free port")


def _is_ours(sock: socket.socket, host: str) -> bool:
    with socket.socket(sock.family, sock.type) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


@functools.cache
def certificate() -> tuple[Path, Path]:
    """A self-signed certificate and its key, made once a run."""
    holder = tempfile.TemporaryDirectory(prefix="causeway-cert-")
    _HELD.append(holder)
    return make_certificate(Path(holder.name), "relay.example.org")


_HELD: list[tempfile.TemporaryDirectory] = []


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for `name`: the files of certificate and key."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={name}"],
                   check=True, capture_output=True)
    return cert, key
