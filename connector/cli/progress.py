"""Shows how a run is going, on stderr: a live line on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from connector.report import RunReport

HEARTBEAT = 10.0
"""Seconds between plain lines."""


@contextlib.contextmanager
def progress(name: str) -> Iterator[Callable[[RunReport], None]]:
    """Yields a function to call with the report after every window."""
    if sys.stderr.isatty():
        with _live(name) as show:
            yield show
    else:
        yield _heartbeat(name)


def line(name: str, report: RunReport, seconds: float) -> str:
    """One line: documents so far, rows, and rows a second."""
    counts, rows = report.counts, report.rows.upserted
    return (
        f"{name}: {counts.listed:,} listed, {counts.unchanged:,} unchanged, {counts.written:,} written, {counts.rejected:,} rejected;"
        f" {rows:,} rows, {rows / seconds if seconds else 0:,.0f}/s"
    )


def _heartbeat(name: str) -> Callable[[RunReport], None]:
    begun = last = time.monotonic()

    def show(report: RunReport) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= HEARTBEAT:
            last = now
            sys.stderr.write(line(name, report, now - begun) + "\n")

    return show


@contextlib.contextmanager
def _live(name: str) -> Iterator[Callable[[RunReport], None]]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    begun = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{name}: starting")
        yield lambda report: bar.update(task, description=line(name, report, time.monotonic() - begun))
