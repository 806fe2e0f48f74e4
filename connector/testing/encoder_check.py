"""Checks that an encoder keeps the contract of `interfaces.Encoder`; for the tests of any package that brings one.

Each failure is an AssertionError whose message says which promise is broken.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.interfaces import DeviceSpec, Encoder, Head, Model, Prepared, VectorSpec

TEXTS = (
    "one",
    "two words",
    "A passage of some more words, so that batches hold inputs of several lengths.",
    "Grüße, 世界!",
    "the last one is long " * 12,
)
"""Inputs for an encoder of texts."""


def check_encoder(make: Callable[[], Encoder], inputs: Sequence[Any] = TEXTS, *, tolerance: float = 1e-5) -> None:
    """Checks everything that can be checked on a CPU.

    Args:
        make: Builds the encoder; called twice.
        inputs: A few inputs that it reads, of different sizes.
        tolerance: How far, relative to a vector's length, one input alone may differ from the same input in a batch (fp32).

    Raises:
        AssertionError: A promise is broken.
    """
    encoder = make()
    _promise(encoder.model == make().model, "two encoders made alike must have one identity")
    _promise("/" not in encoder.model.model[:1], "an identity names no path")
    head = encoder.resolve(Head())
    _promise(encoder.resolve(head) == head, "resolve() must leave a resolved head as it is")
    spec = encoder.spec(Head())
    _promise(spec == encoder.spec(head), "spec() must be the same before and after resolve()")
    _promise(spec.kind != "dense" or (spec.dim or 0) > 0, "the dimension must be known before any weights are loaded")
    _check_prompts(encoder)
    items = _prepared(encoder, inputs)
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        _promise(model.budget > 0, "the budget must be at least 1")
        _check_outputs(model, items, head, spec, tolerance)


def _promise(kept: object, promise: str) -> None:
    """An assertion that `python -O` does not take out."""
    if not kept:
        raise AssertionError(promise)


def _check_prompts(encoder: Encoder) -> None:
    _promise(encoder.inputs, "an encoder reads at least one kind of input")
    if encoder.text is not None:
        _promise(encoder.text.tokenizer.is_file(), "text.tokenizer must be a file")
        _promise(encoder.text.max_tokens > 0, "text.max_tokens must leave room for text")


def _prepared(encoder: Encoder, inputs: Sequence[Any]) -> list[Prepared]:
    prepare = encoder.preparer("document")
    items = [prepare(value) for value in inputs]
    again = pickle.loads(pickle.dumps(prepare))  # noqa: S301 - our own object, pickled one line ago
    for value, item in zip(inputs, items, strict=True):
        _promise(item.cost > 0, "every input costs something")
        _promise(item.nbytes > 0, "prepared inputs must state their size")
        _promise(again(value).cost == item.cost, "a preparer must be the same after pickling")
    encoder.preparer("query")(inputs[0])
    return items


def _check_outputs(model: Model, items: list[Prepared], head: Head, spec: VectorSpec, tolerance: float) -> None:
    both = model.forward(items, [head, head])
    _promise(len(both) == 2, "one output a head")  # noqa: PLR2004 - the two heads of the line above
    output = both[0]
    _promise(len(output) == len(items), "one row an input")
    if spec.kind != "dense":
        return
    vectors = _dense(output)
    _promise(vectors.shape == (len(items), spec.dim), f"vectors of shape {vectors.shape}, promised {(len(items), spec.dim)}")
    for index, item in enumerate(items):
        alone = _dense(model.forward([item], [head])[0])[0]
        error = float(np.linalg.norm(alone - vectors[index])) / max(float(np.linalg.norm(vectors[index])), 1e-12)
        _promise(error <= tolerance, f"input {index} differs by {error:.1e} alone and in a batch of {len(items)}: padding leaks")


def _dense(output: Any) -> npt.NDArray[np.float32]:
    if not isinstance(output, np.ndarray):
        raise AssertionError(f"{type(output).__name__}, promised an array")  # noqa: TRY004 - a check fails
    _promise(output.dtype == np.float32, f"{output.dtype}, promised float32")
    _promise(np.isfinite(output).all(), "numbers that are not finite")
    return output
