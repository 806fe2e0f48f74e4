"""The commands that change a collection in the open: plan, apply, copy, promote, rollback, prune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import AsJson, JobFile, errors, load_job, show
from connector.errors import ConfigError

if TYPE_CHECKING:
    from connector.job import Job
    from connector.plan.planned import Plan

HAS_CHANGES = 10
"""Exit code of `plan` when there is anything to apply."""

_COLOURS = {"+": typer.colors.GREEN, "~": typer.colors.YELLOW, "-": typer.colors.RED, "!": typer.colors.RED}


Target = Annotated[str, typer.Argument(metavar="JOB", help="The job file, or schemas/file.py:Class.", show_default=False)]
Beside = Annotated[bool, typer.Option("--beside", help="Make a new generation even of what could be altered in place.")]
Milvus = Annotated[str | None, typer.Option("--milvus", metavar="URI", help="Where the collection is, if no job says it.")]


def plan(
    job: Target,
    *,
    milvus: Milvus = None,
    beside: Beside = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, for `apply --plan FILE`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what `apply` would do, its cost and its risk; exit 10 if there is anything."""
    from connector.commands.planning import plan_job

    with errors(as_json=as_json):
        found = plan_job(load_target(job, milvus), beside=beside)
        if out is not None:
            found.save(out)
        code = HAS_CHANGES if found.actions else 0
        show({**found.to_json(), "exit_code": code}, as_json=as_json, text=lambda _: _coloured(found))
        raise typer.Exit(code)


def apply(
    job: Target,
    *,
    milvus: Milvus = None,
    beside: Beside = False,
    saved: Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="Carry out this saved plan, or nothing.")] = None,
    allow_replace: Annotated[bool, typer.Option("--allow-replace", help="Make a new generation beside the live one.")] = False,
    allow_data_loss: Annotated[bool, typer.Option("--allow-data-loss", help="Take steps that may delete rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the collection to what the code says, by the steps of the plan."""
    from connector.commands.planning import apply_job
    from connector.plan.planned import Plan

    with errors(as_json=as_json):
        read = Plan.read(saved) if saved is not None else None
        done = apply_job(load_target(job, milvus), allow_replace=allow_replace, allow_data_loss=allow_data_loss, beside=beside, saved=read)
        show({**done.to_json(), "exit_code": 0}, as_json=as_json, text=lambda _: _coloured(done))


def copy(job: JobFile, *, as_json: AsJson = False) -> None:
    """Fill the candidate from the live generation instead of the source; encode only what has another encoder."""
    from connector.commands.copying import copy_job

    with errors(as_json=as_json):
        done = copy_job(load_job(job))
        show({**done.to_json(), "exit_code": 0}, as_json=as_json, text=lambda _: str(done))


def promote(
    job: JobFile,
    *,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Go on although documents of the live one are missing.")] = False,
    min_recall: Annotated[float, typer.Option("--min-recall", min=0, max=1, help="Least recall of the new indexes.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Verify the generation that waits, then let the alias point to it."""
    from connector.commands.switching import promote_job

    with errors(as_json=as_json):
        done = promote_job(load_job(job), allow_missing=allow_missing, min_recall=min_recall)
        show({**done.to_json(), "exit_code": 0}, as_json=as_json, text=lambda _: str(done))


def rollback(job: JobFile, *, as_json: AsJson = False) -> None:
    """Let the alias point to the generation that was live before."""
    from connector.commands.switching import rollback_job

    with errors(as_json=as_json):
        done = rollback_job(load_job(job))
        show({**done.to_json(), "exit_code": 0}, as_json=as_json, text=lambda _: str(done))


def prune(
    job: JobFile,
    names: Annotated[list[str] | None, typer.Argument(metavar="[GENERATION...]", help="Default: all older than the live one.")] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Drop them; without it they are only named.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop generations that are not live."""
    from connector.commands.switching import prune_job

    with errors(as_json=as_json):
        dropped = prune_job(load_job(job), names or (), yes=yes)
        text = "\n".join(f"dropped {name}" for name in dropped) or "nothing to drop"
        show({"dropped": list(dropped), "exit_code": 0}, as_json=as_json, text=lambda _: text)


def load_target(target: str, milvus: str | None) -> Job:
    """The job of a file, or one made up for a collection; a job file says itself where Milvus is."""
    from connector.job import Job
    from connector.job.loading import load_collection

    if ".py:" not in target:
        if milvus is not None:
            raise ConfigError(f"{target}: a job file says itself where Milvus is", hint="leave --milvus out")
        return load_job(Path(target))
    block = {} if milvus is None else {"milvus": {"uri": milvus}}
    return Job.check({"job": load_collection(target).name, "source": None, "into": target, **block}, where=target)


def _coloured(found: Plan) -> Any:
    """The plan's text; its first letters say the colour, which typer takes away where there is no terminal."""
    return "\n".join(typer.style(line, fg=_COLOURS[line[0]]) if line[:1] in _COLOURS else line for line in str(found).splitlines())
