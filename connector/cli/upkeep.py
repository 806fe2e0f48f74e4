"""The commands around a job's data: `verify` compares it with what was written."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, show


def verify(
    job: JobFile,
    *,
    full: Annotated[bool, typer.Option("--full", help="Read every row back, not only 256.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Re-queue what differs; the next run mends it.")] = False,
    source: Annotated[bool, typer.Option("--source", help="Compare with what the source lists, too.")] = False,
    seed: Annotated[str, typer.Option(help="Of an earlier verification, to read the same rows back.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Compare the ledger with the collection; exit 3 if anything differs."""
    from connector.verifying import verify_job

    with errors(as_json=as_json):
        result = verify_job(load_job(job), full=full, repair=repair, source=source, seed=seed)
        show(result.model_dump(), as_json=as_json, text=lambda _: str(result))
        raise typer.Exit(result.exit_code)
