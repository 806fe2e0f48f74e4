"""Shows how a run is going, on stderr: bars on a terminal, a plain line every ten seconds elsewhere.

Both look at the run by themselves, so they move while the first window is still being encoded, and go on while Milvus lets a run wait. They
are shown in the form of the log: with `--log-format json` a line is a JSON object, and there are no bars.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.observe.live import Live
    from connector.report import RunReport

HEARTBEAT = 10.0
"""Seconds between plain lines."""

SPAN = 15.0
"""Seconds over which a rate, and the station in front, are told."""

REFRESH = 4
"""Looks a second, on a terminal."""


@contextlib.contextmanager
def progress(name: str, form: Callable[[str], str] = lambda text: text, *, bars: bool | None = None) -> Iterator[Callable[[Live], None]]:
    """Yields what `run_job` takes as `on_start`.

    Args:
        name: The job's.
        form: Makes a line of the log out of a plain line.
        bars: Whether to draw; default on a terminal that can move its cursor.
    """
    drawn = (sys.stderr.isatty() and os.environ.get("TERM") != "dumb") if bars is None else bars
    with _bars(name) if drawn else _heartbeat(name, form) as follow:
        yield follow


@dataclass(slots=True)
class Pace:
    """How fast numbers grow, over the last seconds.

    Attributes:
        looks: (seconds, what was seen then), oldest first.
    """

    looks: list[tuple[float, dict[str, float]]] = field(default_factory=list)

    def look(self, now: float, seen: dict[str, float]) -> dict[str, float]:
        """By how much a second each number grew; 0 at the first look."""
        self.looks.append((now, seen))
        while len(self.looks) > 2 and self.looks[1][0] <= now - SPAN:  # noqa: PLR2004 - the two that a rate needs
            del self.looks[0]
        then, before = self.looks[0]
        return {name: (value - before.get(name, 0.0)) / (now - then) if now > then else 0.0 for name, value in seen.items()}


def done(report: RunReport) -> int:
    """Documents that are over and done with."""
    counts = report.counts
    return counts.unchanged + counts.written + counts.empty + counts.rejected


def numbers(report: RunReport) -> dict[str, float]:
    """What grows in a run: documents, inputs whose vectors are there, rows, and seconds by station."""
    known = {"documents": done(report), "encoded": report.encoded + report.reused, "written": report.rows.upserted}
    return {**known, **{f"{name} s": seconds for name, seconds in report.stations.items()}}


def front(rates: dict[str, float]) -> str:
    """The station that was busiest lately, such as "encode 93%", or ""; those that several threads share may be over 100%."""
    busy = {name.removesuffix(" s"): rate for name, rate in rates.items() if name.endswith(" s")}
    name = max(busy, key=lambda one: busy[one], default="")
    return f"{name} {busy[name]:.0%}" if name and busy[name] >= 0.01 else ""  # noqa: PLR2004 - nothing under a percent


def expected(report: RunReport) -> float | None:
    """How many rows there will be, if the documents to come are like those before; None where that cannot be told."""
    measured = report.measured
    if report.total is None or not measured.window_documents:
        return None
    to_come = max(0, report.total - report.counts.unchanged - measured.window_documents)
    return measured.window_rows * (1 + to_come / measured.window_documents)


def left(report: RunReport, rates: dict[str, float]) -> float | None:
    """Seconds until the end at the rate of the last seconds: of documents, or of inputs until the first window is committed."""
    if report.total is None:
        return None
    if rate := rates.get("documents", 0.0):
        return max(0.0, report.total - done(report)) / rate
    rows, rate = expected(report), rates.get("encoded", 0.0)
    return None if rows is None or not rate else max(0.0, rows - report.encoded - report.reused) / rate


def line(name: str, report: RunReport, rates: dict[str, float]) -> str:
    """One line: documents so far and of how many, inputs encoded, rows written, rows a second, the station in front, time left."""
    counts = report.counts
    total = "" if report.total is None else f" of {report.total:,}"
    waiting, remaining = front(rates), left(report, rates)
    return (
        f"{name}: {done(report):,}{total} documents ({counts.unchanged:,} unchanged, {counts.written:,} written,"
        f" {counts.rejected:,} rejected); {report.encoded + report.reused:,} encoded, {rates.get('encoded', 0):,.0f}/s;"
        f" {report.rows.upserted:,} rows, {rates.get('written', 0):,.0f}/s"
        + (f"; busiest: {waiting}" if waiting else "")
        + (f"; {clock(remaining)} left" if remaining is not None else "")
    )


def clock(seconds: float) -> str:
    """Such as 1:02:05 or 2:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def _heartbeat(name: str, form: Callable[[str], str]) -> Iterator[Callable[[Live], None]]:
    over, threads = threading.Event(), list[threading.Thread]()

    def beat(live: Live) -> None:
        pace = Pace()
        pace.look(time.monotonic(), {})
        while not over.wait(HEARTBEAT):
            report = live()
            sys.stderr.write(form(line(name, report, pace.look(time.monotonic(), numbers(report)))) + "\n")

    def follow(live: Live) -> None:
        threads.append(threading.Thread(target=copy_context().run, args=(beat, live), name="progress", daemon=True))
        threads[-1].start()

    try:
        yield follow
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def _bars(name: str) -> Iterator[Callable[[Live], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    plain: dict[str, Any] = {"markup": False}
    columns = (
        *(SpinnerColumn(), TextColumn("{task.description}", **plain), BarColumn(bar_width=30)),
        *(TextColumn("{task.fields[count]}", **plain), TextColumn("{task.fields[more]}", **plain)),
    )
    lives, pace = list[Any](), Pace()

    class Bars(Progress):
        """Looks at the run whenever it is drawn."""

        def get_renderables(self) -> Any:
            """The bars as they are now."""
            if lives:
                report = lives[0]()
                rates = pace.look(time.monotonic(), numbers(report))
                for task, shown in zip(self.tasks, bars(report, rates), strict=True):
                    self.update(task.id, **shown)
            yield self.make_tasks_table(self.tasks)

    with Bars(*columns, console=Console(stderr=True), transient=True, refresh_per_second=REFRESH) as drawn:
        for station in (name, "encode", "write"):
            drawn.add_task(station, total=None, count="starting" if station == name else "", more="")
        yield lives.append


def bars(report: RunReport, rates: dict[str, float]) -> list[dict[str, Any]]:
    """What the three bars show: documents, and inputs encoded and rows written of as many as are expected."""
    counts, remaining = report.counts, left(report, rates)
    total = "" if report.total is None else f"/{report.total:,}"
    more = [f"{rates.get('documents', 0):,.0f}/s", f"{counts.unchanged:,} unchanged", f"{counts.rejected:,} rejected"]
    more += [f"busiest: {front(rates)}"] if front(rates) else []
    more += [f"{clock(remaining)} left"] if remaining is not None else []
    encoded, rows, all_rows = report.encoded + report.reused, report.rows.upserted, expected(report)
    return [
        {"completed": done(report), "total": report.total, "count": f"{done(report):,}{total} documents", "more": "  ".join(more)},
        {"completed": encoded, "total": all_rows, "count": f"{encoded:,} inputs", "more": f"{rates.get('encoded', 0):,.0f}/s"},
        {"completed": rows, "total": all_rows, "count": f"{rows:,} rows", "more": f"{rates.get('written', 0):,.0f}/s"},
    ]
