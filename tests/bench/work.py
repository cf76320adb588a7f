"""What is measured, with whom, and what must be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import measure
from contestant import Contestant

NOT_WORSE = 1.0
NOISE = 0.02  # a "not worse" row passes within this share: medians of one run differ as much with themselves


@dataclass(frozen=True)
class Metric:
    """A figure of a measurement. `is_cost`: less is better."""

    key: str
    title: str
    unit: str
    is_cost: bool = False
    scale: float = 1.0


GB_PER_S = Metric("gb_per_s", "throughput", "GB/s")
CPU_PER_GB = Metric("relay_cpu_s_per_gb", "relay CPU per GB", "s", True)
TRIPS = Metric("round_trips_per_s", "round trips", "k/s", scale=1e-3)
P50 = Metric("p50_us", "p50", "us", True)
P99 = Metric("p99_us", "p99", "us", True)
CPU_PER_MESSAGE = Metric("relay_cpu_s_per_million_messages", "relay CPU per message", "us", True)
SESSIONS = Metric("sessions_per_s", "sessions", "/s")
CPU_PER_SESSION = Metric("relay_cpu_s_per_1000", "relay CPU per 1000", "s", True)
SESSION_P50 = Metric("p50_us", "p50", "ms", True, scale=1e-3)
BYTES = Metric("bytes_each", "memory of each", "kB", True, scale=1e-3)
PACKETS = Metric("packets_per_cpu_s", "packets per CPU second", "k", scale=1e-3)
LOSS = Metric("loss", "loss", "%", True, scale=100)


@dataclass(frozen=True)
class Row:
    """A line of the table: Causeway's metric must be `at_least` times as good as the peer's; or, without a peer, at
    most `at_most` (in the metric's unit)."""

    metric: Metric
    against: str = ""
    at_least: float = 0
    at_most: float = 0


@dataclass(frozen=True)
class Work:
    """A load, the contestants that bear it in turn, and the rows that judge it."""

    name: str
    title: str
    contestants: tuple[str, ...]
    run: Callable[[Contestant, measure.Scale], dict]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...] = ()
    is_pinned: bool = True  # relay and generator on cores of their own


def _bulk(flows: int) -> Work:
    against_coturn = {1: 7, 64: 10, 1000: 13}[flows]
    against_haproxy = 2 if flows == 1000 else NOT_WORSE
    rows = [Row(GB_PER_S, "coturn", against_coturn)]
    if flows > 1:
        rows.append(Row(CPU_PER_GB, "coturn", 12))
    rows += [Row(GB_PER_S, "haproxy", against_haproxy), Row(CPU_PER_GB, "haproxy", against_haproxy)]
    if flows > 1:
        rows.append(Row(GB_PER_S, "direct", 0.85))
    return Work(f"bulk-{flows}", f"RFC 6062 bulk, {flows} connection{'s'[:flows > 1]}",
                ("causeway", "coturn", "haproxy", "direct"),
                lambda contestant, scale: measure.stream(contestant, scale, "bulk", flows),
                (GB_PER_S, CPU_PER_GB), tuple(rows))


def _request_response(flows: int) -> Work:
    metrics = (TRIPS, P50, P99, CPU_PER_MESSAGE)
    rows = [Row(metric, peer, NOT_WORSE) for peer in ("nginx", "haproxy-copy") for metric in metrics]
    return Work(f"rr-{flows}", f"200-byte request/response, {flows} connections",
                ("causeway", "nginx", "haproxy-copy", "coturn", "direct"),
                lambda contestant, scale: measure.stream(contestant, scale, "rr", flows),
                metrics, (*rows, Row(CPU_PER_MESSAGE, "coturn", 1 / 0.6)))


def _idle(kind: str, title: str, at_most_kb: float) -> Work:
    return Work(f"idle-{kind}", title, ("causeway", "coturn"),
                lambda contestant, scale: measure.idle(contestant, scale, kind),
                (BYTES,), (Row(BYTES, at_most=at_most_kb),))


def _udp(size: int, burst: int, direction: str) -> Work:
    rate = 80_000 if burst == 1 else 120_000
    shape = "singles" if burst == 1 else f"bursts of {burst}"
    towards = "peer" if direction == "up" else "client"
    return Work(f"udp-{size}-{burst}-{direction}", f"ChannelData {size} B, {shape}, to the {towards}",
                ("causeway", "coturn"),
                lambda contestant, scale: measure.udp(contestant, scale, size, burst, direction, rate),
                (PACKETS, LOSS), (Row(PACKETS, "coturn", 1.3 if burst == 1 else 4), Row(LOSS, "coturn", NOT_WORSE)))


ALL = (
    *map(_bulk, (1, 64, 1000)),
    *map(_request_response, (64, 1000)),
    Work("latency", "200-byte request/response, one connection",
         ("causeway", "nginx", "haproxy-copy", "coturn", "direct"),
         lambda contestant, scale: measure.stream(contestant, scale, "rr", 1), (P50, P99, CPU_PER_MESSAGE)),
    Work("setup", "session set-up, 32 at a time", ("causeway", "coturn"), measure.setup,
         (SESSIONS, CPU_PER_SESSION, SESSION_P50),
         tuple(Row(metric, "coturn", 3) for metric in (SESSIONS, CPU_PER_SESSION, SESSION_P50))),
    _idle("tcp", "idle RFC 6062 session with one bound connection", 3),
    _idle("udp", "idle UDP allocation", 2),
    *(_udp(size, burst, direction) for size in (200, 1000) for burst in (1, 8, 16) for direction in ("up", "down")),
    Work("workers", "RFC 6062 bulk, 64 connections, relay and generator on all cores", ("causeway", "causeway-2"),
         lambda contestant, scale: measure.stream(contestant, scale, "bulk", 64), (GB_PER_S, CPU_PER_GB),
         is_pinned=False),
)


def chosen(names: list[str]) -> list[Work]:
    """The works of these names or of these families ("udp"); all when there are no names. ValueError: unknown."""
    for name in names:
        if not any(_is_named(work, name) for work in ALL):
            raise ValueError(f"no work '{name}'; there are: {', '.join(work.name for work in ALL)}")
    return [work for work in ALL if not names or any(_is_named(work, name) for name in names)]


def _is_named(work: Work, name: str) -> bool:
    return work.name == name or work.name.startswith(name + "-")
