"""The size of parts that is found by timing real work: it settles on the quickest, is remembered, and gives way when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoders import memory, tuning
from connector.encoders.transformers import TransformersEncoder
from connector.encoders.tuning import PartSize, cache_key
from connector.interfaces import DeviceSpec, Head

torch = pytest.importorskip("torch")

from connector.encoders import lanes, staging  # noqa: E402 - they need torch
from tests.encoders.test_staging import TEXTS, Job, LazyDevice  # noqa: E402

Build = Callable[..., Path]


def feed(size: PartSize, rates: dict[int, float], *, cost: int = 1000) -> list[int]:
    """Micro-batches until the size is settled, each as quick as its size says; the sizes that were tried."""
    tried = []
    while not size.settled:
        tried.append(size.now)
        size.took(cost, cost / rates[size.now])
    return tried


@pytest.mark.parametrize("best", [50, 100, 200, 400])
def test_the_quickest_stays_and_is_remembered(best: int) -> None:
    """Each size is tried equally often, none always first; the best is taken at once by the next run, without a trial."""
    size = PartSize(100, "key")
    tried = feed(size, {one: 2.0 if one == best else 1.0 for one in (50, 100, 200, 400)})
    assert sorted(tried) == sorted([50, 100, 200, 400] * tuning.ROUNDS)
    assert len(set(tried[:: len(tuning.FACTORS)])) == len(tuning.FACTORS)
    assert size.now == best
    again = PartSize(100, "key")
    assert (again.now, again.settled) == (best, True)


def test_a_little_quicker_is_not_enough() -> None:
    """What noise can make is no reason to leave the usual size; the first, cold round does not count."""
    size = PartSize(100, "key")
    assert feed(size, {50: 1.0, 100: 1.0, 200: 1.04, 400: 0.9})
    assert size.now == 100


def test_the_first_round_does_not_count() -> None:
    """While libraries and allocators warm up, times say nothing of a size."""
    size, calls = PartSize(100, "key"), 0
    while not size.settled:
        calls += 1
        rate = {50: 1.0, 100: 1.0, 200: 2.0, 400: 1.0}[size.now] if calls > len(tuning.FACTORS) else {50: 900.0}.get(size.now, 0.001)
        size.took(1000, 1000 / rate)
    assert size.now == 200


def test_short_runs_are_left_alone() -> None:
    """Small micro-batches try nothing and go through in the usual size."""
    size = PartSize(100, "key")
    for _ in range(100):
        assert size.now == 100
        size.took(150, 0.1)
    assert not size.settled
    assert memory.recall("parts.json") == {}


def test_a_size_that_was_given_stays() -> None:
    """Explicit values win: without a key nothing is tried and nothing kept."""
    size = PartSize(100)
    assert size.settled
    size.took(10_000, 1.0)
    assert (size.now, memory.recall("parts.json")) == (100, {})


def test_what_another_machine_found_is_ignored() -> None:
    """Any other fact is another key, and a broken entry is none."""
    facts = {"model": {"kind": "timm", "model": "a"}, "device": "A", "cores": 2, "precision": "bf16", "torch": "2.14"}
    memory.remember("parts.json", cache_key(**facts), 400)
    assert PartSize(100, cache_key(**facts)).now == 400
    for name, other in (("model", {"kind": "timm", "model": "b"}), ("device", "B"), ("cores", 4), ("precision", "fp32"), ("torch", "3")):
        assert PartSize(100, cache_key(**{**facts, name: other})).now == 100
    for broken in (0, -5, "400", True, None, [400]):
        memory.remember("parts.json", cache_key(**facts), broken)
        size = PartSize(100, cache_key(**facts))
        assert (size.now, size.settled) == (100, False)


def test_a_trial_that_does_not_fit_is_dropped() -> None:
    """Lack of memory at twice the size ends the trials of it and of larger ones; the others go on, and the batch may be done again."""
    size = PartSize(100, "key")
    tried = []
    while not size.settled:
        tried.append(size.now)
        if size.now >= 200:
            assert size.ran_out(10)
        else:
            size.took(1000, 1000 / {50: 2.0, 100: 1.0}[size.now])
    assert tried.count(200) + tried.count(400) == 1
    assert size.now == 50


def test_memory_that_runs_out_at_the_usual_size_is_remembered() -> None:
    """Then the size is halved, for the next run too, and never below the largest item."""
    size = PartSize(100, "key")
    assert not size.ran_out(10)
    assert (size.now, size.settled, PartSize(100, "key").now) == (50, True, 50)
    assert not size.ran_out(40)
    assert not size.ran_out(40)
    assert size.now == 40
    given = PartSize(64)
    assert not given.ran_out(500)
    assert given.now == 64


class SmallDevice(LazyDevice):
    """Has no memory for more than 64 tokens at once."""

    def compute(self, compute: staging.Compute, inputs: Sequence[Any], after: Any) -> Job:
        """As in `Device`."""
        if inputs[0].numel() > 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return super().compute(compute, inputs, after)


def test_a_model_on_a_gpu_is_tuned(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """`batch: auto` behind a device tries sizes while it works; vectors stay those of one text alone, and lack of memory costs no batch."""
    monkeypatch.setattr(lanes, "runner", lambda _device: staging.Staging(SmallDevice()))
    monkeypatch.setattr("connector.encoders.text_model.part_of", lambda spec, _: 32 if spec.batch == "auto" else spec.batch)
    encoder = TransformersEncoder(str(build()))
    items, heads = [encoder.preparer("document")(text) for text in TEXTS], [encoder.resolve(Head())]
    sizes: set[int] = set()
    with encoder.open(DeviceSpec("cpu", "fp32")) as opened:
        model: Any = opened
        wanted = np.concatenate([model.forward([one], heads)[0] for one in items])
        while not model._part.settled:
            sizes.add(model._part.now)
            np.testing.assert_allclose(model.forward(items, heads)[0], wanted, rtol=1e-4, atol=1e-5)
        assert sizes == {16, 32, 64, 128}
        assert model._part.now in {16, 32, 64}
    assert list(memory.recall("parts.json").values()) == [model._part.now]
    with encoder.open(DeviceSpec("cpu", "fp32", 48)) as fixed:
        explicit: Any = fixed
        assert (explicit._part.now, explicit._part.settled) == (48, True)


def test_a_model_on_a_cpu_is_not_tuned(build: Build) -> None:
    """There the usual size stays, and nothing is tried."""
    with TransformersEncoder(str(build())).open(DeviceSpec("cpu", "fp32")) as opened:
        model: Any = opened
        assert (model._part.now, model._part.settled) == (2048, True)
