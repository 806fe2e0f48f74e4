"""Erases a document, or all of a retired job, from every generation of the collection and from the ledger, and reports the proof.

The mark that keeps an erased document out is written first: whatever happens then, no run brings the document back, and doing it again
finishes it. Neither encoder nor source is opened: a job whose model or data is long gone can still forget.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field

from connector.encoding.vectorcache import clear
from connector.errors import ConfigError, TooManyRejects, nearest
from connector.job import Job
from connector.job.loading import load_collection
from connector.ledger import Ledger
from connector.milvus.client import connect
from connector.milvus.erasing import erase


class Erasure(BaseModel):
    """What was erased; the proof that nothing is left is `rows_left`, counted with Strong consistency.

    Attributes:
        job: The job's name.
        namespace: Whose rows these were.
        document: The document's key; None: all of the namespace.
        collections: By physical collection: rows deleted, rows left.
        rows_deleted: In all of them.
        rows_left: In all of them.
        documents: Entries that the ledger had and has no more.
        marked: Whether no run ingests the document from now on.
        message: What to know, else "".
        exit_code: 0, or 3 if rows are left.
    """

    job: str
    namespace: str
    document: str | None = None
    collections: list[dict[str, Any]] = Field(default_factory=list)
    rows_deleted: int = 0
    rows_left: int = 0
    documents: int = 0
    marked: bool = False
    message: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        what = f"namespace {self.namespace}" if self.document is None else self.document
        lines = [f"{what}: {self.rows_deleted:,} rows deleted, {self.rows_left:,} left; {self.documents:,} ledger entries deleted"]
        lines += [f"    {one['collection']}: {one['deleted']:,} deleted, {one['left']:,} left" for one in self.collections]
        lines += ["it is not ingested again until connector forget --allow-again"] if self.marked else []
        return "\n".join(lines)


def forget(job: Job, key: str) -> Erasure:
    """Deletes all rows of a document and what the ledger and its run reports say of it, and keeps it from being ingested again.

    Raises:
        Locked: A run of this job is under way.
        Transient: Milvus stayed away; the document is marked already, and the same call finishes.
    """
    result = Erasure(job=job.job, namespace=job.scope, document=key, marked=True)
    with Ledger(job.state_path) as ledger:
        ledger.mark_forgotten(job.scope, key)
        _erase(result, job)
        result.documents = ledger.expunge(job.scope, key)
    if not result.rows_deleted and not result.documents and not result.message:
        result.message = f"no row and no entry of a document `{key}` was found; if that is not its key, take the mark away and look again"
    return result


def allow_again(job: Job, key: str) -> None:
    """Lets the next run that lists this document ingest it.

    Raises:
        ConfigError: It is not forgotten.
    """
    with Ledger(job.state_path) as ledger:
        if not ledger.allow_again(job.scope, key):
            ledger.look(job.scope, "")
            raise ConfigError(f"`{key}` is not forgotten", hint=nearest(key, sorted(ledger.forgotten())[:100]))


def purge(job: Job) -> Erasure:
    """Deletes all rows of a job's namespace, no others, and then its ledger entries; marks of forgotten documents stay.

    Raises:
        Locked: A run of this job is under way.
    """
    result = Erasure(job=job.job, namespace=job.scope)
    with Ledger(job.state_path) as ledger:
        _erase(result, job)
        if not result.rows_left:
            result.documents = ledger.purge(job.scope)
    return result


def _erase(result: Erasure, job: Job) -> None:
    clear(job.cache_path)  # it knows inputs, not documents: whose vectors they are cannot be told
    with connect(job.milvus) as connection:
        done = erase(connection, load_collection(job.into), job.scope, result.document)
    result.collections = [asdict(one) for one in done]
    result.rows_deleted, result.rows_left = sum(one.deleted for one in done), sum(one.left for one in done)
    if result.rows_left:
        result.message, result.exit_code = "rows are left: something else writes to this namespace; do it again", TooManyRejects.exit_code
