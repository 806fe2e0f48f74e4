"""The commands around a job's data: `verify` compares it with what was written, `forget` and `purge` erase it and prove it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, say, show
from connector.errors import Refused

if TYPE_CHECKING:
    from connector.commands.forgetting import Erasure


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
    from connector.commands.verifying import verify_job

    with errors(as_json=as_json):
        result = verify_job(load_job(job), full=full, repair=repair, source=source, seed=seed)
        show(result.model_dump(), as_json=as_json, text=lambda _: str(result))
        raise typer.Exit(result.exit_code)


def forget(
    job: JobFile,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The document.")],
    *,
    allow_again: Annotated[bool, typer.Option("--allow-again", help="Take the mark away; the next run that lists it ingests it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete all rows of a document, prove it, and never ingest it again."""
    from connector.commands import forgetting

    with errors(as_json=as_json):
        parsed = load_job(job)
        if allow_again:
            forgetting.allow_again(parsed, key)
            document = {"job": parsed.job, "document": key, "marked": False, "exit_code": 0}
            show(document, as_json=as_json, text=lambda _: f"{key} may be ingested again")
            return
        _report(forgetting.forget(parsed, key), as_json=as_json)


def purge(
    job: JobFile,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete all rows of a retired job, no others, and its ledger entries."""
    from connector.commands import forgetting

    with errors(as_json=as_json):
        parsed = load_job(job)
        question = f"Delete all rows of namespace {parsed.scope} at {parsed.milvus.uri}, and the ledger entries?"
        if not yes and not (sys.stdin.isatty() and typer.confirm(question, err=True)):
            raise Refused(f"{parsed.job}: nothing was deleted", hint="connector purge JOB --yes deletes all rows of its namespace")
        _report(forgetting.purge(parsed), as_json=as_json)


def _report(result: Erasure, *, as_json: bool) -> None:
    show(result.model_dump(), as_json=as_json, text=lambda _: str(result))
    if result.message:
        say(result.message)
    raise typer.Exit(result.exit_code)
