"""One measurement: a load generator beside a running contestant; the result is a dictionary of figures."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import time
from dataclasses import dataclass

from contestant import USER, Contestant

SPARE_S = 120.0  # over what a generator should need, before it is ended


class MeasureError(Exception):
    """The load generator could not do its work; the text says what it said."""


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    seconds: float
    warm_up_s: float
    drain_s: float
    flows_max: int
    idle: tuple[int, int]


FULL = Scale(seconds=2, warm_up_s=0.5, drain_s=10, flows_max=1000, idle=(2000, 4500))
QUICK = Scale(seconds=0.3, warm_up_s=0.1, drain_s=5, flows_max=100, idle=(50, 250))


def stream(contestant: Contestant, scale: Scale, mode: str, flows: int) -> dict:
    """Bulk or request/response through so many connections."""
    flows = min(flows, scale.flows_max)
    return _generate(contestant, "bench_stream", [
        *contestant.reach(), "--mode", mode, "--flows", str(flows), "--seconds", str(scale.seconds),
        "--warm-up", str(scale.warm_up_s), "--drain", str(scale.drain_s)])


def setup(contestant: Contestant, scale: Scale) -> dict:
    """Sessions set up and ended, as many as go."""
    return _generate(contestant, "bench_setup", [*_server(contestant), "--seconds", str(scale.seconds)])


def udp(contestant: Contestant, scale: Scale, size: int, burst: int, direction: str, rate: int) -> dict:
    """ChannelData at an offered rate."""
    return _generate(contestant, "bench_udp", [
        *_server(contestant), "--size", str(size), "--burst", str(burst), "--direction", direction,
        "--rate", str(rate), "--seconds", str(scale.seconds)])


def idle(contestant: Contestant, scale: Scale, kind: str) -> dict:
    """Memory of each session: the slope between two numbers of them, so that what the process needs anyway is out; the
    first number is large enough that rings and tables of a fixed size have been used once."""
    few, many = scale.idle
    resident, failed = [], 0
    with contextlib.ExitStack() as holders:
        for sessions in (few, many - few):
            failed += holders.enter_context(_held(contestant, [
                *_server(contestant), "--kind", kind, "--sessions", str(sessions)]))
            time.sleep(0.3)
            resident.append(contestant.resident_bytes())
    return {"sessions": many, "failed": failed, "resident_bytes": resident,
            "bytes_each": (resident[1] - resident[0]) / (many - few)}


def _server(contestant: Contestant) -> list[str]:
    return ["--server", f"127.0.0.1:{contestant.port}", "--user", USER]


def _command(contestant: Contestant, program: str, words: list[str]) -> list[str]:
    place = contestant.place
    return place.pinned([str(place.build / "tests" / "bench" / program), *words], place.generator_core)


def _generate(contestant: Contestant, program: str, words: list[str]) -> dict:
    pids = [word for pid in contestant.pids() for word in ("--pid", str(pid))]
    try:
        done = subprocess.run(_command(contestant, program, words + pids), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=SPARE_S)
    except subprocess.TimeoutExpired:
        raise MeasureError(f"{program} did not end within {SPARE_S:.0f} s") from None
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        said = done.stderr.strip().split("\n")[-1]
        raise MeasureError(f"{program} ended with {done.returncode}: {said}") from None


@contextlib.contextmanager
def _held(contestant: Contestant, words: list[str]):
    """Idle sessions, held until the end; how many failed before so many were open."""
    holder = subprocess.Popen(_command(contestant, "bench_idle", words), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        ready, _, _ = select.select([holder.stdout], [], [], SPARE_S)
        said = holder.stdout.readline().split() if ready else []
        if not said:
            raise MeasureError("bench_idle could not open its sessions in time")
        yield int(said[0])
    finally:
        holder.kill()
        holder.communicate()
