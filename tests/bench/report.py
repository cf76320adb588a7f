"""From samples to medians, verdicts, tables and files."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import contestant
import plot
from work import NOISE, NOT_WORSE, Metric, Row, Work

# what no relay may do, and under which names the load generators count it
DAMAGE = {"lost_flows": "lost flows", "broken_flows": "broken flows", "corrupt": "corrupt datagrams",
          "failed": "failed sessions", "error": "failed measurements"}

BUSY = 1.0  # load average before the run, above which its figures are doubtful


@dataclass
class Result:
    """All samples of a run. One sample: work, round, contestant, and the figures (or `error`)."""

    machine: dict
    versions: dict[str, str]
    rounds: int
    is_quick: bool
    works: list[Work]
    samples: list[dict] = field(default_factory=list)
    load: list[float] = field(default_factory=list)  # of the machine, from before the first measurement to the end

    def values(self, work: Work, name: str, metric: Metric) -> dict[int, float]:
        """The metric in each round that has it, in the metric's unit."""
        return {s["round"]: s["values"][metric.key] * metric.scale for s in self.samples
                if s["work"] == work.name and s["contestant"] == name and metric.key in s["values"]}

    def median(self, work: Work, name: str, metric: Metric) -> float | None:
        """Over the rounds; None when it was never measured."""
        values = self.values(work, name, metric)
        return statistics.median(values.values()) if values else None

    def ratio(self, work: Work, row: Row) -> float | None:
        """How many times better Causeway is than the peer: the median of the rounds' ratios, each of two measurements
        that followed one another."""
        ours, theirs = (self.values(work, name, row.metric) for name in ("causeway", row.against))
        both = [_times_better(ours[i], theirs[i], row.metric.is_cost) for i in ours if i in theirs]
        return statistics.median(both) if both else None

    def damage(self, name: str) -> dict[str, int]:
        """What a contestant lost or broke in all rounds together."""
        found: dict[str, int] = {}
        for sample in self.samples:
            for key in DAMAGE:
                count = sample["values"].get(key, 0)
                if count and sample["contestant"] == name:
                    found[key] = found.get(key, 0) + (1 if key == "error" else count)
        return found


@dataclass(frozen=True)
class Verdict:
    """A row of the table, judged."""

    work: str
    metric: str
    ours: str
    peer: str
    theirs: str
    ratio: float | None
    wanted: str
    is_reached: bool


def _times_better(ours: float, theirs: float, is_cost: bool) -> float:
    over, under = (theirs, ours) if is_cost else (ours, theirs)
    if under == 0:
        return 1.0 if over == 0 else 1000.0  # as good as endless, and still a number in every format
    return over / under


def judge(result: Result) -> list[Verdict]:
    """Every row of the works that ran, and last that nothing was lost."""
    verdicts = [_judge_row(result, work, row) for work in result.works for row in work.rows]
    damage = result.damage("causeway")
    verdicts.append(Verdict("all", "lost or corrupt bytes, flows, sessions", _damage_text(damage), "", "", None,
                            "none", not damage))
    return verdicts


def _judge_row(result: Result, work: Work, row: Row) -> Verdict:
    ours = result.median(work, "causeway", row.metric)
    title = f"{row.metric.title}, {row.metric.unit}"
    if not row.against:
        is_reached = ours is not None and ours <= row.at_most
        return Verdict(work.title, title, _number(ours), "", "", None, f"at most {_number(row.at_most)}", is_reached)
    ratio = result.ratio(work, row)
    bound = row.at_least - (NOISE if row.at_least == NOT_WORSE else 0)
    wanted = "not worse" if row.at_least == NOT_WORSE else f"{row.at_least:.3g}x"
    return Verdict(work.title, title, _number(ours), contestant.ALL[row.against].title,
                   _number(result.median(work, row.against, row.metric)), ratio, wanted,
                   ratio is not None and ratio >= bound)


def _damage_text(damage: dict[str, int]) -> str:
    return ", ".join(f"{count} {DAMAGE[key]}" for key, count in damage.items()) or "none"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


# ---- text ----

def markdown(result: Result, verdicts: list[Verdict]) -> str:
    """The whole report."""
    reached = sum(v.is_reached for v in verdicts)
    parts = [_head(result), f"**{reached} of {len(verdicts)} rows reached.**"]
    if result.load[0] > BUSY:
        parts.append("Other programs had the machine, too: rates and times of this run say little, CPU seconds are "
                     "somewhat too high for everybody.")
    if result.is_quick:
        parts.append("This was the quick form: one short round with few connections. It shows that everything runs; "
                     "its figures mean nothing.")
    parts += [_verdict_table(verdicts), "### All medians", _median_table(result), "### What was lost",
              _damage_table(result)]
    return "\n\n".join(parts) + "\n"


def _head(result: Result) -> str:
    m = result.machine
    versions = ", ".join(f"{contestant.ALL[name].title} {version}" for name, version in result.versions.items())
    rounds = f"{result.rounds} round{'s'[:result.rounds > 1]}, interleaved; medians"
    return (f"{m['time']}: {m['processor']}, {m['cores']} cores, {m['memory_gb']} GB; Linux {m['kernel']}, "
            f"{m['system']}; load average before and meanwhile "
            f"{result.load[0]}-{max(result.load)} (the benchmark itself is 2). "
            f"{rounds}. {versions}.")


def _verdict_table(verdicts: list[Verdict]) -> str:
    lines = ["| work | figure | Causeway | peer | its figure | times as good | wanted | |",
             "|---|---|---:|---|---:|---:|---:|---|"]
    last = ""
    for v in verdicts:
        ratio = "" if v.ratio is None else f"{v.ratio:.2f}" if v.ratio < 1000 else "-"
        word = "pass" if v.is_reached else "**short**"
        lines.append(f"| {v.work if v.work != last else ''} | {v.metric} | {v.ours} | {v.peer} | {v.theirs} "
                     f"| {ratio} | {v.wanted} | {word} |")
        last = v.work
    return "\n".join(lines)


def _median_table(result: Result) -> str:
    lines = ["| work | relay | figures (least - most of the rounds) |", "|---|---|---|"]
    for work in result.works:
        for name in work.contestants:
            figures = [_figure(result, work, name, metric) for metric in work.metrics]
            title = work.title if name == work.contestants[0] else ""
            lines.append(f"| {title} | {contestant.ALL[name].title} | {'; '.join(f for f in figures if f)} |")
    return "\n".join(lines)


def _figure(result: Result, work: Work, name: str, metric: Metric) -> str:
    values = result.values(work, name, metric)
    if not values or (name == "direct" and metric.key.startswith("relay")):
        return ""
    low, high = min(values.values()), max(values.values())
    spread = f" ({_number(low)} - {_number(high)})" if len(values) > 1 else ""
    return f"{metric.title} {_number(result.median(work, name, metric))} {metric.unit}{spread}"


def _damage_table(result: Result) -> str:
    lines = ["| relay | in all rounds together |", "|---|---|"]
    names = dict.fromkeys(name for work in result.works for name in work.contestants)
    return "\n".join(lines + [f"| {contestant.ALL[n].title} | {_damage_text(result.damage(n))} |" for n in names])


# ---- files ----

def write(result: Result, verdicts: list[Verdict], folder: Path) -> None:
    """result.json, result.md and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.svg"), *folder.glob("*.png")):
        old.unlink()
    data = {"machine": result.machine, "versions": result.versions, "rounds": result.rounds,
            "quick": result.is_quick, "load": result.load, "samples": result.samples,
            "verdicts": [v.__dict__ for v in verdicts]}
    (folder / "result.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / "result.md").write_text("# Benchmark\n\n" + markdown(result, verdicts), encoding="utf-8")
    for chart in charts(result):
        if chart.groups:
            plot.write(chart, folder)


def publish(result: Result, verdicts: list[Verdict], page: Path) -> None:
    """Puts the report between the two marks of a page."""
    begin, end = "<!-- result -->\n", "<!-- end of result -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}{markdown(result, verdicts)}{end}{after}", encoding="utf-8")


CHARTS = (
    ("bulk-throughput", "TCP relay, bulk", "gb_per_s", "bulk-"),
    ("bulk-cpu", "TCP relay, bulk: what a gigabyte costs", "relay_cpu_s_per_gb", "bulk-"),
    ("rr-rate", "200-byte request/response", "round_trips_per_s", "rr-"),
    ("rr-cpu", "200-byte request/response: what a message costs", "relay_cpu_s_per_million_messages", "rr-"),
    ("latency", "200-byte request/response, one connection", "p50_us", "latency"),
    ("setup", "Sessions set up", "sessions_per_s", "setup"),
    ("idle", "Memory of an idle session", "bytes_each", "idle-"),
    ("udp-200", "ChannelData 200 B: packets per CPU second", "packets_per_cpu_s", "udp-200-"),
    ("udp-1000", "ChannelData 1000 B: packets per CPU second", "packets_per_cpu_s", "udp-1000-"),
)
COLOURS = {"causeway": "#0b6e4f", "coturn": "#c8553d", "haproxy": "#3d6fb4", "haproxy-copy": "#3d6fb4",
           "nginx": "#e0a030", "direct": "#9a9a9a"}


def charts(result: Result) -> list[plot.Chart]:
    """The plots of a run."""
    return [_chart(result, *words) for words in CHARTS]


def _chart(result: Result, name: str, title: str, key: str, prefix: str) -> plot.Chart:
    works = [w for w in result.works if w.name.startswith(prefix)]
    names = dict.fromkeys(n for w in works for n in w.contestants if n != "direct" or not key.startswith("relay"))
    metric = next((m for w in works for m in w.metrics if m.key == key), None)
    groups = [plot.Group(_short(w), [result.median(w, n, metric) for n in names]) for w in works]
    series = [plot.Series(contestant.ALL[n].title, COLOURS[n]) for n in names]
    better = "less is better" if metric and metric.is_cost else "more is better"
    return plot.Chart(name, f"{title} ({better})", metric.unit if metric else "", series, groups)


def _short(work: Work) -> str:
    """A work's name under its bars: what distinguishes it from its neighbours."""
    family, *rest = work.name.split("-")
    if family == "udp":
        burst, direction = rest[1:]
        shape = "singles" if burst == "1" else f"bursts of {burst}"
        return f"{shape}, to {'peer' if direction == 'up' else 'client'}"
    if family == "idle":
        return work.title.removeprefix("idle ")
    return f"{rest[0]} connection{'s'[:rest[0] != '1']}" if rest else work.title
