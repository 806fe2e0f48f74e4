"""Leaves the metrics of one run where Prometheus finds them after the process is gone: in a file for node-exporter, or at a Pushgateway."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import push_to_gateway, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from connector.observe.metrics import Book
from connector.observe.posting import TIMEOUT, send

if TYPE_CHECKING:
    from connector.report import RunReport


def write_textfile(report: RunReport, folder: Path) -> None:
    """Writes `connector_<job>.prom` in one step; its counters go on from those of the file that was there.

    Raises:
        OSError: The folder is missing or cannot be written to.
    """
    path, book = folder / f"connector_{report.job}.prom", Book()
    with contextlib.suppress(OSError, ValueError, KeyError):  # none yet, or none of ours: begin at zero
        book.go_on_from(report.job, list(text_string_to_metric_families(path.read_text(encoding="utf-8"))))
    book.record(report)
    write_to_textfile(str(path), book.registry)


def push(report: RunReport, url: str) -> None:
    """Replaces what the Pushgateway has of this job by what this run came to.

    Raises:
        NotSent: It was not reached.
    """
    book = Book()
    book.record(report)
    push_to_gateway(url, job=report.job, registry=book.registry, timeout=TIMEOUT, handler=_handler)


def _handler(url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes) -> Any:
    del timeout  # `send` has its own
    return partial(send, url, data, method=method, headers=dict(headers))
