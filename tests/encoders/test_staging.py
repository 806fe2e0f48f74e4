"""The order in which a GPU is spoken to, with a device that is none: it does what is queued as late as it may, so that haste shows."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoders.timm import TimmEncoder
from connector.encoders.transformers import TransformersEncoder
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import DeviceSpec, Encoder, Head

torch = pytest.importorskip("torch")

from connector.encoders import lanes, staging  # noqa: E402 - they need torch
from connector.encoders.vectors import Late  # noqa: E402


@dataclass
class Job:
    """Something that was queued."""

    device: LazyDevice
    name: str
    work: Callable[[], Any] | None
    needs: tuple[Job, ...] = ()
    result: Any = None
    error: Exception | None = None

    def done(self) -> Any:
        """Does it now, after what it needs, and once."""
        for one in self.needs:
            one.done()
        if self.work is not None:
            work, self.work = self.work, None
            try:
                self.result = work()
            except RuntimeError as error:
                self.error = error
        return self.result

    def wait(self) -> Any:
        """As `Ticket.wait`."""
        self.device.calls.append(f"wait {self.name}")
        result = self.done()
        if self.error is not None:
            raise self.error
        self.needs = ()
        return result


@dataclass
class LazyDevice:
    """Copies and computes when somebody waits for it, not before.

    Attributes:
        calls: What was said to it.
        full: Number of the first computation for which there is no memory when it is queued; none has any after it.
        fails: Number of the computation that fails on the device, which shows when it is waited for.
    """

    calls: list[str] = field(default_factory=list)
    full: int = -1
    fails: int = -1
    copies: int = 0
    computations: int = 0
    rooms: list[Any] = field(default_factory=list)
    queue: deque[Any] = field(default_factory=deque)
    inputs: list[Any] = field(default_factory=list)

    def room(self, nbytes: int) -> Any:
        """As in `Device`."""
        self.calls.append(f"room {nbytes}")
        made = torch.full((nbytes,), 255, dtype=torch.uint8)
        self.rooms.append(weakref.ref(made))
        return made

    def upload(self, hosts: Sequence[Any]) -> tuple[Sequence[Any], Job]:
        """As in `Device`."""
        tensors = [torch.zeros_like(host) for host in hosts]
        self.inputs += map(weakref.ref, tensors)
        sources = list(hosts)
        job = Job(self, f"copy {self.copies}", lambda: [one.copy_(host) for one, host in zip(tensors, sources, strict=True)] and None)
        self.calls.append(job.name)
        self.copies += 1
        self.queue.append(weakref.ref(job))
        return tensors, job

    def compute(self, compute: staging.Compute, inputs: Sequence[Any], after: Any) -> Job:
        """As in `Device`."""
        number, self.computations = self.computations, self.computations + 1
        self.calls.append(f"compute {number}")
        if 0 <= self.full <= number:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

        def work() -> list[Late]:
            if number == self.fails:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return [replace(late, tensors=list(late.tensors)) for late in compute(inputs)]

        job = Job(self, f"compute {number}", work, (after,))
        self.queue.append(weakref.ref(job))
        return job

    def drain(self) -> None:
        """As in `Device`."""
        self.calls.append("drain")
        while self.queue:
            job = self.queue.popleft()()
            if job is not None:
                job.done()

    def position(self, call: str) -> int:
        """Where a call stands among all."""
        return self.calls.index(call)


def doubled(tensors: Sequence[Any]) -> list[Late]:
    """A network: twice its input."""
    return [Late((tensors[0].float() * 2,))]


def arrays(part: int) -> tuple[Any, ...]:
    """A part of its own size, all of its number; and a second, odd array behind which the first must stay aligned."""
    return np.full((part + 1, 5), part, dtype=np.int64), np.full(3, part, dtype=np.uint8)


def run(device: LazyDevice, parts: Sequence[int], stage: Callable[[int], tuple[Any, ...]] = arrays) -> list[Any]:
    """The first head's output of each part."""
    return [outputs[0] for outputs in through(staging.Staging(device), parts, stage)]


def through(stager: staging.Staging, parts: Sequence[int], stage: Callable[[int], tuple[Any, ...]] = arrays, compute: Any = doubled) -> Any:
    """Each part's outputs, of a pass that nothing follows."""
    return stager.start(lambda: parts, stage, compute)()


def firsts(found: Any) -> list[float]:
    """The first number of each part."""
    return [float(outputs[0][0, 0]) for outputs in found]


def test_the_next_part_is_queued_before_one_is_waited_for() -> None:
    """While the device computes part k, part k+1 is copied and queued; at most two are under way, and vectors come in order."""
    device = LazyDevice()
    found = run(device, range(6))
    for part in range(6):
        assert np.array_equal(found[part], np.full((part + 1, 5), 2.0 * part, dtype=np.float32))
        assert device.position(f"copy {part}") < device.position(f"compute {part}") < device.position(f"wait compute {part}")
    for part in range(5):
        assert device.position(f"compute {part + 1}") < device.position(f"wait compute {part}")
    for part in range(4):
        assert device.position(f"wait compute {part}") < device.position(f"compute {part + 2}")


def test_memory_is_written_again_only_after_its_copy() -> None:
    """Two buffers serve all parts of a size; before one is filled anew, the copy out of it is waited for."""
    device = LazyDevice()
    run(device, range(7))
    assert [call for call in device.calls if call.startswith("room")] == ["room 65536", "room 65536"]
    for part in range(5):
        assert device.position(f"wait copy {part}") < device.position(f"copy {part + 2}")


def test_a_stager_that_does_not_wait_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake device is late enough to show it: with a stager that overwrites memory under a copy, vectors are wrong."""
    one = staging._Buffer(torch.zeros(1 << 16, dtype=torch.uint8))
    monkeypatch.setattr(staging.Staging, "_buffer", lambda *_: one)
    found = run(LazyDevice(), range(4))
    assert not np.array_equal(found[0], np.zeros((1, 5)))


def test_sizes_have_buffers_of_their_own() -> None:
    """A size class is a power of two; a part that is twice as large takes other memory, and small ones are reused between."""
    device = LazyDevice()

    def stage(part: int) -> tuple[Any, ...]:
        return (np.full(part, part % 251, dtype=np.uint8),)

    sizes = [100, 70_000, 100, 70_000, 100_000, 100]
    found = run(device, sizes, stage)
    assert [one.tolist() for one in found] == [[2.0 * (size % 251)] * size for size in sizes]
    assert sorted(call for call in device.calls if call.startswith("room")) == ["room 131072"] * 2 + ["room 65536"] * 2


def test_results_are_the_callers_own() -> None:
    """What was handed out stays as it is when the memory behind it is used again."""
    device, kept = LazyDevice(), torch.zeros(5)
    stager = staging.Staging(device)
    ((first,),) = through(stager, [1], compute=lambda tensors: [Late((kept.copy_(tensors[0][0]),))])
    ((second,),) = through(stager, [2], compute=lambda tensors: [Late((kept.copy_(tensors[0][0]),))])
    assert (first[0], second[0]) == (1.0, 2.0)


@pytest.mark.parametrize("faulty", [0, 1, 2, 4])
@pytest.mark.parametrize("where", ["full", "fails"])
def test_an_error_leaves_nothing_behind(where: str, faulty: int) -> None:
    """Lack of memory, or a fault on the device, is raised by the call it belongs to; by then nothing is queued and no memory is held."""
    device = LazyDevice(full=faulty) if where == "full" else LazyDevice(fails=faulty)
    stager = staging.Staging(device)
    with pytest.raises(RuntimeError, match="CUDA"):
        through(stager, range(5))
    assert device.calls[-1] == "drain"
    gc.collect()
    assert [one for one in device.rooms + device.inputs if one() is not None] == []
    assert device.computations <= faulty + 2
    device.full = device.fails = -1
    assert firsts(through(stager, range(5))) == [0, 2, 4, 6, 8]


def test_an_error_on_the_cpu_waits_for_the_device() -> None:
    """A part that cannot even be padded ends the call the same way."""
    device = LazyDevice()

    def stage(part: int) -> tuple[Any, ...]:
        return arrays(part if part < 2 else 1 // 0)

    with pytest.raises(ZeroDivisionError):
        run(device, range(4), stage)
    assert device.calls[-1] == "drain"


def test_inputs_live_until_the_vectors_are_taken() -> None:
    """The device reads a part's inputs late, so they are held; afterwards they are not."""
    device = LazyDevice()
    alive: list[int] = []

    def compute(tensors: Sequence[Any]) -> list[Late]:
        alive.append(sum(one() is not None for one in device.inputs))
        return doubled(tensors)

    through(staging.Staging(device), range(6), compute=compute)
    gc.collect()
    assert max(alive) <= 2 * staging.DEPTH
    assert [one for one in device.inputs if one() is not None] == []


def test_the_next_pass_is_queued_before_the_last_part_is_waited_for() -> None:
    """A device never waits from one pass to the next, however few parts they have; no more is under way than within a pass."""
    device = LazyDevice()
    stager = staging.Staging(device)
    waits = [stager.start(partial(list[int], some), arrays, doubled) for some in ([0, 1, 2], [3], [4, 5, 6, 7])]
    assert [one for wait in waits for one in firsts(wait())] == [0, 2, 4, 6, 8, 10, 12, 14]
    for part in range(7):
        assert device.position(f"compute {part + 1}") < device.position(f"wait compute {part}")
    for part in range(6):
        assert device.position(f"wait compute {part}") < device.position(f"compute {part + 2}")
    assert [call for call in device.calls if call.startswith("room")] == ["room 65536", "room 65536"]


def test_passes_may_be_waited_for_in_any_order() -> None:
    """What another pass has under way is taken, and kept for it."""
    stager = staging.Staging(LazyDevice())
    first, second, third = (stager.start(partial(list[int], some), arrays, doubled) for some in ([0, 1, 2], [3], [4, 5]))
    assert firsts(third()) == [8, 10]
    assert firsts(first()) == [0, 2, 4]
    assert firsts(second()) == [6]


@pytest.mark.parametrize("where", ["cut", "stage", "full", "compute"])
def test_a_pass_fails_in_its_own_name(where: str) -> None:
    """What goes wrong with the next pass before it is waited for is no matter of this one; it begins anew, and fails for itself or not."""
    device, wrong = LazyDevice(full=4 if where == "full" else -1), [True]
    stager = staging.Staging(device)

    def cut() -> list[int]:
        return [10, 11, 12 if where != "cut" or not wrong else 1 // 0]

    def stage(part: int) -> tuple[Any, ...]:
        return arrays(part if where != "stage" or not wrong or part == 10 else 1 // 0)

    def compute(tensors: Sequence[Any]) -> list[Late]:
        if where == "compute" and wrong:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return doubled(tensors)

    first, second = stager.start(lambda: range(4), arrays, doubled), stager.start(cut, stage, compute)
    assert firsts(first()) == [0, 2, 4, 6]
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        second()
    assert device.calls[-1] == "drain"
    del first, second
    gc.collect()
    assert [one for one in device.rooms + device.inputs if one() is not None] == []
    wrong.clear()
    device.full = -1
    first, second = stager.start(lambda: range(4), arrays, doubled), stager.start(cut, stage, compute)
    assert firsts(first()) == [0, 2, 4, 6]
    assert firsts(second()) == [20, 22, 24]


def test_lack_of_memory_for_the_next_pass_loses_nothing_of_this_one() -> None:
    """Parts of this pass that are under way when the next one finds no memory are taken, and the next one begins anew, in new parts."""
    device, cuts = LazyDevice(), [[20, 21], [22]]
    stager = staging.Staging(device)
    first = stager.start(lambda: range(3), arrays, doubled)
    second = stager.start(lambda: cuts.pop(0), arrays, doubled)
    device.full = 3
    assert firsts(first()) == [0, 2, 4]
    assert "drain" in device.calls
    device.full = -1
    assert firsts(second()) == [44]
    assert cuts == []


def test_a_pass_that_nobody_waits_for_is_given_up() -> None:
    """Its parts are not queued any more, what was queued is taken, and what comes after it is right."""
    device = LazyDevice()
    stager = staging.Staging(device)
    stager.start(lambda: range(100, 200), arrays, doubled)
    assert firsts(through(stager, range(4))) == [0, 2, 4, 6]
    assert device.computations == 2 + 4
    device.fails = device.computations + 1
    stager.start(lambda: range(100, 200), arrays, doubled)
    assert firsts(through(stager, range(4))) == [0, 2, 4, 6]
    gc.collect()
    assert [one for one in device.inputs if one() is not None] == []


def test_closing_waits_for_the_device() -> None:
    """Memory that the device still reads is not given back."""
    device = LazyDevice()
    stager = staging.Staging(device)
    wait = stager.start(lambda: range(3), arrays, doubled)
    stager.close()
    assert device.calls[-1] == "drain"
    gc.collect()
    assert [one for one in device.rooms + device.inputs if one() is not None] == []
    del wait


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> Iterator[LazyDevice]:
    """Models run through a lazy device, as they would through a GPU."""
    device = LazyDevice()
    monkeypatch.setattr(lanes, "runner", lambda _device: staging.Staging(device))
    yield device
    monkeypatch.undo()


def check_same(
    encoder: Encoder, inputs: Sequence[Any], heads: Sequence[Head], monkeypatch: pytest.MonkeyPatch, cost: int, modality: str | None = None
) -> None:
    """The vectors of the staged path are those of the lanes."""
    spec = DeviceSpec(device="cpu", precision="fp32", batch=cost)
    prepare = encoder.preparer("document", modality)
    items = [prepare(one) for one in inputs]
    resolved = [encoder.resolve(head) for head in heads]
    with encoder.open(spec) as model:
        wanted = model.forward(items, resolved)
    device = LazyDevice()
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "runner", lambda _device: staging.Staging(device))
        with encoder.open(spec) as model:
            found = model.forward(items, resolved)
            assert model.budget == cost * lanes.PARTS_A_GPU
    assert device.computations > 2
    for ours, theirs in zip(found, wanted, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


TEXTS = ["the cat", "the dog sat on the mat", "red", "a green vector database stores points near the mat"] * 5


def test_texts_through_the_stager(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pooled vectors, hidden states and token matrices are the same through either path."""
    check_same(
        TransformersEncoder(str(build())), TEXTS, [Head(), Head(pooling="none"), Head(layer="1", pooling="cls+max")], monkeypatch, 40
    )


def test_pictures_through_the_stager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are the vectors of pictures."""
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(5)
    network = timm.create_model("resnet10t")
    save_for_hf(network, tmp_path / "resnet10t", model_config={}, safe_serialization=True)
    encoder = TimmEncoder(str(tmp_path / "resnet10t"))
    pixels = np.random.default_rng(3).integers(0, 255, (7, 200, 190, 3), dtype=np.uint8)
    cost = encoder.preparer("document")(pixels[0]).cost
    check_same(encoder, list(pixels), [Head()], monkeypatch, 2 * cost)


def test_a_full_device_halves_the_batch(build: Callable[..., Path], lazy: LazyDevice) -> None:
    """Lack of memory while a part is queued is OutOfMemory of the model, and the run goes on with half of it; a fault is an EncodeError."""
    encoder = TransformersEncoder(str(build()))
    items, heads = [encoder.preparer("document")(text) for text in TEXTS], [encoder.resolve(Head())]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=40)) as model:
        lazy.full = 1
        with pytest.raises(OutOfMemory, match="20 inputs do not fit") as caught:
            model.forward(items, heads)
        assert caught.value.__context__ is None
        lazy.full, lazy.fails = -1, lazy.computations + 1
        with pytest.raises(EncodeError, match="failed on 20 inputs"):
            model.forward(items, heads)
        lazy.fails = -1
        assert np.isfinite(model.forward(items, heads)[0]).all()
    gc.collect()
    assert [one for one in lazy.rooms if one() is not None] == []


def test_the_next_micro_batch_is_on_the_device_before_the_last_part_is_taken(build: Callable[..., Path], lazy: LazyDevice) -> None:
    """`submit` queues behind what is under way; when memory runs out for one micro-batch, the next one is cut anew and loses no half."""
    encoder = TransformersEncoder(str(build()))
    items, heads = [encoder.preparer("document")(text) for text in TEXTS], [encoder.resolve(Head())]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=40)) as opened:
        model: Any = opened
        wanted = model.forward(items, heads)[0]
        before = lazy.computations
        first, second = model.submit(items[:10], heads), model.submit(items[10:], heads)
        found = [first()[0]]
        parts = lazy.computations - before
        found.append(second()[0])
        assert lazy.position(f"compute {before + parts - 1}") < lazy.position(f"wait compute {before + parts - 2}")
        np.testing.assert_allclose(np.concatenate(found), wanted, rtol=1e-4, atol=1e-5)
        first, second = model.submit(items[:10], heads), model.submit(items[10:], heads)
        lazy.full = lazy.computations
        with pytest.raises(OutOfMemory):
            first()
        lazy.full, halved = -1, model._part.now
        np.testing.assert_allclose(second()[0], wanted[10:], rtol=1e-4, atol=1e-5)
        assert (halved, model._part.now) == (20, 20)
    gc.collect()
    assert [one for one in lazy.rooms if one() is not None] == []
