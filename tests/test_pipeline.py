"""The stations together, on a sink in memory: what is written, skipped, removed, counted, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import DocumentError, Interrupted, Refused, Transient
from connector.interfaces import Parser
from connector.ledger import Ledger
from connector.pipeline import run
from connector.reconcile.recovery import recover
from connector.record import Document, Gap, Payload, Position, Removed, Row, Window
from connector.report import RunReport
from connector.schema import Collection, CollectionSpec, Field, Vector, VectorField, spec_of
from connector.stations import Monitor, Options, Stations
from connector.stations.reading import Reader
from connector.stations.rows import Conform
from connector.stations.windows import WindowLimits
from connector.stopping import Stop
from connector.testing.sinks import MemorySink


class Notes(Collection):
    """Generated keys, several rows a document."""

    id: str = Field(primary_key=True, generated=True)
    text: str = Field(max_length=20)
    vector: Vector = VectorField(dim=2, source="v")


class People(Collection):
    """Natural keys."""

    id: str = Field(primary_key=True, max_length=10)
    text: str = Field(max_length=20)
    vector: Vector = VectorField(dim=2, source="v")


class Abort(Exception):  # noqa: N818 - it stands for a kill
    """The process dies here."""


class Listed:
    """A source over a dict of key -> (version, rows); an exception in it is raised at its place."""

    def __init__(self, documents: list[Any], mode: str = "listing") -> None:
        self.documents = documents
        self.mode: Any = mode
        self.opened: list[str] = []

    def partitions(self) -> list[str]:
        """One."""
        return [""]

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """The documents, after a position."""
        for position, item in enumerate(self.documents):
            if self.mode == "cursor" and after is not None and position <= after:
                continue
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Gap):
                yield item
            elif isinstance(item, Removed):
                yield Removed(item.key, position)
            elif item is None:
                continue
            else:
                yield self._document(item, position)

    def _document(self, item: tuple[str, str | None, Any], position: int) -> Document:
        key, version, texts = item

        def opened() -> Payload:
            self.opened.append(key)
            if isinstance(texts, Exception):
                raise texts
            return Payload({"texts": texts})

        return Document(key, opened, version=version, position=position if self.mode == "cursor" else None)


def explode(row: Row) -> list[Row]:
    """One row a text; "id=text" names the natural key."""
    return [{"id": text.partition("=")[0], "text": text, "v": [1.0, 2.0]} for text in row["texts"]]


def encode(windows: Iterator[Window]) -> Iterator[Window]:
    """ENCODE without a model: the vector stands in the row."""
    for window in windows:
        window.vectors["vector"] = np.array([row["v"] for row in window.rows], dtype=np.float32).reshape(-1, 2)
        yield window


def no_parser(media_type: str) -> Parser:
    """There is none."""
    raise DocumentError(media_type)


class Bench:
    """A ledger and a sink that live through several runs, as a collection does."""

    def __init__(self, folder: Path, spec: CollectionSpec, transform: Callable[[Row], list[Row]] = explode) -> None:
        self.folder, self.spec, self.sink, self.transform = folder, spec, MemorySink(), transform

    def run(self, documents: list[Any] | Listed, *, options: Options | None = None, **given: Any) -> RunReport:
        """One run over these documents, as a new process would do it."""
        mode = given.pop("mode", "listing")
        source = documents if isinstance(documents, Listed) else Listed(documents, mode)
        mark, stop = given.pop("fingerprint", "f" * 16), given.pop("stop", Stop())
        report = RunReport(run_id=uuid4().hex, job="job")
        natural = not self.spec.primary.generated
        with Ledger(self.folder / "state.db") as ledger:
            ledger.enter("job", "uid", mark, {}, natural=natural)
            clean = ledger.start(report.run_id)
            recover(ledger, self.sink, "job", primary="id", natural=natural, epoch=0, clean=clean)
            stations = Stations(
                source=source,
                read=Reader(no_parser, fingerprint=mark, transform=self.transform, force=bool(options and options.full_refresh)),
                conform=Conform(self.spec, "job", mark, last_wins=source.mode == "cursor"),
                sink=self.sink,
                ledger=ledger,
                **{"limits": WindowLimits(rows=4), "workers": 0, "encode": encode, **given},
            )
            run(stations, options or Options(), Monitor(report, stop=stop))
            ledger.finish(report.run_id, 0, "{}")
            ledger.settle(epoch=0, source=stations.source_settings)
        counts = report.counts
        assert counts.listed == counts.unchanged + counts.written + counts.empty + counts.rejected
        return report

    @property
    def texts(self) -> list[str]:
        """What the collection holds."""
        return sorted(str(row["text"]) for row in self.sink.rows.values())


@pytest.fixture
def notes(tmp_path: Path) -> Bench:
    """Generated keys."""
    return Bench(tmp_path, spec_of(Notes))


@pytest.fixture
def people(tmp_path: Path) -> Bench:
    """Natural keys."""
    return Bench(tmp_path, spec_of(People))


@pytest.mark.parametrize("workers", [0, 2])
def test_second_run_reads_nothing(notes: Bench, workers: int) -> None:
    """What the ledger knows by version is neither opened nor written."""
    documents = [(f"d{i}", "1", [f"d{i} {j}" for j in range(i % 7)]) for i in range(40)]
    first = notes.run(documents, workers=workers)
    assert (first.counts.written, first.counts.empty) == (34, 6)
    again = Listed(documents)
    second = notes.run(again, workers=workers)
    assert second.counts.unchanged == 40
    assert again.opened == []
    assert len(notes.sink.rows) == sum(i % 7 for i in range(40))


def test_equal_content_under_a_new_version_is_not_written(notes: Bench) -> None:
    """A touched document is opened, but costs no encoding and no write; then its new version is known."""
    notes.run([("a", "1", ["x"])])
    writes = len(notes.sink.writes)
    assert notes.run([("a", "2", ["x"])]).counts.unchanged == 1
    assert not any(notes.sink.writes[writes:])
    source = Listed([("a", "2", ["x"])])
    notes.run(source)
    assert source.opened == []


def test_shrinking_document_leaves_nothing_stale(notes: Bench) -> None:
    """Rows of an earlier, longer version go, by primary key, also when the document spans windows."""
    notes.run([("a", "1", [f"long {i}" for i in range(11)]), ("b", "1", ["b"])])
    notes.run([("a", "2", ["short"]), ("b", "1", ["b"])])
    assert notes.texts == ["b", "short"]
    notes.run([("a", "3", []), ("b", "1", ["b"])])
    assert notes.texts == ["b"]


def test_changed_settings_make_rows_again(notes: Bench) -> None:
    """Another fingerprint means other rows from the same content."""
    notes.run([("a", "1", ["x"])])
    assert notes.run([("a", "1", ["x"])], fingerprint="e" * 16).counts.written == 1


def test_mirror_removes_what_vanished_and_upsert_does_not(notes: Bench) -> None:
    """Only `mirror` deletes, and only what is no longer listed."""
    both = [("a", "1", ["a"]), ("b", "1", ["b"])]
    notes.run(both)
    assert notes.run(both[:1]).counts.deleted == 0
    assert notes.texts == ["a", "b"]
    assert notes.run(both[:1], sync="mirror").counts.deleted == 1
    assert notes.texts == ["a"]


@pytest.mark.parametrize("options", [Options(limit=1), Options(select="a*")])
def test_partial_runs_never_sweep(notes: Bench, options: Options) -> None:
    """A run that does not look at everything cannot know what vanished."""
    notes.run([("a", "1", ["a"]), ("b", "1", ["b"])])
    notes.run([("a", "1", ["a"])], sync="mirror", options=options)
    assert notes.texts == ["a", "b"]


def test_gap_forbids_the_sweep(notes: Bench) -> None:
    """What could not be listed is not gone."""
    notes.run([("a", "1", ["a"]), ("b", "1", ["b"])])
    report = notes.run([("a", "1", ["a"]), Gap("folder", "permission denied")], sync="mirror")
    assert notes.texts == ["a", "b"]
    assert report.gaps == ["folder: permission denied"]


def test_brake_holds_mass_deletes(notes: Bench) -> None:
    """More than ten documents and a fifth of all do not go without being asked; the rest of the run is done."""
    documents = [(f"d{i}", "1", [f"t{i}"]) for i in range(30)]
    notes.run(documents)
    with pytest.raises(Refused, match="11 of 31 known"):
        notes.run([*documents[11:], ("new", "1", ["new"])], sync="mirror")
    assert len(notes.texts) == 31
    assert notes.run(documents[11:], sync="mirror", options=Options(allow_mass_delete=True)).counts.deleted == 12


def test_empty_listing_deletes_nothing(notes: Bench) -> None:
    """An unmounted folder looks like an empty one."""
    notes.run([("a", "1", ["a"])])
    with pytest.raises(Refused, match="listed nothing"):
        notes.run([], sync="mirror")
    assert notes.texts == ["a"]


def test_changed_source_settings_hold_the_sweep(notes: Bench) -> None:
    """A changed glob is not a deletion."""
    notes.run([("a", "1", ["a"]), ("b", "1", ["b"])], source_settings="one")
    with pytest.raises(Refused, match="settings changed"):
        notes.run([("a", "1", ["a"])], sync="mirror", source_settings="two")
    assert notes.texts == ["a", "b"]


def test_one_bad_document_ends_nothing(notes: Bench) -> None:
    """A document that cannot be read is rejected and named; an unforeseen error in it too; the others land."""
    report = notes.run([("a", "1", DocumentError("broken")), ("b", "1", ZeroDivisionError("oops")), ("c", "1", ["c"])])
    assert (report.counts.rejected, report.counts.written) == (2, 1)
    assert report.rejects == ["a: broken", "b: ZeroDivisionError: oops"]
    assert notes.texts == ["c"]


def test_rejected_document_is_counted_every_run_and_read_again_only_when_changed(notes: Bench) -> None:
    """Same version, same outcome, without reading; a cause outside the document is tried every run."""
    notes.run([("a", "1", DocumentError("broken")), ("b", "1", DocumentError("denied", retry=True))])
    source = Listed([("a", "1", ["fine"]), ("b", "1", ["fine"])])
    report = notes.run(source)
    assert source.opened == ["b"]
    assert (report.counts.rejected, report.counts.written) == (1, 1)
    assert notes.run([("a", "2", ["mended"]), ("b", "1", ["fine"])]).counts.written == 1


def test_partial_document(notes: Bench) -> None:
    """Good rows land, stale ones go, the bad row is named, and the document counts as rejected every run."""
    notes.run([("a", "1", ["one", "two", "three"])])
    report = notes.run([("a", "2", ["ONE", "much too long for the field", "THREE"])])
    assert notes.texts == ["ONE", "THREE"]
    assert report.counts.rejected == 1
    assert report.rejects == ["a row 1: field `text`: 27 bytes of UTF-8, but max_length is 20"]
    again = notes.run([("a", "2", ["ONE", "much too long for the field", "THREE"])])
    assert again.counts.rejected == 1


def test_rows_the_sink_refuses(notes: Bench) -> None:
    """A row that the server refuses is rejected alone."""
    notes.sink.refuse = lambda row: "poison" if row["text"] == "bad" else None
    report = notes.run([("a", "1", ["good", "bad"]), ("b", "1", ["good too"])])
    assert notes.texts == ["good", "good too"]
    assert report.rejects == ["a row 1: poison"]


def test_key_listed_twice(notes: Bench) -> None:
    """The first of two documents with one key is used; the later one is named, every run."""
    documents = [("a", "1", ["first"]), ("a", "1", ["second"])]
    for _ in range(2):
        report = notes.run(documents)
        assert report.counts.rejected == 1
        assert notes.texts == ["first"]


def test_natural_key_of_two_documents(people: Bench) -> None:
    """Two documents that give one primary key: the later is rejected and names the owner; the first one's row stands."""
    documents = [("a", "1", ["k=of a"]), ("b", "1", ["k=of b"])]
    for limits in (WindowLimits(rows=4), WindowLimits(rows=1)):
        report = people.run(documents, limits=limits, options=Options(full_refresh=True))
        assert people.texts == ["k=of a"]
        assert "`a`" in report.rejects[0]


def test_natural_key_moves_between_documents(people: Bench) -> None:
    """A key that its document gave up is free for another one, in whatever order they are listed."""
    people.run([("a", "1", ["k=of a"]), ("b", "1", ["m=of b"])])
    people.run([("a", "2", ["n=of a"]), ("b", "2", ["k=of b"])])
    assert people.texts == ["k=of b", "n=of a"]
    people.run([("a", "3", ["m=of a"]), ("b", "3", ["n=of b"])])
    for _ in range(2):
        people.run([("a", "3", ["m=of a"]), ("b", "3", ["n=of b"])])
    assert people.texts == ["m=of a", "n=of b"]


def test_natural_keys_that_vanish(people: Bench) -> None:
    """Stale natural keys go with the change, and all of a document's with the document."""
    people.run([("a", "1", ["k=1", "l=1"]), ("b", "1", ["m=1"])])
    people.run([("a", "2", ["l=2"]), ("b", "1", ["m=1"])])
    assert people.texts == ["l=2", "m=1"]
    people.run([("b", "1", ["m=1"])], sync="mirror")
    assert people.texts == ["m=1"]


def test_cursor_a_b_a_in_one_run(notes: Bench) -> None:
    """A document that flips back within a run ends as it came last, though the ledger lags behind the listing."""
    notes.run([("a", "1", ["A"])], mode="cursor")
    notes.run([("a", "1", ["A"]), ("x", "1", ["x"]), ("a", "2", ["B"]), ("a", "1", ["A"])], mode="cursor")
    assert notes.texts == ["A", "x"]


def test_cursor_goes_on_after_the_last_commit(notes: Bench) -> None:
    """Positions are saved with their window: a crash re-reads from there, and removals are applied."""
    documents: list[Any] = [(f"d{i}", None, [f"t{i}"]) for i in range(10)]
    with pytest.raises(Abort):
        notes.run([*documents[:6], Abort(), *documents[6:]], mode="cursor")
    assert len(notes.sink.rows) == 6
    source = Listed([*documents, Removed("d1")], "cursor")
    notes.run(source)
    assert notes.texts == sorted(f"t{i}" for i in range(10) if i != 1)
    assert source.opened[0] == "d6"


def test_acknowledged_then_killed_then_deleted(notes: Bench) -> None:
    """Rows that were written without their completion are found by the sweep: the intent names them."""
    sink = notes.sink
    original = sink.write

    def write_and_die(window: Window) -> Any:
        original(window)
        raise Abort

    sink.write = write_and_die  # type: ignore[method-assign]  # the crash
    with pytest.raises(Abort):
        notes.run([("a", "1", ["a1", "a2"]), ("b", "1", ["b"])], sync="mirror")
    sink.write = original  # type: ignore[method-assign]  # back to life
    assert len(sink.rows) == 3
    notes.run([("b", "1", ["b"])], sync="mirror")
    assert notes.texts == ["b"]


def test_three_rows_then_a_hundred_killed_then_one(notes: Bench) -> None:
    """The intent keeps the largest number of rows that may exist."""
    notes.run([("a", "1", ["x"] * 3)])
    notes.sink.fail = [*([None] * 20), Transient("gone")]
    with pytest.raises(Transient):
        notes.run([("a", "2", [f"{i}" for i in range(100)])])
    assert len(notes.sink.rows) == 80
    notes.sink.fail = []
    notes.run([("a", "3", ["one"])])
    assert notes.texts == ["one"]


def test_lost_ledger_is_rebuilt_and_writes_nothing(notes: Bench) -> None:
    """Everything is read again, nothing is written again, and what vanished meanwhile still goes."""
    documents = [(f"d{i}", "1", [f"t{i} {j}" for j in range(3)]) for i in range(12)]
    notes.run(documents)
    (notes.folder / "state.db").unlink()
    notes.sink.writes.clear()
    report = notes.run(documents[1:], sync="mirror")
    assert not any(notes.sink.writes)
    assert (report.counts.unchanged, report.counts.deleted) == (11, 1)


def test_lost_ledger_and_half_a_document(notes: Bench) -> None:
    """A document of which rows are missing is made again."""
    notes.run([("a", "1", ["a", "b", "c"])])
    notes.sink.rows.pop(next(iter(notes.sink.rows)))
    (notes.folder / "state.db").unlink()
    assert notes.run([("a", "1", ["a", "b", "c"])]).counts.written == 1
    assert notes.texts == ["a", "b", "c"]


def test_asked_to_stop_without_a_signal(notes: Bench) -> None:
    """A station that ends early because it was asked to has not seen the whole listing: nothing is swept."""
    notes.run([("a", "1", ["a"]), ("b", "1", ["b"])])
    stop = Stop()

    def asking(windows: Iterator[Window]) -> Iterator[Window]:
        stop.event.set()
        return encode(iter([next(windows)]))

    with pytest.raises(Interrupted):
        notes.run([("new", "1", ["n1", "n2", "n3", "n4"]), ("a", "1", ["a"])], sync="mirror", encode=asking, stop=stop)
    assert "b" in notes.texts


def test_source_that_always_fails_makes_progress(notes: Bench) -> None:
    """What was listed before the failure is written, though it fills no window."""
    with pytest.raises(Abort):
        notes.run([("a", None, ["a"]), Abort()], mode="cursor")
    assert notes.texts == ["a"]


def test_append_never_touches_what_is_known(notes: Bench) -> None:
    """`append` adds new documents and leaves known ones as they are."""
    notes.run([("a", "1", ["old"])])
    notes.run([("a", "2", ["new"]), ("b", "1", ["b"])], sync="append")
    assert notes.texts == ["b", "old"]


Model = dict[str, tuple[str, list[str]]]


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcde"), st.lists(st.sampled_from(["x", "y", "z" * 30, "w"]), max_size=6), max_size=5),
            st.integers(-1, 12),
        ),
        min_size=1,
        max_size=6,
    ),
    two_phase=st.booleans(),
)
def test_any_history_converges(
    tmp_path_factory: pytest.TempPathFactory, *, history: list[tuple[dict[str, list[str]], int]], two_phase: bool
) -> None:
    """Whatever the source did and wherever runs died, the run that ends by itself leaves exactly the source's rows."""
    bench = Bench(tmp_path_factory.mktemp("history"), spec_of(Notes))
    mirror: dict[str, Any] = {"sync": "mirror", "options": Options(allow_mass_delete=True)}
    for state, crash in history:
        documents: list[Any] = [(key, str(hash(tuple(texts))), texts) for key, texts in sorted(state.items())]
        bench.sink.fail = [*([None] * max(crash, 0)), Transient("down")] if crash >= 0 else []
        try:
            bench.run(documents, **mirror)
        except Transient:
            if two_phase:
                continue
            bench.sink.fail = []
            bench.run(documents, **mirror)
        expected = sorted(text for texts in state.values() for text in texts if len(text) <= 20)
        assert bench.texts == expected


def test_only_these_documents_of_a_cursor_source(notes: Bench) -> None:
    """A run over some documents reads a cursor source from its start, and leaves its position where it was."""
    documents: list[Any] = [("a", "1", ["a"]), ("b", "1", DocumentError("denied")), ("c", "1", ["c"])]
    notes.run(documents, mode="cursor")
    mended = [("a", "1", ["a2"]), ("b", "1", ["b"]), ("c", "1", ["c2"])]
    report = notes.run(mended, mode="cursor", options=Options(only=frozenset({"b"})))
    assert (report.counts.listed, report.counts.written) == (1, 1)
    assert notes.texts == ["a", "b", "c"]
    assert notes.run([*mended, ("d", "1", ["d"])], mode="cursor").counts.listed == 1


def test_a_cursor_source_is_never_swept(notes: Bench) -> None:
    """It lists what is new, so what it does not list has not vanished, whatever `sync` says."""
    notes.run([("a", "1", ["a"])], mode="cursor", sync="mirror")
    report = notes.run([("a", "1", ["a"]), ("b", "1", ["b"])], mode="cursor", sync="mirror")
    assert (report.counts.deleted, notes.texts) == (0, ["a", "b"])


def test_only_these_documents_never_sweeps(notes: Bench) -> None:
    """A run over some documents cannot know what vanished."""
    notes.run([("a", "1", ["a"]), ("b", "1", ["b"])])
    notes.run([("a", "1", ["a"])], sync="mirror", options=Options(only=frozenset({"a"})))
    assert notes.texts == ["a", "b"]
