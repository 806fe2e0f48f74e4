"""Copies of a model share the work: order is kept, one that dies loses nothing, a batch that nobody can do spoils its rows only."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoding import Binding, Encoding, bind
from connector.encoding.probing import Goldens
from connector.encoding.replicas import TRIES
from connector.encoding.vectorcache import VectorCache
from connector.errors import ConfigError, EncodeError
from connector.interfaces import DeviceSpec, Head, Model, Output, Prepared
from connector.job import Job
from connector.record import Window
from connector.testing.encoders import FakeEncoder, fake_vector
from tests.encoding.test_encoding import collection, vector_field, window, words

Before = Callable[[int, Sequence[Prepared]], None]


class Copies(FakeEncoder):
    """Counts its copies, and asks `before` before each forward pass of one."""

    def __init__(self, before: Before = lambda _copy, _items: None, **options: Any) -> None:
        super().__init__(**options)
        self.before, self.opened, self.passes = before, 0, list[int]()

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """A copy with a number."""
        number, self.opened = self.opened, self.opened + 1
        with super().open(device) as model:
            forward = model.forward

            def counted(items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
                self.before(number, items)
                self.passes.append(number)
                return forward(items, heads)

            model.forward = counted  # type: ignore[method-assign]
            yield model


def bound(encoder: Copies) -> list[Binding]:
    """A binding to it."""
    return bind(collection(vector_field()), lambda _: encoder, where="schemas/x.py: Docs")


def encoded(encoder: Copies, texts: Sequence[str], copies: int = 2, goldens: Goldens | None = None) -> Window:
    """A window of these texts, encoded by so many copies."""
    spec = {"vector": DeviceSpec(replicas=copies)}
    with Encoding(bound(encoder), spec, workers=0, goldens=goldens) as encoding:
        (done,) = encoding(iter([window(*texts)]))
    return done


def right(done: Window, texts: Sequence[str]) -> None:
    """Every row that is not bad has its text's vector."""
    for index, text in enumerate(texts):
        if index not in done.bad:
            np.testing.assert_array_equal(done.vectors["vector"][index], fake_vector(text))


def test_copies_work_beside_each_other() -> None:
    """As many copies are opened as the job says, all of them are at work at one time, and row i has the vector of text i."""
    together = threading.Barrier(3, timeout=30)
    left = [1, 1, 1]

    def meet(copy: int, _: Sequence[Prepared]) -> None:
        if left[copy]:
            left[copy] = 0
            together.wait()

    encoder, texts = Copies(meet, budget=40), words(120)
    done = encoded(encoder, texts, 3)
    assert (encoder.opened, set(encoder.passes), done.bad) == (3, {0, 1, 2}, {})
    right(done, texts)


def test_a_copy_that_dies_loses_nothing() -> None:
    """What the dead copy was given is done by another, it is asked no more, and a note says so."""
    asked: list[int] = []

    def die(copy: int, _: Sequence[Prepared]) -> None:
        asked.append(copy)
        if copy == 1:
            raise EncodeError("CUDA error: the device fell off the bus", hint="none")

    encoder, texts, goldens = Copies(die, budget=40), words(120), Goldens()
    done = encoded(encoder, texts, 2, goldens)
    assert (done.bad, set(encoder.passes)) == ({}, {0})
    assert asked.count(1) == 1
    assert goldens.notes == ["fake:fake: a replica was given up, 1 are left: CUDA error: the device fell off the bus"]
    right(done, texts)


@pytest.mark.parametrize("copies", [2, 4])
def test_a_batch_that_nobody_can_do_spoils_its_rows(copies: int) -> None:
    """It is tried three times, on other copies where there are any; its rows are rejected with the reason, the others land."""
    tries: list[int] = []

    def refuse(copy: int, items: Sequence[Prepared]) -> None:
        if any("poison" in str(item.data) for item in items):
            tries.append(copy)
            raise RuntimeError("shape mismatch")

    texts = [*words(60), "poison " * 40, *words(60, 1)]
    encoder = Copies(refuse, budget=40)
    done = encoded(encoder, texts, copies)
    assert list(done.bad) == [60]
    assert done.bad[60] == ("encode", f"field `text`: 3 attempts on {min(copies, 3)} replicas failed: RuntimeError: shape mismatch")
    assert (len(tries), len(set(tries))) == (TRIES, min(copies, TRIES))
    assert set(encoder.passes) == set(range(copies)), "no copy was given up for it"
    right(done, texts)


def test_a_model_that_fails_everywhere_ends_the_run() -> None:
    """Rows are not rejected by the thousand because a driver broke: the second batch in a row that nobody can do is an error."""

    def broken(_copy: int, _items: Sequence[Prepared]) -> None:
        raise EncodeError("no kernel image is available", hint="none")

    with pytest.raises(EncodeError, match="no kernel image"):
        encoded(Copies(broken, budget=40), words(60))


def test_memory_that_runs_out_halves_the_batch() -> None:
    """On whichever copy; an input that does not fit alone is rejected with what the model said."""
    encoder, texts = Copies(budget=4096, fits=60), [*words(50), "long " * 64]
    done = encoded(encoder, texts)
    assert list(done.bad) == [50]
    assert "does not fit in memory even alone: told to run out of memory" in done.bad[50][1]
    right(done, texts)


def test_one_copy_is_the_default_and_fails_at_once() -> None:
    """Without several copies nothing is tried again, and no thread is made."""

    def broken(_copy: int, _items: Sequence[Prepared]) -> None:
        assert threading.current_thread() is threading.main_thread()
        raise EncodeError("broken", hint="none")

    encoder = Copies(broken)
    with Encoding(bound(encoder), {}, workers=0) as encoding, pytest.raises(EncodeError, match="broken"):
        list(encoding(iter([window("a")])))
    assert encoder.opened == 1


def test_a_number_of_copies_is_at_least_one() -> None:
    """A mistake in the job says what is valid."""
    job = {"job": "x", "source": [], "into": "schema.py:Notes", "milvus": {"uri": "x.db"}, "encode": {"vector": {"replicas": 0}}}
    with pytest.raises(ConfigError, match="replicas is 0"):
        Job.check(job, "job.yaml")


def test_a_stop_loses_nothing_that_was_paid_for(tmp_path: Path) -> None:
    """What copies are at work on when a stop comes is kept for the next run; what they were only given is not begun."""
    stop, texts, counted = threading.Event(), words(400), threading.Lock()
    passes, late = [0], [0]

    def before(_copy: int, _items: Sequence[Prepared]) -> None:
        with counted:
            late[0] += stop.is_set()
            passes[0] += 1
            if passes[0] == 6:
                stop.set()
        time.sleep(0.05)

    encoder = Copies(before, budget=40, revision="1")
    with VectorCache(tmp_path / "v.db", 1 << 20) as cache:
        with Encoding(bound(encoder), {"vector": DeviceSpec(replicas=3)}, stop=stop, cache=cache) as encoding:
            assert list(encoding(iter([window(*texts[:200]), window(*texts[200:])]))) == []
        done = encoding.counters.encoded
        assert 0 < done < 400
        assert late[0] <= 1
    with VectorCache(tmp_path / "v.db", 1 << 20) as cache, Encoding(bound(Copies(revision="1")), {}, cache=cache) as encoding:
        list(encoding(iter([window(*texts)])))
    assert (encoding.counters.encoded, encoding.counters.reused) == (400 - done, done)
