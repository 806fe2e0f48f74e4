"""The reject store on the command line: what was not written and why, shown, exported, and tried again.

All but `retry` read the ledger file alone, so they answer when Milvus is down and while a run is under way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, say, show
from connector.display import one_line
from connector.errors import ConfigError, nearest

if TYPE_CHECKING:
    from connector.job import Job

app = typer.Typer(name="rejects", no_args_is_help=True, help="Look at documents and rows that were not written, and try them again.")


@app.command("list")
def list_(job: JobFile, *, as_json: AsJson = False) -> None:
    """List what was not written, and why."""
    with errors(as_json=as_json):
        parsed = load_job(job)
        found = _stored(parsed)
        document = {"job": parsed.job, "documents": len(_documents(found)), "rejects": found, "exit_code": 0}
        show(document, as_json=as_json, text=lambda _: "\n".join(map(_line, found)) or "no rejects")


@app.command("show")
def show_(job: JobFile, key: Annotated[str, typer.Argument(metavar="KEY", help="The document.")], *, as_json: AsJson = False) -> None:
    """Show all that is known of one document's rejects."""
    with errors(as_json=as_json):
        parsed = load_job(job)
        found = _stored(parsed)
        _check_known(key, found)
        entries = [entry for entry in found if entry["document"] == key]
        document = {"job": parsed.job, "document": key, "uri": _uris(parsed)(key), "rejects": entries, "exit_code": 0}
        show(document, as_json=as_json, text=_details)


@app.command()
def retry(
    job: JobFile,
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Documents; default all with rejects.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Read and write rejected documents again, and nothing else; never deletes what vanished."""
    from connector.cli.jobs import run_and_report
    from connector.report import RunReport
    from connector.stations import Options

    with errors(as_json=as_json):
        parsed = load_job(job)
        found = _stored(parsed)
        for key in keys or ():
            _check_known(key, found)
        only = frozenset(keys or _documents(found))
        if not only:
            show(RunReport(run_id="", job=parsed.job).model_dump(), as_json=as_json, text=lambda _: "no rejects: nothing to try again")
            return
    run_and_report(job, Options(only=only), as_json=as_json)


@app.command()
def export(
    job: JobFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written anew, one JSON object a line.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write all rejects to a file of JSON lines."""
    with errors(as_json=as_json):
        parsed = load_job(job)
        found, uri = _stored(parsed), _uris(parsed)
        lines = [json.dumps({**entry, "uri": uri(entry["document"])}, ensure_ascii=False) for entry in found]
        try:
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file}: cannot be written: {error.strerror}", hint="give a file in a folder that exists") from None
        done = {"job": parsed.job, "file": str(file), "rejects": len(lines), "exit_code": 0}
        show(done, as_json=as_json, text=lambda _: f"{len(lines)} rejects written to {file}")


def _stored(job: Job) -> list[dict[str, Any]]:
    from connector.ledger.rejects import stored_rejects

    if not job.state_path.exists():
        say(f"{job.state_path}: no ledger yet; connector run {job.where}")
    return stored_rejects(job.state_path, job.scope)


def _documents(entries: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(entry["document"] for entry in entries))


def _check_known(key: str, entries: list[dict[str, Any]]) -> None:
    documents = _documents(entries)
    if key not in documents:
        hint = nearest(key, documents[:100]) if documents else "there are no rejects"
        raise ConfigError(f"no rejects of a document `{key}`", hint=hint)


def _uris(job: Job) -> Any:
    from connector.commands.building import uri_of

    return uri_of(job)


def _line(entry: dict[str, Any]) -> str:
    row = "" if entry["ordinal"] is None else f" row {entry['ordinal']}"
    return one_line(f"{entry['document']}{row}: {entry['station']}: {entry['reason']}") + f" (tried {_times(entry)})"


def _times(entry: dict[str, Any]) -> str:
    return "once" if entry["attempts"] == 1 else f"{entry['attempts']} times"


def _details(document: dict[str, Any]) -> str:
    lines = [document["document"], *([document["uri"]] if document["uri"] else [])]
    for entry in document["rejects"]:
        row = "the whole document" if entry["ordinal"] is None else f"row {entry['ordinal']}"
        lines += [f"  {row}, at {entry['station']}, tried {_times(entry)}, last in run {entry['run']}:", f"    {entry['reason']}"]
    return "\n".join(lines)
