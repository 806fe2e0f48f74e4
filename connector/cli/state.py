"""The ledger on the command line: shown, saved, brought back, rebuilt from the collection, emptied."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, show

app = typer.Typer(name="state", no_args_is_help=True, help="The ledger: what a job remembers of what it wrote.")

SavedFile = Annotated[Path, typer.Argument(metavar="FILE", help="The saved ledger.", show_default=False)]


@app.command("show")
def show_(job: JobFile, *, as_json: AsJson = False) -> None:
    """Show what the ledger holds."""
    from connector.ledger.state import describe

    with errors(as_json=as_json):
        parsed = load_job(job)
        show({"job": parsed.job, **describe(parsed.state_path), "exit_code": 0}, as_json=as_json, text=_text)


@app.command()
def export(job: JobFile, file: SavedFile, *, as_json: AsJson = False) -> None:
    """Save a copy of the ledger, also while a run is under way."""
    from connector.ledger.state import export as save

    with errors(as_json=as_json):
        parsed = load_job(job)
        show({"job": parsed.job, **save(parsed.state_path, file), "exit_code": 0}, as_json=as_json, text=_text)


@app.command("import")
def import_(job: JobFile, file: SavedFile, *, as_json: AsJson = False) -> None:
    """Bring a saved ledger back; the next run compares it with the collection first."""
    from connector.ledger.state import bring_back

    with errors(as_json=as_json):
        parsed = load_job(job)
        show({"job": parsed.job, **bring_back(parsed.state_path, file), "exit_code": 0}, as_json=as_json, text=_text)


@app.command()
def rebuild(job: JobFile, *, as_json: AsJson = False) -> None:
    """Rebuild the ledger from the collection; the next run reads every document and encodes only what differs."""
    from connector.commands.rebuilding import rebuild_job

    with errors(as_json=as_json):
        parsed = load_job(job)
        document = {"job": parsed.job, "documents": rebuild_job(parsed), "exit_code": 0}
        show(document, as_json=as_json, text=lambda _: f"{document['documents']:,} documents taken over from the collection")


@app.command()
def reset(job: JobFile, *, as_json: AsJson = False) -> None:
    """Empty the ledger, but for the marks of forgotten documents; the next run rebuilds it."""
    from connector.ledger.state import reset as empty

    with errors(as_json=as_json):
        parsed = load_job(job)
        document = {"job": parsed.job, "documents": empty(parsed.state_path, parsed.scope), "exit_code": 0}
        show(document, as_json=as_json, text=lambda _: f"{document['documents']:,} entries deleted; the next run rebuilds the ledger")


def _text(document: dict[str, Any]) -> str:
    lines = [f"{document['file']}: format {document['format']}" + (f", {document['bytes']:,} bytes" if "bytes" in document else "")]
    lines += [f"what was there is saved as {document['saved']}"] if document.get("saved") else []
    for scope in document["scopes"]:
        statuses = ", ".join(f"{count:,} {status}" for status, count in scope["documents"].items()) or "no documents"
        lines.append(f"  {scope['namespace']} in {scope['uid']}: {statuses}; {scope['rows']:,} rows, {scope['rejects']:,} rejects")
        lines += [f"    to be compared with the collection: {scope['doubt']}"] if scope["doubt"] else []
    lines += [f"  forgotten in {namespace}: {', '.join(keys)}" for namespace, keys in document["forgotten"].items()]
    return "\n".join(lines)
