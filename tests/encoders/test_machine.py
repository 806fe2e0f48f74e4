"""What is told of a machine that makes a run slow or ends it: emulated numbers, too many threads, too little memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.encoders import memory
from connector.encoders.transformers import TransformersEncoder
from connector.encoding.handle import EncoderHandle
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import DeviceSpec, Head

torch = pytest.importorskip("torch")

from connector.encoders import machine  # noqa: E402 - it needs torch

CPU = torch.device("cpu")
Build = Callable[..., Path]


def test_emulated_bf16_is_measured_once_and_told(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """`precision: bf16` on hardware that emulates it runs, and the run's notes say what it costs, by a product timed once a machine."""
    monkeypatch.setattr(machine, "native_bf16", lambda _: False)
    timed: list[str] = []
    seconds = {"fp32": 0.001, "bf16": 0.0042}

    def product(precision: str, _: object) -> float:
        timed.append(precision)
        return seconds[precision]

    monkeypatch.setattr(machine, "_product", product)
    for _ in range(2):
        with EncoderHandle(TransformersEncoder(str(build(name=f"m{len(timed)}"))), None, DeviceSpec("cpu", "bf16")) as handle:
            handle.encode(["the cat"])
            assert [note for note in handle._goldens.notes if "a matrix product takes 4.2 times as long as in fp32" in note]
        seconds["bf16"] = 1.0
    assert timed == ["fp32", "bf16"] * 6
    assert machine.emulation("fp32", CPU) == ""
    memory.remember("machines.json", next(iter(memory.recall("machines.json"))), 0.9)
    assert machine.emulation("bf16", CPU) == ""


def test_native_bf16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hardware does it, there is nothing to tell."""
    monkeypatch.setattr(machine, "native_bf16", lambda _: True)
    monkeypatch.setattr(machine, "slowdown", lambda _: pytest.fail("measured"))
    assert machine.emulation("bf16", CPU) == ""


def test_the_slowdown_of_another_machine_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A remembered figure counts for the device and the torch that it was measured with; a broken one not at all."""
    monkeypatch.setattr(machine, "_product", lambda precision, _: {"fp32": 1.0, "bf16": 3.0}[precision])
    memory.remember("machines.json", f"bf16, Another CPU x 64, torch {torch.__version__}", 99.0)
    memory.remember("machines.json", f"bf16, {machine.device_name(CPU)}, torch 1.0", 99.0)
    assert machine.slowdown(CPU) == 3.0
    memory.remember("machines.json", f"bf16, {machine.device_name(CPU)}, torch {torch.__version__}", "fast")
    assert machine.slowdown(CPU) == 3.0


def test_a_product_is_timed() -> None:
    """The timing itself: a product of ones gives seconds above zero in either precision."""
    assert all(machine._product(precision, CPU) > 0 for precision in ("fp32", "bf16"))


def test_more_threads_than_cores(build: Build) -> None:
    """64 threads asked of torch on two cores: as many threads run as there are cores, a note says so, and torch keeps its number."""
    cores = machine.usable_cores()
    code = (
        "import sys, torch\n"
        "torch.set_num_threads(int(sys.argv[2]))\n"
        "from connector.encoders import lanes\n"
        "from connector.encoders.transformers import TransformersEncoder\n"
        "from connector.interfaces import DeviceSpec\n"
        "with TransformersEncoder(sys.argv[1]).open(DeviceSpec('cpu', 'fp32')) as model:\n"
        "    print(lanes.CORES, torch.get_num_threads(), *model.notes, sep='|')\n"
        "print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(build()), str(cores * 32)], capture_output=True, text=True, check=True)
    told, after = done.stdout.splitlines()
    note = f"torch was told to use {cores * 32} threads, but there are {cores} cores: {cores} are used"
    assert told == f"{cores}|{cores}|{note}"
    assert after == str(cores * 32)


def test_memory_figures_and_smaller_parts(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that does not fit halves the next one's parts; an item that does not fit alone is told with its size and what is free."""
    encoder = TransformersEncoder(str(build()))
    texts = ["the cat sat on the mat", "the dog"] * 4
    items, heads = [encoder.preparer("document")(text) for text in texts], [encoder.resolve(Head())]
    room = 18

    def small(self: Any, tensors: Any, heads: Any) -> Any:
        if tensors[0].numel() > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute(self, tensors, heads)

    from connector.encoders.text_model import TextModel

    compute = TextModel._compute
    monkeypatch.setattr(TextModel, "_compute", small)
    with encoder.open(DeviceSpec("cpu", "fp32", 64)) as model:
        for _ in range(2):
            with pytest.raises(
                OutOfMemory, match=r"8 inputs do not fit in memory \(the largest has 8 tokens, pixels or samples, .* GiB are free on cpu\)"
            ):
                model.forward(items, heads)
        assert len(model.forward(items, heads)[0]) == 8
    with EncoderHandle(encoder, None, DeviceSpec("cpu", "fp32", 64)) as handle:
        assert handle.encode(texts).shape == (8, 32)
        assert handle.counters.halvings > 0
        room = 4
        with pytest.raises(EncodeError, match=r"does not fit in memory even alone: .*the largest has 8 tokens.* GiB are free on cpu"):
            handle.encode(texts)
