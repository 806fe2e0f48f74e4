"""What is told around a run: its log lines and spans are its own, and when it has ended it is counted and people hear of it.

Telling is never a reason to fail: what cannot be told becomes a note in the report.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from connector.observe import traces
from connector.observe.logs import working_for

if TYPE_CHECKING:
    from connector.observe.settings import MetricsSettings, NotifySettings
    from connector.report import RunReport

log = logging.getLogger("connector.run")


@contextlib.contextmanager
def observed(report: RunReport, metrics: MetricsSettings | None, notify: NotifySettings | None) -> Iterator[None]:
    """Goes around a run; whatever ends it is in the report then, and the report is at the error as `error.report`."""
    traces.from_environment()
    with working_for(report.job, report.run_id):
        log.info("the run begins")
        try:
            with traces.span("run", job=report.job, run=report.run_id) as say, _ending(report, say):
                yield
        finally:
            _tell(report, metrics, notify)
            traces.flush()
            log.info("the run ended: exit code %d, %s", report.exit_code, report.outcome)


@contextlib.contextmanager
def _ending(report: RunReport, say: Callable[..., None]) -> Iterator[None]:
    try:
        yield
        report.end()
    except BaseException as error:
        report.end(error)
        error.report = report  # type: ignore[attr-defined]  # for the command line's --json, and for who counts runs
        raise
    finally:
        say(exit_code=report.exit_code, outcome=report.outcome, written=report.counts.written, rejected=report.counts.rejected)


def _tell(report: RunReport, metrics: MetricsSettings | None, notify: NotifySettings | None) -> None:
    if metrics is not None:
        from connector.observe.handing import push, write_textfile

        if metrics.textfile is not None:
            _try("metrics are not written", partial(write_textfile, report, metrics.textfile), report)
        if metrics.pushgateway is not None:
            _try("metrics are not pushed", partial(push, report, metrics.pushgateway), report)
    if notify is not None:
        from connector.observe.notices import notify as tell

        _try("nobody was notified", partial(tell, report, notify), report)


def _try(what: str, call: Callable[[], None], report: RunReport) -> None:
    from connector.observe.posting import NotSent

    try:
        call()
    except Exception as error:  # noqa: BLE001 - a run that is done does not fail because nobody hears of it
        reason = str(error) if isinstance(error, NotSent) else getattr(error, "strerror", None) or type(error).__name__
        report.notes.append(f"{what}: {reason}")
