"""Examines a candidate before it becomes live: whether it is complete, whether it lags, whether it reads and searches as it should.

What the live generation has, the candidate must have; if the live one was brought up to date later than the candidate, the candidate
lags. Both are read from the collections themselves, so that it does not matter on which machine which deployment runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connector.ledger import Ledger
from connector.milvus.client import Connection
from connector.milvus.recall import QUERIES, measurable, recall
from connector.milvus.sink import MilvusSink
from connector.plan.generations import Generation
from connector.plan.stamp import last_runs
from connector.reconcile.inventory import Inventory
from connector.schema.spec import LINEAGE

SAMPLE = 20_000
"""Rows among which exact neighbours are sought."""

_SHOWN = 3
_TIME = len("20261231T235959")
_RUNS = 100


@dataclass(slots=True)
class Examination:
    """What was found.

    Attributes:
        passed: Sentences.
        problems: Sentences; one is enough to refuse.
    """

    passed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, passed: Sequence[str], problems: Sequence[str]) -> None:
        """Adds what somebody else found."""
        self.passed += passed
        self.problems += problems


@dataclass(frozen=True, slots=True)
class Terms:
    """What a candidate must keep.

    Attributes:
        namespace: Of the job.
        mirror: What the source no longer has is to go from the live one, too.
        allow_missing: Documents may be missing.
        min_recall: Least recall of an index.
    """

    namespace: str
    mirror: bool
    allow_missing: bool = False
    min_recall: float = 0.9


def examine(connection: Connection, sink: MilvusSink, pair: tuple[Generation, Generation], ledger: Ledger, terms: Terms) -> Examination:
    """Looks at everything; reads both collections, changes none.

    Args:
        connection: Open.
        sink: Of the candidate.
        pair: The live generation, and the candidate.
        ledger: Of the job; it may know nothing.
        terms: What the candidate must keep.
    """
    result, (live, candidate), primary = Examination(), pair, sink.spec.primary.name
    ledger.look(terms.namespace, candidate.stamp.uid if candidate.stamp else "")
    with Inventory() as inventory:
        inventory.add_candidate(sink.scan(None, [*LINEAGE, primary]), primary)
        if LINEAGE[0] in live.fields:
            inventory.add_live(MilvusSink(connection, live.name, sink.spec).scan(None, LINEAGE))
        _runs(result, pair, ledger, {terms.namespace, *inventory.namespaces()}, terms)
        _documents(result, ledger, inventory, terms)
        _rows(result, sink, inventory)
        _indexes(result, connection, sink, inventory, terms)
    return result


def _runs(result: Examination, pair: tuple[Generation, Generation], ledger: Ledger, namespaces: set[str], terms: Terms) -> None:
    """The candidate was filled to the end, and not before the live one was last brought up to date."""
    live, candidate = pair
    of_live, of_candidate = last_runs(live.properties), last_runs(candidate.properties)
    for namespace in sorted(namespaces):
        before, now = of_live.get(namespace, ""), of_candidate.get(namespace, "")
        if not now:
            result.problems.append(f"namespace {namespace}: no run has filled {candidate.name} to its end and with exit code 0")
        elif before[:_TIME] > now[:_TIME]:
            lag = f"run {before} brought {live.name} up to date after run {now} did so with {candidate.name}"
            result.problems.append(f"namespace {namespace}: {candidate.name} lags: {lag}; run the job again")
        else:
            result.passed.append(f"namespace {namespace}: filled by run {now}")
    last = next((run for run in ledger.runs(_RUNS) if run["namespace"] == terms.namespace and _concerns(run, candidate.name)), None)
    if last is not None and last["exit_code"] != 0:
        ended = "did not come to its end" if last["exit_code"] is None else f"ended with exit code {last['exit_code']}"
        result.problems.append(f"the last run {last['id']} {ended}; run the job again")


def _concerns(run: dict[str, Any], collection: str) -> bool:
    """Whether a run of the ledger wrote to this collection; of one that did not end it is not known, and assumed."""
    return run["report"] is None or json.loads(run["report"])["collection"] == collection


def _documents(result: Examination, ledger: Ledger, inventory: Inventory, terms: Terms) -> None:
    for namespace, (documents, rows, here, here_rows) in inventory.namespaces().items():
        counts = f"{here:,} documents in {here_rows:,} rows, live {documents:,} in {rows:,}"
        result.passed.append(f"namespace {namespace}: {counts}")
    missing = [one for one in inventory.missing() if not _vanished(one, ledger, terms)]
    if missing:
        said = f"{len(missing):,} documents of the live generation are missing: {_some(missing)}"
        (result.passed if terms.allow_missing else result.problems).append(said)
    known = ledger.known([document for namespace, document in inventory.torn() if namespace == terms.namespace])
    torn = [one for one in inventory.torn() if one[0] != terms.namespace or one[1] not in known or known[one[1]].status != "partial"]
    if torn:
        result.problems.append(f"{len(torn):,} documents are not whole: {_some(torn)}; run the job again")


def _vanished(one: tuple[str, str], ledger: Ledger, terms: Terms) -> bool:
    """Whether a document of ours is missing because the source no longer had it: a mirror takes it away from the live one, too.

    Only a ledger that knows the candidate's documents can tell that it was not rejected.
    """
    namespace, document = one
    return namespace == terms.namespace and terms.mirror and ledger.counts()[0] > 0 and not ledger.known([document])


def _rows(result: Examination, sink: MilvusSink, inventory: Inventory) -> None:
    counted, listed = sink.count(), inventory.rows()
    if counted != listed:
        result.problems.append(f"{sink.collection} counts {counted:,} rows and lists {listed:,}")
    asked = inventory.sample(QUERIES)
    names = [*(one.name for one in sink.spec.fields), *(one.name for one in sink.spec.sent)]
    found = sink.read(asked, names)
    bad = [key for key in asked if key not in found]
    for one in sink.spec.sent:
        if one.dim is not None and one.dtype in {"float32", "float16"}:
            vectors = {key: np.asarray(row[one.name]) for key, row in found.items() if row[one.name] is not None}
            bad += [key for key, vector in vectors.items() if vector.shape != (one.dim,) or not np.isfinite(vector).all()]
    if bad:
        result.problems.append(f"{len(bad)} of {len(asked)} rows do not read back as they should, such as {bad[0]!r}")
    else:
        result.passed.append(f"{len(asked)} rows at random read back")


def _indexes(result: Examination, connection: Connection, sink: MilvusSink, inventory: Inventory, terms: Terms) -> None:
    rows, keys = inventory.rows(), inventory.sample(SAMPLE)
    for one in sink.spec.sent:
        if not keys or not measurable(one):
            continue
        sample = {key: row[one.name] for key, row in sink.read(keys, [one.name]).items() if row[one.name] is not None}
        if not sample:
            continue
        found = recall(connection, sink.collection, sink.spec, one, sample, rows=rows)
        said = f"{one.name}: recall@10 of {one.index.type} is {found:.3f} against exact search over {len(sample):,} of {rows:,} rows"
        (result.passed if found >= terms.min_recall else result.problems).append(said)


def _some(documents: list[tuple[str, str]]) -> str:
    shown = ", ".join(document for _, document in documents[:_SHOWN])
    return shown if len(documents) <= _SHOWN else f"{shown}, ..."
