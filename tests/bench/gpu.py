"""How busy a run keeps a GPU, told by one that is none: it takes a given time for every padded token, and the processor is free meanwhile.

What runs is what runs with a GPU, but for its kernels: preparation, micro-batches, `Staging`, the cache of vectors, the ledger. The rows go
nowhere. `busy` is the share of the time between its first and its last token in which it computed; one side has a GPU that the rest of
the run keeps up with easily, the other one that is as quick as the rest.

    python -m tests.bench.gpu [--passages 12000] [--rounds 5] [--out bench-gpu.json]
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.nowhere import run_nowhere
from tests.bench.rounds import Benchmark, Measured, main
from tests.bench.text import Passages, prepare, rows_in

PART = 32_768
"""Padded tokens of a part, as on a GPU."""


class Ticket:
    """Something that is done at a time that is known."""

    def __init__(self, result: Any, at: float) -> None:
        self._result, self._at = result, at

    def wait(self) -> Any:
        """As in `Device`."""
        time.sleep(max(0.0, self._at - time.perf_counter()))
        return self._result


class SlowDevice:
    """As `Device`: one part after the other, each for as long as its tokens take.

    Attributes:
        begun: When the first part began; `time.perf_counter`.
        free_at: When the last one will be done.
        busy: Seconds that it computed.
    """

    def __init__(self, tokens_a_second: float) -> None:
        self._rate = tokens_a_second
        self.begun = self.free_at = self.busy = 0.0

    def room(self, nbytes: int) -> Any:
        """As in `Device`."""
        import torch

        return torch.empty(nbytes, dtype=torch.uint8)

    def upload(self, hosts: Sequence[Any]) -> tuple[Sequence[Any], Ticket]:
        """As in `Device`."""
        return [host.clone() for host in hosts], Ticket(None, 0.0)

    def compute(self, compute: Any, inputs: Sequence[Any], after: Any) -> Ticket:
        """As in `Device`."""
        del after
        begins, took = max(time.perf_counter(), self.free_at), inputs[0].numel() / self._rate
        self.begun = self.begun or begins
        self.free_at = begins + took
        self.busy += took
        return Ticket(compute(inputs), self.free_at)

    def drain(self) -> None:
        """As in `Device`."""
        time.sleep(max(0.0, self.free_at - time.perf_counter()))


def _vectors(_model: Any, tensors: Sequence[Any], heads: Sequence[Any]) -> list[Any]:
    """Something that depends on the tokens, at no cost."""
    import torch

    from connector.encoders.vectors import Late

    padded = tensors[0]
    made = torch.ones((len(padded), 384)) / 384**0.5
    made[:, :1] += padded[:, :1].float() % 7 + padded[:, 1:2].float() % 11
    return [Late((torch.nn.functional.normalize(made, dim=-1),)) for _ in heads]


def measured(folder: Path, empty: Path, given: argparse.Namespace, thousands: int = 0) -> Measured:
    """A run with a device that computes so many thousand tokens a second."""
    from connector.encoders import lanes, parts, staging, text_model
    from connector.encoding.vectorcache import VectorCache
    from connector.interfaces import DeviceSpec
    from connector.sources.rows import RowsSource

    del given
    lanes.runner = lambda _device: staging.Staging(device)  # type: ignore[assignment]
    parts.LEAST["cpu"] = parts.LEAST["cuda"]  # the arrays are the CPU's
    text_model.TextModel._compute = _vectors  # type: ignore[assignment, method-assign]
    device = SlowDevice(thousands * 1000)
    source, spec = RowsSource(rows_in(folder), key="id"), DeviceSpec(device="cpu", precision="fp32", batch=PART)
    with VectorCache(empty / "vectors.db", 1 << 30) as cache:
        _, encoded = run_nowhere(source, empty / "state.db", Passages, cache=cache, devices={"vector": spec})
    wall = device.free_at - device.begun
    return {"seconds": wall, "a_second": encoded / wall, "busy": device.busy / wall, "encoded": encoded}


BENCH = Benchmark(
    module="tests.bench.gpu",
    about=str(__doc__),
    options={"passages": 12_000},
    prepare=prepare,
    sides={f"{rate}k tokens/s": functools.partial(measured, thousands=rate) for rate in (200, 400)},
    ratios={
        f"busy at {rate}k tokens/s": functools.partial(lambda one, rate: one[f"{rate}k tokens/s"]["busy"], rate=rate) for rate in (200, 400)
    },
)

if __name__ == "__main__":
    main(BENCH)
