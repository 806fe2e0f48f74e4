"""What the benchmarks share: sides measured in turn, each time in a process of its own, and what comes of it as a table and as JSON.

A machine is never quiet, so nothing is compared with a number from another day: each round measures every side, in an order that turns
round from round to round, and a ratio is taken within its round. The median of the rounds is told with its lowest and highest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Measured: TypeAlias = dict[str, float]
"""What one measurement of one side gave, by name."""

Side: TypeAlias = Callable[[Path, Path, argparse.Namespace], Measured]
"""Measures: what was made ready for all sides, an empty folder of its own, and the options."""

Ratio: TypeAlias = Callable[[Mapping[str, Measured]], float]
"""Of the sides of one round, by name."""

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Benchmark:
    """A script.

    Attributes:
        module: Its name, for `python -m`.
        about: For --help.
        options: Own options: name to default.
        prepare: Makes ready what all sides use, in a folder; what it gives is open as long as sides are measured.
        sides: By name.
        ratios: Of the sides of one round, by what they say.
        choices: Of options that have only some values.
    """

    module: str
    about: str
    options: Mapping[str, int | str]
    prepare: Callable[[Path, argparse.Namespace], contextlib.AbstractContextManager[Any] | None]
    sides: Mapping[str, Side]
    ratios: Mapping[str, Ratio]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)


def main(bench: Benchmark, words: Sequence[str] | None = None) -> dict[str, Any]:
    """Runs a script: all rounds, or, in a process that it started, one side."""
    words = list(sys.argv[1:] if words is None else words)
    given = _parser(bench).parse_args(words)
    if given.side:
        with tempfile.TemporaryDirectory() as empty:
            measured = bench.sides[given.side](given.folder, Path(empty), given)
        print(json.dumps(measured))
        return measured
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        held = bench.prepare(Path(name), given)
        if held is not None:
            stack.enter_context(held)
        rounds = [_round(bench, number, Path(name), words) for number in range(given.rounds)]
    result = summary(bench, rounds, {name: getattr(given, name) for name in bench.options})
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    return result


def _parser(bench: Benchmark) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {bench.module}", description=bench.about.partition("\n")[0])
    for name, default in bench.options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, choices=bench.choices.get(name))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(f"bench-{bench.module.rpartition('.')[2]}.json"))
    parser.add_argument("--side", choices=list(bench.sides), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def _round(bench: Benchmark, number: int, folder: Path, words: Sequence[str]) -> dict[str, Measured]:
    found = {}
    for side in sorted(bench.sides, reverse=number % 2 == 1):
        command = [sys.executable, "-m", bench.module, *words, "--side", side, "--folder", str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        found[side] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"round {number + 1}, {side}: {_words(found[side])}", file=sys.stderr)
    return {side: found[side] for side in bench.sides}


def summary(bench: Benchmark, rounds: Sequence[Mapping[str, Measured]], options: Mapping[str, Any]) -> dict[str, Any]:
    """Medians by side, and each ratio with its spread over the rounds."""
    medians = {side: {name: statistics.median(one[side][name] for one in rounds) for name in rounds[0][side]} for side in bench.sides}
    ratios = {}
    for name, ratio in bench.ratios.items():
        values = [round(ratio(one), 3) for one in rounds]
        ratios[name] = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    about = {"benchmark": bench.module.rpartition(".")[2], "options": dict(options), "machine": machine()}
    return {**about, "medians": medians, "ratios": ratios, "rounds": [dict(one) for one in rounds]}


def table(result: Mapping[str, Any]) -> str:
    """The medians and ratios for people."""
    options = ", ".join(f"{name} {value}" for name, value in result["options"].items())
    machine = result["machine"]
    lines = [f"{result['benchmark']}: {options}; {len(result['rounds'])} rounds; {machine['cores']} cores, {machine['cpu']}"]
    lines += [f"  {side:<20} {_words(measured)}" for side, measured in result["medians"].items()]
    lines += [f"  {name}: {one['median']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for name, one in result["ratios"].items()]
    return "\n".join(lines)


def _words(measured: Measured) -> str:
    return "  ".join(f"{name} {value:,.4g}" if value < 1000 else f"{name} {value:,.0f}" for name, value in measured.items())


def machine() -> dict[str, Any]:
    """The cores that we may use, and what they do natively: the widest vectors, and bfloat16 if they have it."""
    file = Path("/proc/cpuinfo")
    flags = file.read_text(encoding="utf-8").partition("flags")[2].partition("\n")[0].split() if file.exists() else []
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cores": cores, "cpu": " ".join(flag for flag in known if flag in flags) or "no known vector units"}


def peak() -> float:
    """Megabytes of memory that this process held at most; 0 where the kernel does not tell.

    `ru_maxrss` would not do: it begins with what the parent had when it started us.
    """
    file = Path("/proc/self/status")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def worked(report: Any) -> float:
    """Seconds of a run between its start-up and its closing, in which Milvus Lite builds an index."""
    seconds: float = report.seconds - report.startup_s - report.stations["close"]
    return seconds


def limit(job: Any, seconds: float = 10.0) -> Measured:
    """What the job could reach on these cores: by `connector bench`, and strictly, from core-seconds alone."""
    from connector.commands.benching import bench_job

    found = bench_job(job, seconds=seconds)
    print(found, file=sys.stderr)
    return {"core_ms": found.core_ms, "a_second": found.cores * 1000 / found.core_ms, "model_alone": found.model_rate or 0.0}
