"""The model is given the next lot before it is done with this one; no order, no reason and no vector is lost by it, and none paid twice."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoding import AHEAD, Binding, Encoding, bind
from connector.encoding.lots import Lot
from connector.encoding.slices import Slice
from connector.encoding.vectorcache import VectorCache
from connector.errors import EncodeError, Transient
from connector.flow import Ahead
from connector.interfaces import DeviceSpec, Head, Model, Output, Prepared
from connector.record import Window
from connector.testing.encoders import FakeEncoder, fake_vector
from tests.encoding.test_encoding import collection, vector_field, window, words
from tests.encoding.test_microbatches import Queue, _items, _replica


class Eager(FakeEncoder):
    """Takes micro-batches before it is done with others, and notes what it is told.

    Attributes:
        told: "submit" or "wait", and the texts.
        before: Called before a micro-batch is done, and before one is taken, with what it is and the first text.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(revision="1", **options)
        self.told: list[tuple[str, list[str]]] = []
        self.before: Callable[[str, str], Any] = lambda _what, _text: None

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """A model with `submit`."""
        with super().open(device) as opened:
            model: Any = opened

            def submit(items: Sequence[Prepared], heads: Sequence[Head]) -> Callable[[], list[Output]]:
                texts = [item.data for item in items]
                self.before("submit", texts[0])
                self.told.append(("submit", texts))

                def wait() -> list[Output]:
                    self.before("wait", texts[0])
                    self.told.append(("wait", texts))
                    outputs: list[Output] = opened.forward(items, heads)
                    return outputs

                return wait

            model.submit = submit
            yield model

    def when(self, what: str, text: str) -> int:
        """Which of the things told to it this was, by a text that is in it."""
        return next(place for place, (one, texts) in enumerate(self.told) if one == what and any(text in some for some in texts))


def bound(encoder: FakeEncoder, *more: FakeEncoder) -> list[Binding]:
    """A field for each of these encoders, all of the same texts."""
    encoders = {f"v{number}": one for number, one in enumerate((encoder, *more))}
    fields = [vector_field(name, encoder=f"fake:{name}") for name in encoders]
    return bind(collection(*fields), lambda one: encoders[one.name], where="schemas/x.py: Docs")


class Batches:
    """What is prepared."""

    def __init__(self) -> None:
        self.ahead: list[Ahead[Any]] = []

    def arrive(self) -> None:
        """Waits until all that is being prepared behind what was taken is ready: the first may be the end of a window, which is no work."""
        for _ in range(2000):
            pending = list(self.ahead[0]._pending)
            if pending and all(future.done() for future in pending):
                return
            time.sleep(0.005)
        pytest.fail("nothing was prepared within ten seconds")

    def arrive_before(self, encoder: Eager, text: str) -> None:
        """The first time that the encoder does the micro-batch that begins with this text, something is ready behind it."""
        once = [text]

        def before(what: str, first: str) -> None:
            if what == "wait" and first in once:
                once.clear()
                self.arrive()

        encoder.before = before


@contextlib.contextmanager
def encoded(bindings: list[Binding], *texts: Sequence[str], **given: Any) -> Iterator[tuple[Encoding, Iterator[Window], Batches]]:
    """The station, what comes of a window for each of these, and what is prepared for it."""
    batches = Batches()
    with Encoding(bindings, {}, **given) as encoding:
        prepared = encoding._prepared

        def noted(windows: Iterator[Window]) -> Ahead[Any]:
            batches.ahead.append(prepared(windows))
            return batches.ahead[-1]

        encoding._prepared = noted  # type: ignore[method-assign]
        stream = encoding(iter([window(*some) for some in texts]))
        yield encoding, stream, batches
        stream.close()  # type: ignore[attr-defined]  # it is a generator


def right(done: Window, texts: Sequence[str], field: str = "v0") -> None:
    """Row i has the vector of text i."""
    assert not done.bad
    np.testing.assert_array_equal(done.vectors[field], [fake_vector(text) for text in texts])


def test_the_next_window_is_with_the_model_before_this_one_is_done() -> None:
    """While the last micro-batches of a window are computed, those of the next one are handed over; each window gets its own vectors."""
    encoder, texts = Eager(budget=4), [[f"a{number}" for number in range(12)], [f"b{number}" for number in range(8)]]
    with encoded(bound(encoder), *texts) as (_, stream, batches):
        batches.arrive_before(encoder, "a0")
        for done, some in zip(stream, texts, strict=True):
            right(done, some)
    assert encoder.when("submit", "b0") < encoder.when("wait", "a4")
    assert [texts[0] for what, texts in encoder.told if what == "wait"] == ["a0", "a4", "a8", "b0", "b4"]


def test_a_text_that_is_under_way_is_not_encoded_again(tmp_path: Path) -> None:
    """It stands in both windows: the second one waits for the first one's vector, and has it."""
    encoder, texts = Eager(budget=1), [["same", "other"], ["new", "same", "last"]]
    with VectorCache(tmp_path / "v.db", 1 << 20) as cache, encoded(bound(encoder), *texts, cache=cache) as (encoding, stream, batches):
        batches.arrive_before(encoder, "same")
        for done, some in zip(stream, texts, strict=True):
            right(done, some)
    assert encoder.when("submit", "new") < encoder.when("wait", "other")
    assert sorted(text for what, texts in encoder.told if what == "submit" for text in texts) == ["last", "new", "other", "same"]
    assert (encoding.counters.encoded, encoding.counters.reused) == (4, 1)


def test_a_text_that_came_to_nothing_is_encoded_again(tmp_path: Path) -> None:
    """What the first window could not use is no vector for the second one, which says so for itself."""
    encoder, texts = Eager(nan_on=("same",), budget=1), [["same", "other"], ["new", "same"]]
    with VectorCache(tmp_path / "v.db", 1 << 20) as cache, encoded(bound(encoder), *texts, cache=cache) as (_, stream, batches):
        batches.arrive_before(encoder, "same")
        first, second = stream
    assert (list(first.bad), list(second.bad)) == ([0], [1])
    assert "not finite" in second.bad[1][1]
    np.testing.assert_array_equal(second.vectors["v0"][0], fake_vector("new"))
    assert encoder.when("submit", "new") < encoder.when("wait", "other")
    assert [texts for what, texts in encoder.told if what == "submit"] == [["same"], ["other"], ["new"], ["same"]]


def test_a_text_that_waits_is_under_way_for_those_behind(tmp_path: Path) -> None:
    """Three windows with one text: the third one waits for what comes of it in the second, which waits for the first."""
    with VectorCache(tmp_path / "v.db", 1 << 20) as cache, Encoding(bound(Eager()), {}, cache=cache) as encoding:
        list(encoding(iter([window("opens the model")])))
        batches = [next(encoding._prepared(iter([window("same", name)]))) for name in "abc"]
        first = encoding._lots.begin(batches[0], [])
        second = encoding._lots.begin(batches[1], [first])
        third = encoding._lots.begin(batches[2], [second])
        told = [([one.item.data for one in lot.new], [one.item.data for one in lot.waiting]) for lot in (first, second, third)]
    assert told == [(["same", "a"], []), (["b"], ["same"]), (["c"], ["same"])]


class Held(Window):
    """Tells when it is gone."""


def test_windows_that_are_done_are_let_go() -> None:
    """However long a model is never idle, what it was given is held only while it is needed."""
    seen: list[weakref.ref[Window]] = []

    def source() -> Iterator[Window]:
        for number in range(40):
            made = Held(parts=[], rows=[{"text": f"{number}-{index}"} for index in range(8)])
            seen.append(weakref.ref(made))
            yield made

    with Encoding(bound(Eager(budget=4, delay=0.0005)), {}) as encoding:
        for count, _ in enumerate(encoding(source())):
            del _
            gc.collect()
            alive = [number for number, one in enumerate(seen) if one() is not None]
            assert alive[0] >= count - 1
            assert len(alive) < 10


def test_an_error_of_the_next_window_comes_after_this_one() -> None:
    """What was under way before it is complete, and handed on."""
    encoder, texts = Eager(budget=4), [[f"a{number}" for number in range(8)], ["b0"], ["c0"]]

    with encoded(bound(encoder), *texts) as (_, stream, batches):

        def before(what: str, text: str) -> None:
            if (what, text) == ("wait", "a0"):
                batches.arrive()
            if (what, text) == ("submit", "b0"):
                encoder.told.append(("refused", [text]))
                raise EncodeError("no b")

        encoder.before = before
        right(next(stream), texts[0])
        with pytest.raises(EncodeError, match="no b"):
            next(stream)
    assert encoder.when("refused", "b0") < encoder.when("wait", "a4")


def test_one_model_works_at_a_time() -> None:
    """Two encoders read the same texts: none is given anything while the other one has something under way."""
    encoders, texts = (Eager(budget=4), Eager(budget=4)), [words(30, seed) for seed in range(4)]
    log: list[tuple[str, int]] = []
    for number, encoder in enumerate(encoders):
        encoder.before = lambda what, _, number=number: log.append((what, number))  # type: ignore[misc]
    with encoded(bound(*encoders), *texts) as (_, stream, _batches):
        for done, some in zip(stream, texts, strict=True):
            right(done, some)
            right(done, some, "v1")
    under_way = [0, 0]
    for what, number in log:
        under_way[number] += 1 if what == "submit" else -1
        assert 0 in under_way
    assert under_way == [0, 0]


def test_a_window_does_not_wait_for_a_slow_source() -> None:
    """It is handed on when it is complete, although the next one is not even prepared."""
    go, encoder, many = threading.Event(), Eager(), words(200)

    def slow() -> Iterator[Window]:
        yield window("a")
        yield window(*many)
        assert go.wait(30)
        yield window("c")

    with Encoding(bound(encoder), {}) as encoding:
        stream = encoding(slow())
        right(next(stream), ["a"])
        go.set()
        right(next(stream), many)
        right(next(stream), ["c"])
        assert list(stream) == []


@pytest.mark.parametrize("budget", [4, 400])
def test_a_stop_yields_no_window_that_is_not_complete(budget: int) -> None:
    """Whatever was given ahead by then is lost, and is no part of anything."""
    stop, encoder, texts = threading.Event(), Eager(budget=budget), [[f"{name}{number}" for number in range(12)] for name in "abc"]
    with encoded(bound(encoder), *texts, stop=stop) as (_, stream, batches):

        def before(what: str, text: str) -> None:
            if (what, text) == ("wait", "a0"):
                batches.arrive()
            if (what, text) == ("wait", "b0"):
                stop.set()

        encoder.before = before
        right(next(stream), texts[0])
        assert list(stream) == []
    assert [texts[0] for what, texts in encoder.told if what == "wait"][-1] == "b0"


def test_memory_that_runs_out_under_another_window_loses_nothing() -> None:
    """A micro-batch that has to be cut anew goes on before or behind the next window's; every row has its own vector."""
    encoder, texts = Eager(budget=64, fits=8), [[f"a{number}" for number in range(40)], [f"b{number}" for number in range(30)]]
    with encoded(bound(encoder), *texts) as (encoding, stream, batches):
        batches.arrive_before(encoder, "a0")
        for done, some in zip(stream, texts, strict=True):
            right(done, some)
    assert encoding.counters.halvings > 0
    assert encoding.counters.encoded == 70


class Endless:
    """Has always the end of a window ready."""

    def peek(self) -> Slice:
        """It."""
        return Slice(window())

    __next__ = peek


def busy() -> Lot:
    """A lot that its model is at work on."""
    return Lot(window(), None, running=_replica(Queue(budget=1)).run(_items(1), [Head()]))


FAILED = Lot(window(), None, error=Transient("away"))
WAITING = Lot(window(), None, waiting=[Any])  # type: ignore[list-item]  # whatever it is


@pytest.mark.parametrize(
    ("lots", "most"), [([busy()], AHEAD), ([busy(), FAILED], 2), ([busy(), WAITING], 2), ([WAITING], 1), ([FAILED], 1), ([], 0)]
)
def test_little_is_begun_ahead(lots: list[Lot], most: int) -> None:
    """Windows whose vectors are known pass a busy model, but only a few: they are memory. None passes one that failed, or waits."""
    with Encoding(bound(Eager()), {}) as encoding:
        under_way = deque(lots)
        encoding._look_ahead(under_way, Endless())  # type: ignore[arg-type]  # it has what is needed
        assert len(under_way) == most


class Broken:
    """Looks for vectors in a collection that is away, from a window on."""

    def __init__(self, text: str) -> None:
        self._text, self.asked = text, 0

    def find(self, some: Window, bindings: Sequence[Binding], rows_of: Sequence[Sequence[int]]) -> dict[int, Any]:
        """As `StoredVectors.find`."""
        del bindings, rows_of
        self.asked += 1
        if any(row["text"] == self._text for row in some.rows):
            raise Transient("Milvus is away")
        return {}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_wrong_ahead_comes_in_its_turn(workers: int) -> None:
    """A window that cannot even be given to the model does not keep back the one before it."""
    encoder, texts, broken = Eager(budget=4), [[f"a{number}" for number in range(8)], ["b0"], ["c0"]], Broken("b0")
    with encoded(bound(encoder), *texts, workers=workers, stored=broken) as (_, stream, batches):
        if workers:
            batches.arrive_before(encoder, "a0")
        right(next(stream), texts[0])
        with pytest.raises(Transient, match="away"):
            next(stream)
    assert broken.asked == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_vectors_are_on_disk_when_a_window_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """However long writing takes: a crash from then on costs no encoding. Meanwhile they are found, and the model goes on."""
    encoder, texts, seen = Eager(), [["a0", "a1"], ["b0"], ["a0", "c0"]], list[int]()
    keep = VectorCache.keep

    def slowly(cache: VectorCache) -> None:
        time.sleep(0.2)
        keep(cache)

    monkeypatch.setattr(VectorCache, "keep", slowly)
    with (
        VectorCache(tmp_path / "v.db", 1 << 20) as cache,
        encoded(bound(encoder), *texts, workers=workers, cache=cache) as (encoding, stream, _),
        contextlib.closing(sqlite3.connect(tmp_path / "v.db")) as other,
    ):
        for done, some in zip(stream, texts, strict=True):
            right(done, some)
            seen.append(other.execute("SELECT count(*) FROM vectors").fetchone()[0])
    assert all(found >= least for found, least in zip(seen, [2, 3, 4], strict=True))
    assert (encoding.counters.encoded, encoding.counters.reused) == (4, 1)


def test_what_memory_lacks_is_told_of_the_right_row() -> None:
    """One input that does not fit even alone spoils its own row, whichever window is under way."""
    encoder, texts = Eager(budget=4096, fits=20), [["short", "small"], ["tiny", "long " * 40, "end"]]
    with encoded(bound(encoder), *texts) as (_, stream, batches):
        batches.arrive_before(encoder, "short")
        first, second = stream
    assert (list(first.bad), list(second.bad)) == ([], [1])
    assert "does not fit in memory even alone" in second.bad[1][1]
