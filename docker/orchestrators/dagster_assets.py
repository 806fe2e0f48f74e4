"""Dagster: the collection is an asset, made every night; the counts of the run are its metadata."""

from __future__ import annotations

import dagster as dg
from ingest import TryLater, ingest


@dg.asset(group_name="milvus")
def handbook() -> dg.MaterializeResult:
    """The handbook's collection."""
    try:
        report = ingest("jobs/handbook.yaml")
    except TryLater as error:
        raise dg.RetryRequested(max_retries=6, seconds_to_wait=60) from error
    return dg.MaterializeResult(metadata={**report["counts"], "collection": report["collection"], "seconds": report["seconds"]})


nightly = dg.ScheduleDefinition(
    name="nightly",
    job=dg.define_asset_job("handbook_job", selection=[handbook]),
    cron_schedule="30 2 * * *",
    execution_timezone="Europe/Berlin",
)
defs = dg.Definitions(assets=[handbook], schedules=[nightly])
