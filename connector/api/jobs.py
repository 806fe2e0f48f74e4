"""Makes jobs and sources of what Python hands over: a class, a path, rows, a source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from connector.errors import ConfigError
from connector.interfaces import Source
from connector.job import Job
from connector.job.loading import load_collection
from connector.sources.rows import RowsSource


def loaded(job: Job | str | Path) -> Job:
    """A job, or that of a file."""
    return job if isinstance(job, Job) else Job.from_yaml(job)


def as_source(data: Any, into: Any, key: str | None) -> Source:
    """The data as a source; rows take their key from the column `key`, else from the collection's primary key.

    Raises:
        ConfigError: It is neither a source nor rows.
    """
    if hasattr(data, "partitions") and hasattr(data, "read"):
        column = key or _primary(into) if getattr(data, "numbered", False) and hasattr(data, "keyed") else None
        return data.keyed(column) if column else data  # type: ignore[no-any-return]  # a Source by its methods
    if not isinstance(data, Iterable) or isinstance(data, dict | bytes):
        raise ConfigError(
            f"cannot read from {type(data).__name__}", hint="pass an iterable of dicts, a source, a Job, or the path of a job file"
        )
    return RowsSource(data, key=key or _primary(into))


def _primary(into: Any) -> str | None:
    """The column that identifies a row unless the caller names one: the primary key's, if rows bring it."""
    primary = load_collection(into).primary
    return None if primary.generated else primary.name


def job_of(into: Any, milvus: Any, settings: dict[str, Any]) -> Job:
    """The job that a collection is looked after by: itself, a file's, or one made up for a collection."""
    if isinstance(into, Job):
        says_itself("a job", settings)
        return into
    if isinstance(into, Path) or (isinstance(into, str) and into.endswith((".yaml", ".yml"))):
        says_itself(str(into), settings)
        return Job.from_yaml(into)
    return made_up(into, milvus, {"source": None, **settings})


def says_itself(what: str, settings: Mapping[str, Any]) -> None:
    """Refuses keys beside a job, which would be read over: a tenant, for one."""
    if settings:
        raise ConfigError(f"{what} says itself what `{next(iter(settings))}` is", hint="put it into the job")


def made_up(into: Any, milvus: Any, settings: dict[str, Any]) -> Job:
    """A job for a collection, named as it is, from keys of a job file."""
    if into is None:
        raise ConfigError("into which collection?", hint="pass into=Products, a class from your schemas")
    name = settings.get("namespace") or load_collection(into).name
    return Job.check({"job": name, "into": into, "milvus": _milvus(milvus), **settings}, where="connector.run")


def _milvus(given: Any) -> Any:
    """The `milvus:` block; None: `Job.check` asks the environment."""
    return {"uri": str(given)} if isinstance(given, str | Path) else given
