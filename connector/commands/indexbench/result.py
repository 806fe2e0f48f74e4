"""What a measurement of indexes came to: a table, one JSON document, and one sentence that recommends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field

from connector.commands.indexbench.choices import words

WANTED = 0.95
"""Least recall of what is recommended."""

ALIKE = 1.1
"""Rates that are nearer to each other than this are the same: measured again, they may change places."""

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


class Point(BaseModel):
    """An index, searched with some parameters.

    Attributes:
        params: Search parameters.
        recall: Share of the true 10 nearest neighbours that were found, on average.
        qps: Queries a second of one client that asks one after the other.
        p50_ms: Latency that half of the queries kept.
        p99_ms: Latency that 99 of 100 kept.
    """

    params: dict[str, int | float]
    recall: float
    qps: float
    p50_ms: float
    p99_ms: float


class Measured(BaseModel):
    """One index.

    Attributes:
        index: As a schema writes it.
        declared: Whether the schema has it.
        exact: Whether it compares with every vector.
        build_s: Until the server said that it was built; Milvus Lite builds while it loads.
        load_s: Until it answered.
        bytes: What it takes; None: nobody knows.
        estimated: Whether that is by formula.
        points: By search parameters.
    """

    index: str
    declared: bool
    exact: bool
    build_s: float
    load_s: float
    bytes: int | None
    estimated: bool
    points: list[Point] = Field(default_factory=list)


class IndexBench(BaseModel):
    """The measurement of a field's indexes.

    Attributes:
        job: The job's name.
        collection: The live generation, whose vectors were taken.
        field: The vector field.
        dtype: Type of its stored numbers.
        dim: Numbers a vector; None: sparse.
        metric: Metric type.
        server: What was measured.
        live_rows: How many rows the generation has.
        rows: How many of them were indexed.
        queries: How many others were searched for.
        declared: The schema's index.
        indexes: Those that were measured.
        left_out: Why an index, or an index with some search parameters, was not.
        notes: What weakens the measurement, and what was tidied up.
    """

    job: str
    collection: str
    field: str
    dtype: str
    dim: int | None
    metric: str
    server: str
    live_rows: int
    rows: int
    queries: int
    declared: str
    indexes: list[Measured] = Field(default_factory=list)
    left_out: dict[str, str] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)

    @property
    def recommendation(self) -> str:
        """Which index to take, in one sentence: the fastest of enough recall; of equally fast ones the declared one, then an exact one."""
        best = {one.index: point for one in self.indexes if (point := _best(one)) is not None}
        if not best:
            return f"nothing that was measured reaches a recall of {WANTED:.2f}"
        fastest = max(best.values(), key=lambda point: point.qps).qps
        alike = [one for one in self.indexes if one.index in best and best[one.index].qps * ALIKE >= fastest]
        chosen = min(alike, key=lambda one: (not one.declared, not one.exact, -best[one.index].qps))
        said = f"{chosen.index}{_with(best[chosen.index])}: recall {best[chosen.index].recall:.3f}{self._times(best[chosen.index])}"
        return f"{said}; {self._declared(chosen, best)}"

    def _times(self, point: Point) -> str:
        exact = next((one.points[0] for one in self.indexes if one.exact and one.points), None)
        if exact is None or exact is point:
            return f" at {point.qps:,.0f} queries/s"
        return f" at {point.qps / exact.qps:.1f}x the queries/s of exact search"

    def _declared(self, chosen: Measured, best: dict[str, Point]) -> str:
        if chosen.declared:
            return "that is what is declared"
        point = best.get(self.declared)
        if point is not None:
            return f"declared is {self.declared}{_with(point)}: recall {point.recall:.3f}{self._times(point)}"
        tried = any(one.declared for one in self.indexes)
        return f"declared is {self.declared}, which {f'does not reach a recall of {WANTED:.2f}' if tried else 'was not measured'}"

    def document(self) -> dict[str, Any]:
        """All of it with what follows from it, for --json."""
        return {**self.model_dump(), "recommendation": self.recommendation, "exit_code": 0}

    def __str__(self) -> str:
        what = f"{self.dtype} vectors" if self.dim is None else f"{self.dtype} vectors of {self.dim}"
        sample = f"{self.rows:,} of {self.live_rows:,} rows, {self.queries:,} others searched for"
        head = f"{self.collection}.{self.field}  {what}, {self.metric}; {sample}; {self.server}"
        columns = f"{'':<40}{'build':>9}{'load':>9}{'size':>11}  {'search':<24}{'recall@10':>9}{'queries/s':>11}{'p50':>10}{'p99':>10}"
        lines = [head, columns, *(line for one in self.indexes for line in _lines(one))]
        lines += [f"left out: {name}: {why}" for name, why in self.left_out.items()]
        return "\n".join([*lines, "* declared   ~ by formula", *(f"note: {note}" for note in self.notes), self.recommendation])


def _best(one: Measured) -> Point | None:
    """The fastest way to search an index with enough recall."""
    return max((point for point in one.points if point.recall >= WANTED), key=lambda point: point.qps, default=None)


def _with(point: Point) -> str:
    return f" with {words(point.params)}" if point.params else ""


def _lines(one: Measured) -> Iterator[str]:
    about = f"{one.index + (' *' if one.declared else ''):<40}{one.build_s:>7.1f} s{one.load_s:>7.1f} s{_size(one):>11}  "
    for place, point in enumerate(one.points):
        searched = f"{words(point.params) or '-':<24}{point.recall:>9.3f}{point.qps:>11,.1f}{point.p50_ms:>7.1f} ms{point.p99_ms:>7.1f} ms"
        yield (about if place == 0 else " " * len(about)) + searched


def _size(one: Measured) -> str:
    if one.bytes is None:
        return "?"
    size, unit = next(((size, unit) for size, unit in _UNITS if one.bytes >= size), (1.0, "B"))
    return f"{'~' if one.estimated else ''}{one.bytes / size:,.1f} {unit}"
