"""The commands for collections that somebody else made, and for people who read schemas: schema pull, schema docs, adopt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli.changing import Milvus, Target, load_target
from connector.cli.output import AsJson, errors, load_job, say, show
from connector.cli.setup import schema, write

__all__ = ["adopt", "docs", "pull", "schema"]
from connector.errors import ConfigError

if TYPE_CHECKING:
    from connector.milvus.settings import MilvusSettings

Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there instead of to stdout.")]


@schema.command("pull")
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME|JOB", help="A collection, an alias, or a job file.", show_default=False)],
    *,
    milvus: Milvus = None,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a live collection down as a schema file; say on stderr what a file cannot say."""
    from connector.commands.adoption import pulling

    with errors(as_json=as_json):
        if name.endswith((".yaml", ".yml")):
            if milvus is not None:
                raise ConfigError(f"{name}: a job file says itself where Milvus is", hint="leave --milvus out")
            found = pulling.pull_job(load_job(Path(name)))
        else:
            found = pulling.pull(_settings(milvus), name)
        found = found if out is None else found.save(out, force=force)
        for one in found.lost:
            say(f"not in the file: {one}")
        document = {"collection": found.collection, "written": out, "lost": list(found.lost), "text": found.text, "exit_code": 0}
        wrote = f"wrote {out}; compare it: connector plan {found.reference}" + (f" --milvus {milvus}" if milvus else "")
        show(document, as_json=as_json, text=lambda _: found.text.rstrip("\n") if out is None else wrote)


@schema.command("docs")
def docs(
    targets: Annotated[list[str] | None, typer.Argument(metavar="[SCHEMA.py:Class|FILE|FOLDER]...", help="Default: schemas.")] = None,
    *,
    out: Out = None,
) -> None:
    """Print a data dictionary of collections, in Markdown; the same code gives the same page."""
    from connector.commands.adoption.dictionary import page, specs_of

    with errors(as_json=False):
        text = page(specs_of(targets or ["schemas"]))
        if out is None:
            typer.echo(text, nl=False)
            return
        write(out, text)
        typer.echo(f"wrote {out}")


def adopt(
    job: Target,
    *,
    in_place: Annotated[bool, typer.Option("--in-place", help="The collection stays; it gets an alias and a stamp.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy its rows into a generation of the job's collection.")] = False,
    source: Annotated[str | None, typer.Option("--from", metavar="NAME", help="What --copy copies.")] = None,
    rename_to: Annotated[str | None, typer.Option("--rename-to", metavar="NAME", help="What the old one is called afterwards.")] = None,
    keep_vectors: Annotated[bool, typer.Option("--keep-vectors", help="The next run takes proven vectors for their texts.")] = False,
    milvus: Milvus = None,
    as_json: AsJson = False,
) -> None:
    """Take a collection over that somebody else made: in place, or by copy; vectors are checked against the declared encoder."""
    from connector.commands.adoption import adopting

    with errors(as_json=as_json):
        of_copy = (source, rename_to, keep_vectors or None)
        if in_place == copy or (copy and source is None) or (in_place and any(of_copy)):
            raise ConfigError("adopt how?", hint="--in-place, or --copy --from NAME [--rename-to NAME] [--keep-vectors]")
        loaded = load_target(job, milvus)
        if source is None:
            done = adopting.adopt_in_place(loaded)
        else:
            done = adopting.adopt_copy(loaded, source, rename_to=rename_to, keep_vectors=keep_vectors)
        show({**done.to_json(), "exit_code": 0}, as_json=as_json, text=lambda _: str(done))


def _settings(milvus: str | None) -> MilvusSettings:
    """Where Milvus is, by the option or the environment."""
    from connector.job import Job

    block = {} if milvus is None else {"milvus": {"uri": milvus}}
    return Job.check({"job": "pull", "source": None, "into": None, **block}, where="connector schema pull").milvus
