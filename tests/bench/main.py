"""Drives Causeway and its peers side by side and tells who is how good: see script/bench."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import contestant
import machine
import measure
import report
import work

PROGRAMS = {"coturn": "turnserver", "haproxy": "haproxy", "nginx": "nginx", "taskset": "taskset", "setpriv": "setpriv"}


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="script/bench", description="Measure Causeway beside coturn, HAProxy and nginx: every byte verified, "
        "relay and load on a core each, contestants interleaved. Writes build/bench/result.md, result.json and "
        "plots. Exit code 0: every row reached, 1: some are short, 2: it could not be measured.",
        epilog="works: " + " ".join(w.name for w in work.ALL))
    parser.add_argument("--quick", action="store_true",
                        help="one short round with few connections, to see that it runs; only lost bytes are judged")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--only", action="append", default=[], metavar="WORK", help="only this work, or this family "
                        "(bulk, rr, idle, udp); may be given again")
    parser.add_argument("--publish", action="store_true", help="put the result into doc/performance.md, too")
    parser.add_argument("--build", type=Path, default=Path("build"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("--rounds wants 1 or more")
    try:
        given.works = work.chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    return given


def check_machine() -> list[int]:
    """The cores for generator and relay; ends with a message when something is missing."""
    missing = [name for name, program in PROGRAMS.items() if not shutil.which(program, path=search_path())]
    if missing:
        give_up(f"not installed: {', '.join(missing)}; script/bootstrap bench installs them")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        give_up("two cores are needed, one for the relay and one for the load")
    return cores[:2]


def give_up(why: str) -> NoReturn:
    """Nothing can be measured."""
    print(f"bench: {why}", file=sys.stderr)
    sys.exit(2)


def search_path() -> str:
    """With the places of servers, which an ordinary user's path may lack."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def run(result: report.Result, build: Path, cores: list[int], scale: measure.Scale) -> None:
    """All rounds; a sample for each measurement, also for one that failed."""
    steps = result.rounds * sum(len(w.contestants) for w in result.works)
    start = time.monotonic()
    for number in range(1, result.rounds + 1):
        for w in result.works:
            for name in w.contestants:
                tell(start, len(result.samples), steps, f"round {number} of {result.rounds}: {w.name}, {name}")
                place = contestant.Place(build.resolve(), *(cores[::-1] if w.is_pinned else (None, None)))
                result.samples.append({"work": w.name, "round": number, "contestant": name,
                                       "values": measure_one(w, name, place, scale)})
            result.load.append(machine.load())


def measure_one(w: work.Work, name: str, place: contestant.Place, scale: measure.Scale) -> dict:
    """The figures of one contestant under one work, or why there are none."""
    try:
        with contestant.ALL[name](place).running() as relay:
            return w.run(relay, scale)
    except (contestant.StartError, measure.MeasureError) as error:
        clear_line()
        print(f"bench: {w.name}, {name}: {error}", file=sys.stderr)
        return {"error": str(error)}


def tell(start: float, done: int, steps: int, what: str) -> None:
    """A line of progress, one on a terminal, otherwise one for each measurement."""
    line = f"[{time.monotonic() - start:4.0f} s, {100 * done // steps:2d} %] {what}"
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


def clear_line() -> None:
    """Makes room for a whole line on a terminal."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)


def table(verdicts: list[report.Verdict]) -> str:
    """For a terminal: the rows in columns."""
    lines = []
    for v in verdicts:
        ratio = "" if v.ratio is None else f"{v.ratio:7.2f}x" if v.ratio < 1000 else "endless"
        peer = f"{v.peer} {v.theirs}" if v.peer else ""
        lines.append(f"{'pass' if v.is_reached else 'SHORT'}  {v.work[:58]:58} {v.metric[:26]:26} {v.ours:>8} "
                     f"{peer[:30]:30} {ratio:>9}  want {v.wanted}")
    return "\n".join(lines)


def main() -> int:
    given = options()
    cores = check_machine()
    os.environ["PATH"] = search_path()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    place = contestant.Place(given.build.resolve(), None, None)
    names = dict.fromkeys(name for w in given.works for name in w.contestants)
    versions = {name: contestant.version(name, place) for name in names if name not in ("causeway-2", "haproxy-copy")}
    result = report.Result(machine.describe(), {n: v for n, v in versions.items() if v},
                           1 if given.quick else given.rounds, given.quick, given.works, load=[machine.load()])
    run(result, given.build, cores, measure.QUICK if given.quick else measure.FULL)
    clear_line()
    verdicts = report.judge(result)
    folder = given.build / "bench"
    report.write(result, verdicts, folder)
    if given.publish:
        report.publish(result, verdicts, Path("doc/performance.md"))
    print(table(verdicts))
    print(f"bench: {sum(v.is_reached for v in verdicts)} of {len(verdicts)} rows reached; {folder}/result.md")
    judged = verdicts[-1:] if given.quick else verdicts
    return 0 if all(v.is_reached for v in judged) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
