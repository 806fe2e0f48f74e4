"""The same jobs without a file: run, search and encode from Python.

Nothing here touches logging, signals or the process: errors are raised, results are returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from connector import registry
from connector.api.hits import Hits
from connector.api.jobs import as_source, job_of, loaded, made_up, says_itself
from connector.commands import forgetting
from connector.commands.adoption.adopting import Adopted, adopt_copy, adopt_in_place
from connector.commands.copying import Copied, copy_job
from connector.commands.forgetting import Erasure
from connector.commands.planning import apply_job, plan_job
from connector.commands.retrieval.options import Search
from connector.commands.running import run_job
from connector.commands.searching import search_job
from connector.commands.switching import Switch, promote_job, prune_job, rollback_job
from connector.commands.verifying import Verification, verify_job
from connector.encoding import EncoderHandle
from connector.encoding.queries import Query
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, Source
from connector.job import Job
from connector.ledger.rejects import stored_rejects
from connector.plan.planned import Plan
from connector.report import RunReport
from connector.schema.spec import Consistency
from connector.stations import Options


def run(
    data: Any, *, into: Any = None, milvus: Any = None, options: Options | None = None, key: str | None = None, **settings: Any
) -> RunReport:
    """Brings a collection in step with data.

    Args:
        data: Any iterable of dicts, a source object, a `Job`, or the path of a job file (which says the rest itself).
        into: The collection: a class or `schemas/file.py:Class`.
        milvus: A URI, a path ending in .db for Milvus Lite, or a dict of the `milvus:` keys; default `MILVUS_URI` and `MILVUS_TOKEN`.
        options: Limits of this run.
        key: For dicts, and table sources made without one: the column that identifies a row; default the primary key column.
        **settings: Further keys of a job file: namespace, sync, state, encode, split, map, transform, rejects, ...

    Returns:
        The report; `exit_code` is 3 if there were more rejects than tolerated.

    Raises:
        ConnectorError: The run could not be brought to its end.
    """
    if isinstance(data, Job | str | Path):
        says_itself("a job", settings)
        return run_job(loaded(data), options)
    return run_job(made_up(into, milvus, {"source": as_source(data, into, key), **settings}), options)


def search(  # noqa: PLR0913 - its options, one by one, are the call
    into: Any,
    query: Query,
    *,
    milvus: Any = None,
    field: str | None = None,
    fields: Sequence[str] = (),
    limit: int = 10,
    offset: int = 0,
    filter: str = "",  # noqa: A002 - Milvus's own name
    params: Mapping[str, Any] | None = None,
    rank: str | None = None,
    weights: Mapping[str, float] | Sequence[float] | None = None,
    output: Sequence[str] | None = None,
    group_by: str | None = None,
    radius: float | None = None,
    consistency: Consistency = "Strong",
    **settings: Any,
) -> Hits:
    """Finds the rows of a collection that are nearest to words, an `Image`, an `Audio`, or another row (`Key`).

    Args:
        into: The collection, a `Job`, or the path of a job file (which says the rest itself).
        query: What to look for.
        milvus: As for `run`.
        field: The vector field, where several can be meant.
        fields: Several of them, whose answers become one.
        limit: Most hits.
        offset: Hits to leave out before.
        filter: A Milvus expression over scalar fields, such as `price < {max}`.
        params: Its values, such as `{"max": 100}`; never paste them in.
        rank: How answers become one: "rrf" (the default) or "weighted"; without `fields`, of all fields that take such a query.
        weights: For "weighted": by field, or one a field.
        output: Fields of each hit; default the columns.
        group_by: Only the nearest row for each value of this column.
        radius: Leave out what is farther; of one field.
        consistency: "Strong" sees every write before it; the other levels of Milvus may be faster.
        **settings: As for `run`; with `tenant`, only that tenant's rows are seen.

    Raises:
        ConnectorError: As `searching.search_job`.
    """
    if field is not None and fields:
        raise ConfigError("`field` and `fields` are both given", hint="name all of them in `fields`")
    how = Search(
        fields=tuple(fields) if field is None else (field,),
        limit=limit,
        offset=offset,
        filter=filter,
        params=params or {},
        rank=rank,
        weights=weights,
        output=None if output is None else tuple(output),
        group_by=group_by,
        radius=radius,
        consistency=consistency,
    )
    job = job_of(into, milvus, settings)
    return Hits.of(job, search_job(job, query, how))


def plan_changes(into: Any, *, milvus: Any = None, beside: bool = False, **settings: Any) -> Plan:
    """What `apply_changes` would do to a collection, with its cost; changes nothing.

    Args:
        into: The collection, a `Job`, or the path of a job file (which says the rest itself).
        milvus: As for `run`.
        beside: Make a candidate even of what could be altered in place, so that no search has to wait.
        **settings: As for `run`; `namespace` decides who may write where keys are natural.
    """
    return plan_job(job_of(into, milvus, settings), beside=beside)


def apply_changes(
    into: Any,
    *,
    milvus: Any = None,
    allow_replace: bool = False,
    allow_data_loss: bool = False,
    beside: bool = False,
    saved: Plan | None = None,
    **settings: Any,
) -> Plan:
    """Brings a collection to what the code says, and returns what was done; see `planning.apply_job`, and `plan_changes` for `into`."""
    job = job_of(into, milvus, settings)
    return apply_job(job, allow_replace=allow_replace, allow_data_loss=allow_data_loss, beside=beside, saved=saved)


def adopt(
    into: Any, source: str | None = None, *, milvus: Any = None, rename_to: str | None = None, keep_vectors: bool = False, **settings: Any
) -> Adopted:
    """Takes a collection over that somebody else made.

    Args:
        into: The collection, a `Job`, or the path of a job file.
        source: The collection to copy; None: the declared one is adopted in place (`lineage=False`).
        milvus: As for `run`.
        rename_to: See `adoption.adopting.adopt_copy`, as for the next.
        keep_vectors: Keep proven vectors for the first run.
        **settings: As for `run`.
    """
    job = job_of(into, milvus, settings)
    return adopt_in_place(job) if source is None else adopt_copy(job, source, rename_to=rename_to, keep_vectors=keep_vectors)


def copy(into: Any, *, milvus: Any = None, **settings: Any) -> Copied:
    """Fills the candidate from the live generation; see `copying.copy_job`."""
    return copy_job(job_of(into, milvus, settings))


def promote(into: Any, *, milvus: Any = None, allow_missing: bool = False, min_recall: float = 0.9, **settings: Any) -> Switch:
    """Makes the generation live that is what the code says, after examining it; see `switching.promote_job`."""
    return promote_job(job_of(into, milvus, settings), allow_missing=allow_missing, min_recall=min_recall)


def rollback(into: Any, *, milvus: Any = None, **settings: Any) -> Switch:
    """Makes the generation live again that was live before; see `switching.rollback_job`."""
    return rollback_job(job_of(into, milvus, settings))


def prune(into: Any, names: Sequence[str] = (), *, milvus: Any = None, yes: bool = False, **settings: Any) -> tuple[str, ...]:
    """Drops generations older than the live one, or those that are named; see `switching.prune_job`."""
    return prune_job(job_of(into, milvus, settings), names, yes=yes)


def rejects(job: Job | str | Path) -> list[dict[str, Any]]:
    """What a job could not write, from its ledger alone: document, ordinal (None: all of it), station, reason, attempts, run.

    To try some of them again: `run(job, options=Options(only=frozenset({"a.txt"})))`.

    Args:
        job: A `Job`, or the path of a job file.
    """
    known = loaded(job)
    return stored_rejects(known.state_path, known.scope)


def verify(job: Job | str | Path, *, full: bool = False, repair: bool = False, source: bool = False) -> Verification:
    """Compares what the ledger says was written with the collection, and with `source` also with what the source lists.

    Args:
        job: A `Job`, or the path of a job file.
        full: Read every row back, not only 256.
        repair: Re-queue what differs; `run` mends it.
        source: List the source too.

    Returns:
        The report; `exit_code` is 3 if anything differs.
    """
    return verify_job(loaded(job), full=full, repair=repair, source=source)


def forget(job: Job | str | Path, key: str, *, allow_again: bool = False) -> Erasure | None:
    """Deletes all rows of a document, proves it, and keeps the document from being ingested again.

    Args:
        job: A `Job`, or the path of a job file.
        key: The document's.
        allow_again: Only take the mark of an earlier call away; returns None.
    """
    if allow_again:
        forgetting.allow_again(loaded(job), key)
        return None
    return forgetting.forget(loaded(job), key)


def purge(job: Job | str | Path) -> Erasure:
    """Deletes all rows of a retired job's namespace, no others, and its ledger entries."""
    return forgetting.purge(loaded(job))


def encoder(reference: str, *, device: DeviceSpec | str = "auto", **options: Any) -> EncoderHandle:
    """An encoder to call: `encoder("transformers:org/model").encode(["words"])` gives (1, dim) float32.

    Pictures are named by path, or given as bytes, PIL images or arrays: `encoder("timm:resnet50").encode(["towhee.jpg"])`.

    Args:
        reference: `kind:model[@revision]`.
        device: Where it computes, or where and how.
        **options: What to take from the model, as in a schema (`layer`, `pooling`, `normalize`, `truncate_dim`, `dtype`; default its own
            embedding), and the encoder's own keyword arguments, such as prompts.
    """
    kind, _, model = reference.partition(":")
    head = Head(**{name: options.pop(name) for name in Head.__dataclass_fields__ if name in options})
    made = registry.create("encoders", kind, {"model": model, **options}, where=f"encoder {reference}")
    return EncoderHandle(made, head, DeviceSpec(device=device) if isinstance(device, str) else device)


def source(kind: str, **options: Any) -> Source:
    """A source by its registered name, for `run`: the same name and keys as in a job file."""
    made: Source = registry.create("sources", kind, options, where=f"source {kind}")
    return made
