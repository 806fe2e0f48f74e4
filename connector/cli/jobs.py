"""The commands that fill a collection and look into it: run, search."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import AsJson, JobFile, duration, errors, load_job, say, show
from connector.display import one_line

if TYPE_CHECKING:
    from connector.stations import Options


def run(
    job: JobFile,
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="List at most this many documents; sweeps nothing.")] = None,
    select: Annotated[str | None, typer.Option(metavar="GLOB", help="Only documents whose key matches; sweeps nothing.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(parser=duration, metavar="TIME", help="Stop cleanly after 50m, 2h or 90s; exit 4.")
    ] = None,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Read and write every document again.")] = False,
    allow_mass_delete: Annotated[bool, typer.Option("--allow-mass-delete", help="Lift the brake on deleting vanished documents.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List and compare only; change nothing anywhere.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the collection in step with the source."""
    from connector.stations import Options

    options = Options(limit=limit, select=select, time_limit=time_limit, full_refresh=full_refresh, allow_mass_delete=allow_mass_delete)
    if dry_run:
        _compare(job, options, as_json=as_json)
    else:
        run_and_report(job, options, as_json=as_json)


def run_and_report(job: JobFile, options: Options, *, as_json: bool) -> None:
    """Runs a job under signals and a progress line, prints its report, and ends the command with its exit code."""
    from connector.cli.progress import progress
    from connector.commands.running import run_job
    from connector.observe.logs import as_lines, line
    from connector.stopping import Stop

    stop = Stop()
    with errors(as_json=as_json), stop.on_signals():
        parsed = load_job(job)
        with progress(parsed.job, line, bars=False if as_lines() else None) as follow:
            report = run_job(parsed, options, stop, on_start=follow)
        show(report.model_dump(), as_json=as_json, text=lambda _: str(report))
        if options.only is not None and report.counts.listed < len(options.only):
            say(f"{len(options.only) - report.counts.listed} of {len(options.only)} documents are no longer listed by the source")
        if report.message:
            say(report.message)
        raise typer.Exit(report.exit_code)


def _compare(job: JobFile, options: Options, *, as_json: bool) -> None:
    from connector.commands.comparing import compare_job

    with errors(as_json=as_json):
        report = compare_job(load_job(job), options)
        show(report.model_dump(), as_json=as_json, text=lambda _: str(report))
        raise typer.Exit(report.exit_code)


def search(  # noqa: PLR0913 - its options, one by one, are the command
    job: JobFile,
    words: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    *,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Look for rows whose picture looks like this one.")] = None,
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="Look for rows whose sound is like this recording.")] = None,
    like: Annotated[str | None, typer.Option(metavar="KEY", help="Look for rows like the one with this primary key.")] = None,
    field: Annotated[list[str] | None, typer.Option(help="The vector field, if there are several; again for one more.")] = None,
    rank: Annotated[str | None, typer.Option(metavar="rrf|weighted", help="How answers of several fields become one.")] = None,
    weights: Annotated[str | None, typer.Option(metavar="W,W", help="For weighted: one number a field.")] = None,
    expression: Annotated[str, typer.Option("--filter", metavar="EXPR", help="Milvus filter, such as 'price < {max}'.")] = "",
    param: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A value of the filter, as JSON or plain text.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most hits.")] = 10,
    offset: Annotated[int, typer.Option(min=0, help="Hits to leave out before.")] = 0,
    output: Annotated[list[str] | None, typer.Option(metavar="FIELD", help="A field of each hit, instead of all columns.")] = None,
    group_by: Annotated[str | None, typer.Option(metavar="FIELD", help="Only the nearest row for each of its values.")] = None,
    radius: Annotated[float | None, typer.Option(help="Leave out what is farther; of one field.")] = None,
    consistency: Annotated[str, typer.Option(metavar="LEVEL", help="Strong, Bounded, Session or Eventually.")] = "Strong",
    as_json: AsJson = False,
) -> None:
    """Find the rows nearest to some words, a picture or a recording, with the encoders that wrote the vectors."""
    from connector.cli.asking import level, numbers, one_query, plain, values
    from connector.commands.retrieval.options import Search
    from connector.commands.searching import search_job

    with errors(as_json=as_json):
        how = Search(
            fields=tuple(field or ()),
            limit=limit,
            offset=offset,
            filter=expression,
            params=values(param or ()),
            rank=rank,
            weights=numbers(weights),
            output=tuple(output) if output else None,
            group_by=group_by,
            radius=radius,
            consistency=level(consistency),
        )
        hits = search_job(load_job(job), one_query(words=words, image=image, audio=audio, like=like), how)
        show([{**asdict(hit), "fields": plain(hit.fields)} for hit in hits], as_json=as_json, text=_hits)


def _hits(hits: list[dict[str, Any]]) -> str:
    return (
        "\n".join(
            f"{hit['distance']:.3f}  {hit['id']}\n" + "\n".join(f"    {k}: {one_line(v)}" for k, v in hit["fields"].items()) for hit in hits
        )
        or "nothing found"
    )
