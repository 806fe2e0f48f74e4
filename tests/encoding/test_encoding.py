"""ENCODE keeps order, respects the budget, pays once for equal inputs, and lets no unfit vector through."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from connector.encoding import Binding, EncoderHandle, Encoding, bind, encode_query, make_encoder
from connector.errors import ConfigError, EncodeError, RowError, SchemaError
from connector.interfaces import DeviceSpec, Head
from connector.record import Window
from connector.schema.indexes import FLAT
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec
from connector.testing.encoders import FakeEncoder, fake_vector

WORKERS = pytest.mark.parametrize("workers", [0, 1, 2])


def vector_field(name: str = "vector", **values: Any) -> VectorFieldSpec:
    """A vector field filled by the fake encoder."""
    given: dict[str, Any] = {"dim": 8, "metric": "COSINE", "index": FLAT(), "encoder": "fake:fake", **values}
    return VectorFieldSpec(name=name, **given)


def collection(*vectors: VectorFieldSpec) -> CollectionSpec:
    """A collection of these vector fields."""
    key = FieldSpec(name="id", type="VARCHAR", primary_key=True, max_length=64)
    return CollectionSpec(name="docs", fields=(key,), vectors=vectors, where="schemas/x.py: Docs")


def bound(*vectors: VectorFieldSpec, **options: Any) -> list[Binding]:
    """Bindings to one fake encoder with these options."""
    return bind(collection(*(vectors or (vector_field(),))), lambda _: FakeEncoder(**options), where="schemas/x.py: Docs")


def window(*texts: Any) -> Window:
    """A window of one row a text."""
    return Window(parts=[], rows=[{"text": text} for text in texts])


def fake(bindings: list[Binding]) -> FakeEncoder:
    """The fake encoder behind the first binding."""
    encoder = bindings[0].encoder
    assert isinstance(encoder, FakeEncoder)
    return encoder


def words(count: int, seed: int = 0) -> list[str]:
    """Texts of mixed lengths, all different."""
    lengths = np.random.default_rng(seed).integers(1, 30, count)
    return [f"text{seed}-{index} " + "word " * int(length) for index, length in enumerate(lengths)]


@WORKERS
def test_rows_keep_their_order(workers: int) -> None:
    """Row i holds the vector of row i's text although the window is sorted for the model; windows come in order."""
    texts = [words(100, seed) for seed in range(4)]
    with Encoding(bound(), {}, workers=workers) as encoding:
        done = list(encoding(iter([window(*some) for some in texts])))
    for some, one in zip(texts, done, strict=True):
        assert one.vectors["vector"].dtype == np.float32
        np.testing.assert_array_equal(one.vectors["vector"], [fake_vector(text) for text in some])
        assert not one.bad


@WORKERS
def test_windows_without_rows_pass(workers: int) -> None:
    """A window of documents without rows travels along in its place, with empty arrays."""
    with Encoding(bound(), {}, workers=workers) as encoding:
        done = list(encoding(iter([window(), window("a"), window()])))
    assert [one.vectors["vector"].shape for one in done] == [(0, 8), (1, 8), (0, 8)]


def test_micro_batches_respect_the_budget() -> None:
    """A micro-batch costs at most the budget (its count times its dearest item); a single dear item goes alone."""
    bindings = bound(budget=40)
    with Encoding(bindings, {}) as encoding:
        list(encoding(iter([window(*words(200), "long " * 60)])))
    batches = fake(bindings).batches
    assert sum(map(len, batches)) == 201
    assert all(len(costs) * max(costs) <= 40 or len(costs) == 1 for costs in batches)
    assert max(len(costs) for costs in batches) > 1
    assert encoding.counters.padding < 0.2


def test_batch_of_the_job_replaces_the_budget() -> None:
    """`batch:` of the field's device reaches the model."""
    bindings = bound(budget=1000)
    with Encoding(bindings, {"vector": DeviceSpec(batch=30)}) as encoding:
        list(encoding(iter([window(*words(50))])))
    assert all(len(costs) * max(costs) <= 30 or len(costs) == 1 for costs in fake(bindings).batches)


def test_equal_texts_are_encoded_once_a_window() -> None:
    """A text that stands in many rows of a window is paid for once and stored in every one."""
    bindings = bound()
    with Encoding(bindings, {}) as encoding:
        (done,) = encoding(iter([window(*["same", "other"] * 50)]))
    assert encoding.counters.encoded == fake(bindings).counts["items"] == 2
    np.testing.assert_array_equal(done.vectors["vector"], [fake_vector("same"), fake_vector("other")] * 50)


def test_fields_of_one_model_share_a_pass() -> None:
    """Two fields with the same model and source cost one pass; a third from another column costs its own."""
    fields = (vector_field("a"), vector_field("b", dim=4, truncate_dim=4), vector_field("c", source="title"))
    bindings = bound(*fields)
    assert len({id(binding.encoder) for binding in bindings}) == 1
    with Encoding(bindings, {}) as encoding:
        (done,) = encoding(iter([Window(parts=[], rows=[{"text": "x", "title": "y"}])]))
    assert fake(bindings).counts == {"opened": 1, "forwards": 2, "items": 2}
    np.testing.assert_array_equal(done.vectors["a"][0], fake_vector("x"))
    np.testing.assert_array_equal(done.vectors["c"][0], fake_vector("y"))
    assert done.vectors["b"].shape == (1, 4)


@WORKERS
def test_rows_that_cannot_be_encoded_are_named(workers: int) -> None:
    """A missing field, an input refused by the preparer, NaN, and a zero vector under COSINE each spoil their own row only."""
    bindings = bound(fail_on=("refuse",), nan_on=("nan",), zero_on=("zero",))
    rows: list[dict[str, Any]] = [{"text": text} for text in ("good", "", None, "refuse me", "nan", "zero", 5, "fine")]
    rows[1] = {"title": "x"}
    with Encoding(bindings, {}, workers=workers) as encoding:
        (done,) = encoding(iter([Window(parts=[], rows=rows)]))
    assert sorted(done.bad) == [1, 2, 3, 4, 5, 6]
    assert {station for station, _ in done.bad.values()} == {"encode"}
    assert "field `text` is missing; the row has: title" in done.bad[1][1]
    assert "not finite" in done.bad[4][1]
    assert "COSINE" in done.bad[5][1]
    np.testing.assert_array_equal(done.vectors["vector"][[0, 7]], [fake_vector("good"), fake_vector("fine")])
    assert not done.vectors["vector"][1:7].any()


def test_zero_vectors_are_fine_where_length_matters() -> None:
    """Only COSINE has no use for a vector of zeros."""
    with Encoding(bound(vector_field(metric="IP"), zero_on=("zero",)), {}) as encoding:
        (done,) = encoding(iter([window("zero")]))
    assert not done.bad


def test_rows_already_bad_are_not_encoded() -> None:
    """What an earlier station has refused costs nothing here and keeps its reason."""
    bindings = bound()
    one = window("a", "b")
    one.bad[0] = ("transform", "reason")
    with Encoding(bindings, {}) as encoding:
        (done,) = encoding(iter([one]))
    assert fake(bindings).counts["items"] == 1
    assert done.bad == {0: ("transform", "reason")}


def test_out_of_memory_halves_the_budget() -> None:
    """A batch that does not fit is done again in halves; every row gets its vector; later batches start smaller."""
    bindings = bound(budget=4096, fits=100)
    texts = words(100)
    with Encoding(bindings, {}) as encoding:
        (done,) = encoding(iter([window(*texts)]))
    np.testing.assert_array_equal(done.vectors["vector"], [fake_vector(text) for text in texts])
    assert 0 < encoding.counters.halvings < 12
    assert encoding.counters.encoded == 100


def test_item_too_large_for_memory_is_a_reject() -> None:
    """One input that does not fit even alone spoils its row, not the run."""
    with Encoding(bound(budget=4096, fits=20), {}) as encoding:
        (done,) = encoding(iter([window("short", "long " * 40, "small")]))
    assert list(done.bad) == [1]
    assert "memory" in done.bad[1][1]
    np.testing.assert_array_equal(done.vectors["vector"][2], fake_vector("small"))


def test_wrong_shape_ends_the_run() -> None:
    """An encoder that breaks its promise is found at its first batch, not by the server."""
    with Encoding(bound(gives=7), {}) as encoding, pytest.raises(EncodeError, match=r"\(1, 7\), wanted float32 \(1, 8\)"):
        list(encoding(iter([window("a")])))


@WORKERS
def test_models_open_lazily_and_once(workers: int) -> None:
    """Nothing to encode: no model is loaded. Several windows: it is loaded once."""
    bindings = bound(fail_on=("bad",))
    with Encoding(bindings, {}, workers=workers) as encoding:
        list(encoding(iter([window(), window("bad", None)])))
        assert fake(bindings).counts["opened"] == 0
        list(encoding(iter([window("a"), window("b")])))
    assert fake(bindings).counts["opened"] == 1
    assert encoding.counters.startup_s > 0


def test_the_station_imports_no_torch() -> None:
    """The core knows no framework: importing and binding loads neither torch nor transformers."""
    code = "import sys, connector.encoding, connector.testing.encoders; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_dimension_is_compared_before_anything_is_done() -> None:
    """A dimension mismatch is found while binding, says both numbers and the change to make."""
    with pytest.raises(SchemaError) as caught:
        bound(vector_field(dim=768))
    assert str(caught.value) == "schemas/x.py: Docs.vector wants dim 768, encoder fake:fake gives 8.  hint: set dim=8"


def test_other_mismatches_are_found_while_binding() -> None:
    """A sparse field and an unknown head are refused before anything is done."""
    with pytest.raises(ConfigError):
        bound(vector_field(dtype="sparse", dim=None))
    with pytest.raises(ConfigError):
        bound(vector_field(pooling="max"))


def test_encoders_are_shared_by_reference_and_options() -> None:
    """Equal references and options give one encoder; other options give another."""
    fields = (vector_field("a"), vector_field("b"), vector_field("c", options={"max_tokens": 5}))
    a, b, c = bind(collection(*fields), make_encoder, where="x")
    assert a.encoder is b.encoder
    assert a.encoder is not c.encoder
    assert (a.source, a.head.pooling) == ("text", "mean")


@pytest.mark.parametrize("name", ["fake", ":x", "fake:", "nothing:x"])
def test_encoder_references_are_checked(name: str) -> None:
    """A reference that is no `kind:model` of a known kind is a configuration error with a hint."""
    with pytest.raises(ConfigError) as caught:
        make_encoder(vector_field(encoder=name))
    assert "fake" in caught.value.hint


@WORKERS
def test_stop_ends_without_the_unfinished_window(workers: int) -> None:
    """After the stop event the window under way is not yielded, and no further batch is computed."""
    stop = threading.Event()
    bindings = bound(budget=30)
    with Encoding(bindings, {}, stop=stop, workers=workers) as encoding:
        stream = encoding(iter([window(*words(20, 1)), window(*words(20, 2)), window(*words(20, 3))]))
        next(stream)
        computed = fake(bindings).counts["items"]
        stop.set()
        assert list(stream) == []
    assert fake(bindings).counts["items"] == computed == 20


@WORKERS
def test_errors_of_earlier_stations_surface(workers: int) -> None:
    """An error while windows are made comes out here, after the windows before it."""

    def broken() -> Iterator[Window]:
        yield window("a")
        raise OSError("disk")

    with Encoding(bound(), {}, workers=workers) as encoding:
        stream = encoding(broken())
        next(stream)
        with pytest.raises(OSError, match="disk"):
            next(stream)


def test_closing_early_closes_the_source() -> None:
    """A consumer that stops early leaves no thread and no open source behind."""
    closed = threading.Event()

    def endless() -> Iterator[Window]:
        try:
            while True:
                yield window("a")
        finally:
            closed.set()

    before = threading.active_count()
    with Encoding(bound(), {}) as encoding:
        stream = encoding(endless())
        next(stream)
        stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert closed.is_set()
    assert threading.active_count() == before


def test_ready_made_vectors_are_checked() -> None:
    """Vectors that come with the rows land as given; wrong lengths, numbers that are not finite, and non-vectors spoil their row."""
    field = vector_field(encoder=None, source="given", dim=2)
    good = [[3, 4], np.array([0.5, 1]), (1.0, 0.0)]
    wrong = [None, [1.0], [1.0, float("nan")], "ab", [[1.0], [2.0, 3.0]], [0, 0], [1e39, 0], [True, False]]
    with Encoding([], {}, ready=[field]) as encoding:
        (done,) = encoding(iter([Window(parts=[], rows=[{"given": one} for one in [*good, *wrong]])]))
    np.testing.assert_array_equal(done.vectors["vector"][:3], np.array([[3, 4], [0.5, 1], [1, 0]], dtype=np.float32))
    assert sorted(done.bad) == list(range(3, 11))
    assert "shape (1,), but the field wants dim 2" in done.bad[4][1]


def test_ready_made_vectors_of_other_types() -> None:
    """int8, binary and sparse vectors keep their type, and are checked by it."""
    kinds: dict[str, tuple[Any, Any, Any]] = {
        "int8": ([1, -128] * 4, [1, 200] * 4, np.int8),
        "binary": ([1, 0, 0, 0, 0, 0, 0, 1], [2] * 8, np.uint8),
        "sparse": ({3: 0.5}, {-1: 0.5}, object),
    }
    for dtype, (good, wrong, stored) in kinds.items():
        field = vector_field(encoder=None, source="v", dtype=dtype, dim=None if dtype == "sparse" else 8, metric="IP")
        with Encoding([], {}, ready=[field]) as encoding:
            (done,) = encoding(iter([Window(parts=[], rows=[{"v": good}, {"v": wrong}])]))
        assert list(done.bad) == [1], dtype
        assert done.vectors["vector"].dtype == stored
    assert done.vectors["vector"][0] == {3: 0.5}


def test_counters_add_up() -> None:
    """Truncated inputs, forward passes and padding are counted for the report."""
    with Encoding(bound(max_tokens=5, budget=10), {}) as encoding:
        list(encoding(iter([window("a", "b " * 9, "c c")])))
    counters = encoding.counters
    assert (counters.encoded, counters.truncated, counters.forwards) == (3, 1, 2)
    assert (counters.cost, counters.padded) == (8, 11)
    assert counters.padding == pytest.approx(3 / 11)


def test_handle_encodes_lists() -> None:
    """A handle gives row i for input i, sorted and batched inside, with the model opened once and closed at the end."""
    encoder = FakeEncoder(budget=20)
    texts = words(60)
    with EncoderHandle(encoder) as handle:
        np.testing.assert_array_equal(handle.encode(texts), [fake_vector(text) for text in texts])
        assert handle.encode([]).shape == (0, 8)
        handle.encode(["more"], role="query")
    assert encoder.counts["opened"] == 1
    assert encoder.counts["forwards"] > 2


def test_handle_refuses_what_a_run_would_reject() -> None:
    """Outside of a run a bad input is an error that names its place; a single text instead of a list is caught."""
    handle = EncoderHandle(FakeEncoder(fail_on=("bad",), nan_on=("nan",)))
    with pytest.raises(RowError, match="input 1"):
        handle.encode(["a", "bad"])
    with pytest.raises(EncodeError, match=r"input 1: .*not finite"):
        handle.encode(["a", "nan"])
    with pytest.raises(ConfigError, match="a list of inputs"):
        handle.encode("text")


def test_queries_get_the_query_prompt() -> None:
    """What is searched for is prepared as a query, with the field's own head."""
    (binding,) = bound(query_prompt="find: ")
    np.testing.assert_array_equal(encode_query(binding, ["x"]), [fake_vector("find: x")])
    assert binding.head == binding.encoder.resolve(Head(dtype="float32"))


def test_a_handle_gives_the_type_that_is_asked_for() -> None:
    """float16 as such, bits packed, and int8 by one scale that is fitted once and never by batch."""
    texts = words(300)
    exact = np.stack([fake_vector(text) for text in texts])
    with EncoderHandle(FakeEncoder(), Head(dtype="float16")) as handle:
        assert handle.encode(texts[:2]).dtype == np.float16
    with EncoderHandle(FakeEncoder(), Head(dtype="binary")) as handle:
        np.testing.assert_array_equal(handle.encode(texts), np.packbits(exact > 0, axis=1))
    with EncoderHandle(FakeEncoder(), Head(dtype="int8")) as handle:
        with pytest.raises(ConfigError, match="need a scale"):
            handle.encode(texts)
        step = handle.fit(texts)
        alone, together = handle.encode(texts[:1]), handle.encode(texts)
        assert together.dtype == np.int8
        np.testing.assert_array_equal(alone[0], together[0])
        assert np.abs(together.astype(np.float32) * step - exact).max() <= step
