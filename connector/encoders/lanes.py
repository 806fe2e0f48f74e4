"""Runs a batch in parts: on a CPU side by side, in a few threads that share the weights, each with its own share of the cores. Needs torch.

One matrix product spread over all cores has to wait, many times a layer, for the slowest of them; parts that each stay on one core wait
once a batch. Measured on two cores with a 6-layer BERT in bfloat16: a fifth faster on an idle machine, three to five times on a busy one.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch

from connector.encoders.allocation import give_back, keep_freed
from connector.encoders.cuda import Cuda, free
from connector.encoders.machine import crowding, device_name, emulation, free_memory, usable_cores
from connector.encoders.packing import pack
from connector.encoders.staging import Compute, Cut, Stage, Staging
from connector.encoders.torch_device import is_out_of_memory
from connector.encoders.tuning import PartSize, cache_key
from connector.encoders.vectors import Late, joined
from connector.errors import EncodeError, OutOfMemory
from connector.interfaces import Head, ModelIdentity, Output, Prepared

T = TypeVar("T")

Begun: TypeAlias = Callable[[], list[Output]]
"""Waits for a pass that has begun: one output a head."""

log = logging.getLogger(__name__)

THREADS = torch.get_num_threads()
"""Threads that torch had when this module was first needed: the lanes change the number that it tells later."""

CORES = min(THREADS, usable_cores())
"""As many are used: with more threads than cores, each waits for one that is not running."""

MAX_LANES = 8
"""Most threads: Python's own share of a forward pass is not parallel."""


PARTS_A_LANE = 4
"""How many parts a micro-batch has for every lane: lanes that finish early take another, and a stop signal waits for no more."""

PARTS_A_GPU = 8
"""How many parts a micro-batch has on a GPU: the two that are queued behind it are as long as what comes between two calls may take."""


class Lanes:
    """Threads for the parts of a batch on a CPU."""

    def __init__(self) -> None:
        self.count = min(CORES, MAX_LANES)
        torch.set_num_threads(CORES)
        keep_freed()
        self._pool = ThreadPoolExecutor(self.count, "lane", torch.set_num_threads, (CORES // self.count,)) if self.count > 1 else None

    def start(self, cut: Cut[T], stage: Stage[T], compute: Compute) -> Callable[[], list[list[Output]]]:
        """As `Staging.start`: the parts go behind those that the threads have. One alone is left to the caller, who has all cores."""
        one, parts = partial(_pass, stage, compute), cut()
        return partial(list, map(one, parts) if self._pool is None or len(parts) == 1 else self._pool.map(one, parts))

    def close(self) -> None:
        """Ends the threads and gives torch its cores back."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        torch.set_num_threads(THREADS)


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
def _pass(stage: Stage[T], compute: Compute, part: T) -> list[Output]:
    return [late.take() for late in compute([torch.from_numpy(array) for array in stage(part)])]


def runner(device: torch.device) -> Lanes | Staging:
    """What runs the parts of a batch on this device."""
    return Staging(Cuda(device)) if device.type == "cuda" else Lanes()


class LaneModel(abc.ABC):
    """What models that run in parts share: how much they take at once, what they do when memory runs out, and how they end.

    Args:
        network: The torch module, in evaluation mode.
        name: For messages.
        precision: What it computes in.
        part: Cost of what goes through the network at once: padded tokens, pixels or samples.
        device: Where it is.

    Attributes:
        notes: What a run should say of the machine.
        device: Where it is.
    """

    inputs = "inputs"
    packs: bool = True
    """Whether its weights are laid out anew: not where code may reach for them, or a head may look into a block."""

    def __init__(self, network: Any, name: str, precision: str, part: int, device: torch.device) -> None:
        self._runner = runner(device)
        self.precision = precision
        self.budget = part * _parts(self._runner)
        self.notes = [note for note in (emulation(precision, device), crowding(THREADS, CORES, device)) if note]
        self.device = device
        self._part, self._device = PartSize(part), device
        self._network = network
        self._name = name
        self._compiled: list[Any] = []

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """One pass over the items; one output a head, float32: (n, dim), or n arrays (tokens, dim) where a head does not pool.

        Raises:
            OutOfMemory: The batch does not fit; the next one goes through in smaller parts.
            EncodeError: The model failed in any other way.
        """
        return self.submit(items, heads)()

    def submit(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Callable[[], list[Output]]:
        """Starts what `forward` does, and returns a function that waits for it.

        The parts of a pass go behind those of the pass before it, so no core is idle while another one does the last part, and no GPU while
        the first part is laid out. Nothing is started before it is waited for where the size of parts is being measured, and on a CPU with
        a compiled network, which may yet turn out to fail.
        """
        if self._network is None:
            raise EncodeError(f"model {self._name} is closed", hint="open it again")
        begun: Begun | None = None
        if self._part.settled and (not self._compiled or isinstance(self._runner, Staging)):
            with contextlib.suppress(Exception):  # it comes again, and is raised, where it is waited for
                begun = self._begin(items, heads)
        return partial(self._finish, items, heads, begun)

    def _finish(self, items: Sequence[Prepared], heads: Sequence[Head], begun: Begun | None) -> list[Output]:
        dearest, again = max(item.cost for item in items), True
        while again:
            outputs = self._attempt(items, heads, begun)
            if outputs is not None:
                return outputs
            begun = None
            free()
            again = self._part.ran_out(dearest) if len(items) > 1 else False
        size = f"the largest has {dearest} tokens, pixels or samples, {free_memory(self._device)}"
        problem = f"model {self._name}: {len(items)} {self.inputs} do not fit in memory ({size})"
        raise OutOfMemory(problem, hint="set a smaller batch under encode")

    def _attempt(self, items: Sequence[Prepared], heads: Sequence[Head], begun: Begun | None) -> list[Output] | None:
        """The outputs; None when memory ran out: by then no traceback keeps the tensors of the failed batch alive."""
        start = time.perf_counter()
        try:
            outputs = self._passed(items, heads, begun)
        except Exception as error:
            if not is_out_of_memory(error):
                problem = f"model {self._name} failed on {len(items)} {self.inputs} ({type(error).__name__})"
                raise EncodeError(problem, hint="try precision: fp32 or a smaller batch under encode") from error
            return None
        self._part.took(sum(item.cost for item in items), time.perf_counter() - start)
        return outputs

    def padded(self, items: Sequence[Prepared]) -> int:
        """What a batch costs in parts, padding included."""
        return sum(self._cost(part) for part in self._parts(items, self._part.now))

    def _cost(self, part: Sequence[Prepared]) -> int:
        """What a part costs, padding included."""
        return len(part) * max(item.cost for item in part)

    def tune(self, model: ModelIdentity) -> None:
        """Lets the size of parts be found by measurement, on a GPU, and remembered for this model on this machine."""
        if isinstance(self._runner, Staging):
            facts = {"device": device_name(self._device), "cores": CORES, "precision": self.precision, "torch": torch.__version__}
            self._part = PartSize(self._part.now, cache_key(model=asdict(model), **facts))

    def pack(self) -> None:
        """Lays the weights out for this processor."""
        if self.packs:
            pack(self._network, fuse=True)

    def compile(self) -> None:
        """Has torch compile the network when it is first needed, for inputs of any shape, and its parts, which some models call."""
        self._compile(self._network)

    def _compile(self, network: Any) -> None:
        for module in (network, *network.children()):
            module.compile(dynamic=True)
            self._compiled.append(module)

    def _passed(self, items: Sequence[Prepared], heads: Sequence[Head], begun: Begun | None) -> list[Output]:
        """The pass itself, if it has not begun; may raise anything."""
        try:
            return (begun or self._begin(items, heads))()
        except Exception as error:
            if not self._compiled or is_out_of_memory(error):
                raise
            said = " ".join(str(error).split())[:200]
            self.notes.append(f"`compile` failed, and the network runs as it is: {type(error).__name__}: {said}")
            log.warning("model %s: %s", self._name, self.notes[-1])
        while self._compiled:
            self._compiled.pop()._compiled_call_impl = None  # noqa: SLF001 - torch has no way back of its own
        return self._begin(items, heads)()

    def _begin(self, items: Sequence[Prepared], heads: Sequence[Head]) -> Begun:
        """Hands the parts to what runs them."""
        begun = self._runner.start(lambda: self._parts(items, self._part.now), self._arrays, partial(self._compute, heads=heads))
        return lambda: [joined(one) for one in zip(*begun(), strict=True)]

    @abc.abstractmethod
    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        """Consecutive parts of the items, each of one item or of at most `most` in cost, padding included."""

    @abc.abstractmethod
    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        """What the network reads of a part, as numpy arrays."""

    @abc.abstractmethod
    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        """A part's pass over these arrays as tensors where the network is; one output a head."""

    def close(self) -> None:
        """Frees the weights."""
        self._runner.close()
        self._network = None
        self._compiled.clear()
        free()
        give_back()


def _parts(runner: Lanes | Staging) -> int:
    """How many parts a micro-batch has."""
    if isinstance(runner, Staging):
        return PARTS_A_GPU
    return 1 if runner.count == 1 else runner.count * PARTS_A_LANE
