"""Keeps Milvus vector collections in step with your data.

    import connector

    report = connector.run(rows, into=Products, milvus="./shop.db")        # any iterable of dicts, a source, or a job
    hits = connector.search(Products, "red shoe", milvus="./shop.db")      # the same encoder, checked
    vectors = connector.encoder("transformers:org/model").encode(["words"])

Importing this loads neither torch nor pymilvus; they come with the first call that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connector.api.events import Event, Note, RunFinished, RunStarted, WindowCommitted
    from connector.api.hits import Hits
    from connector.api.job import Job
    from connector.api.sdk import (
        adopt,
        apply_changes,
        copy,
        encoder,
        forget,
        plan_changes,
        promote,
        prune,
        purge,
        rejects,
        rollback,
        run,
        search,
        source,
        verify,
    )
    from connector.encoding.queries import Audio, Image, Key
    from connector.errors import ConnectorError
    from connector.milvus.search import Hit
    from connector.report import RunReport
    from connector.stations import Options

__all__ = [
    "Audio",
    "ConnectorError",
    "Event",
    "Hit",
    "Hits",
    "Image",
    "Job",
    "Key",
    "Note",
    "Options",
    "RunFinished",
    "RunReport",
    "RunStarted",
    "WindowCommitted",
    "adopt",
    "apply_changes",
    "copy",
    "encoder",
    "forget",
    "plan_changes",
    "promote",
    "prune",
    "purge",
    "rejects",
    "rollback",
    "run",
    "search",
    "source",
    "verify",
]

_HOME = {
    "Audio": "encoding.queries",
    "ConnectorError": "errors",
    "Event": "api.events",
    "Hit": "milvus.search",
    "Hits": "api.hits",
    "Image": "encoding.queries",
    "Job": "api.job",
    "Key": "encoding.queries",
    "Note": "api.events",
    "Options": "stations",
    "RunFinished": "api.events",
    "RunReport": "report",
    "RunStarted": "api.events",
    "WindowCommitted": "api.events",
    "adopt": "api.sdk",
    "apply_changes": "api.sdk",
    "copy": "api.sdk",
    "encoder": "api.sdk",
    "forget": "api.sdk",
    "plan_changes": "api.sdk",
    "promote": "api.sdk",
    "prune": "api.sdk",
    "purge": "api.sdk",
    "rejects": "api.sdk",
    "rollback": "api.sdk",
    "run": "api.sdk",
    "search": "api.sdk",
    "source": "api.sdk",
    "verify": "api.sdk",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"connector.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
