"""Tells people by a webhook that a run failed, had too many rejects, or went well again: as JSON that Slack and its like show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from connector.observe.masking import masked
from connector.observe.posting import send

if TYPE_CHECKING:
    from connector.observe.settings import Event, NotifySettings
    from connector.report import RunReport


def event_of(report: RunReport) -> Event | None:
    """What there is to tell of a run that has ended; nothing of a good one after a good one, nor of one that somebody stopped."""
    if report.outcome == "failed":
        return "failure"
    if report.outcome == "rejects":
        return "rejects"
    return "recovery" if report.recovered else None


def notify(report: RunReport, settings: NotifySettings) -> None:
    """Tells it, if the job asks for that.

    Raises:
        NotSent: The webhook did not take it.
    """
    event = event_of(report)
    if event in settings.on:
        body = json.dumps(payload(report, event)).encode()
        send(settings.webhook.get_secret_value(), body, method="POST", headers={"Content-Type": "application/json"})


def payload(report: RunReport, event: Event) -> dict[str, Any]:
    """`text` for people, and the same as fields for programs."""
    message = masked(report.message)
    counts = report.counts
    said = {
        "failure": f"failed with exit code {report.exit_code}: {message}",
        "rejects": f"ended with exit code {report.exit_code}: {message}",
        "recovery": f"went well again: {counts.written:,} documents written, {counts.unchanged:,} unchanged, {counts.rejected:,} rejected",
    }[event]
    return {
        "text": f"connector job {report.job} {said} (run {report.run_id})",
        "event": event,
        "job": report.job,
        "run": report.run_id,
        "collection": report.collection,
        "exit_code": report.exit_code,
        "outcome": report.outcome,
        "message": message,
        "counts": counts.model_dump(),
        "rows": report.rows.model_dump(),
        "seconds": report.seconds,
    }
