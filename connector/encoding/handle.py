"""Encodes a list of inputs outside of a run: for search, for probes, and for people who only want vectors.

It goes the same way as a run does: the same preparation, micro-batches and checks, so a query's vector is comparable with the stored ones.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from connector.encoding.binding import Binding
from connector.encoding.microbatches import EncodingCounters, Replica, checked, empty, faults
from connector.encoding.probing import Goldens, Probed, opened
from connector.encoding.quantising import QUANTISED, fit, quantised
from connector.encoding.queries import modality_of, unwrapped
from connector.errors import ConfigError, EncodeError, RowError
from connector.interfaces import DeviceSpec, Encoder, Head, Prepared, Role, VectorSpec
from connector.stopwatch import Stopwatch


class EncoderHandle:
    """An encoder, one head of it, and a device: inputs in, vectors out. The model is loaded at first use and stays until `close`.

    Args:
        encoder: The encoder.
        head: What to take from it; default the model's own embedding.
        device: Where and how to compute.
        goldens: What the stamp of the collection that is searched knows of the encoder.
        field: The field that is searched, if there is one.
        further: More fields that take something from the same encoder, in the same forward passes.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: Head | None = None,
        device: DeviceSpec | None = None,
        *,
        goldens: Goldens | None = None,
        field: Probed | None = None,
        further: Sequence[Probed] = (),
    ) -> None:
        self.encoder = encoder
        self.head = encoder.resolve(head or Head())
        self.counters = EncodingCounters()
        self._device = device or DeviceSpec()
        self._goldens, self._fields = goldens or Goldens(), [*([field] if field else []), *further]
        self._takes = [(field.name if field else "", self.head), *((one.name, encoder.resolve(one.head)) for one in further)]
        self._replica: Replica | None = None
        self._open = contextlib.ExitStack()

    def encode(self, inputs: Sequence[Any], role: Role = "document") -> npt.NDArray[np.generic]:
        """Vectors (n, dim), row i for input i; an array of n objects where vectors have no fixed length.

        They are float32, except for a head of dtype int8 (n, dim), binary (n, dim / 8) uint8, or float16.

        Args:
            inputs: Texts, or whatever else the encoder reads. One that reads text and something else takes `str` for text: wrap the path of
                a picture as `Image("x.jpg")`.
            role: "document" for what is stored, "query" for what is searched for.

        Raises:
            RowError: An input cannot be encoded; the message names its place.
            EncodeError: The model failed, or gave numbers that are not finite.
            ConfigError: int8 vectors are wanted, and no scale was fitted.
        """
        return self.encode_fields(inputs, role)[0]

    def encode_fields(self, inputs: Sequence[Any], role: Role = "document") -> list[npt.NDArray[np.generic]]:
        """As `encode`, for the head and for every further field, in their order; each input goes through the model once."""
        scales = self._goldens.scales
        if any(head.dtype == "int8" and name not in scales for name, head in self._takes):
            raise ConfigError("int8 vectors need a scale that is the same for all of them", hint="call fit(sample of inputs) once")
        found = zip(self._takes, self._encode(inputs, role), strict=True)
        return [_stored(vectors, head.dtype, scales.get(name)) for (name, head), vectors in found]

    def fit(self, sample: Sequence[Any]) -> float:
        """Fits the scale of int8 vectors on a sample of inputs, a few hundred at least; what one step is worth.

        Raises:
            RowError: An input cannot be encoded.
            EncodeError: The model failed.
        """
        scale = fit(self._encode(sample, "document")[0])
        self._goldens.add(Goldens(scales={self._takes[0][0]: scale}))
        return scale

    def _encode(self, inputs: Sequence[Any], role: Role) -> list[npt.NDArray[np.generic]]:
        if isinstance(inputs, str | bytes):
            raise ConfigError(f"encode() takes a list of inputs, not one {type(inputs).__name__}", hint="write encode([text])")
        places: dict[str, list[int]] = {}
        for place, value in enumerate(inputs):
            places.setdefault(modality_of(value, self.encoder.inputs), []).append(place)
        specs = [self.encoder.spec(head) for _, head in self._takes]
        vectors = [empty(len(inputs), spec) for spec in specs]
        for modality, some in places.items():
            if modality not in self.encoder.inputs:
                raise RowError(f"input {some[0]}: {modality}, but the encoder reads {' and '.join(sorted(self.encoder.inputs))}")
            prepare = self.encoder.preparer(role, modality)
            items = [_prepared(prepare, place, unwrapped(inputs[place])) for place in some]
            for place, taken in self._vectors(items, some, specs):
                for array, vector in zip(vectors, taken, strict=True):
                    array[place] = vector
        return vectors

    def _vectors(self, items: list[Prepared], places: list[int], specs: list[VectorSpec]) -> Iterator[tuple[int, Sequence[Any]]]:
        """Each item's place with its vectors, one a head, in the order of computation."""
        name = f"{self.encoder.model.kind}:{self.encoder.model.model}"
        for done in self._running(name).run(items, [head for _, head in self._takes]):
            indices = done.indices
            if done.outputs is None:
                raise EncodeError(f"input {places[indices[0]]} {done.problem}", hint="cut it, or use a larger machine")
            for index, reason in done.refused.items():
                raise RowError(f"input {places[indices[index]]}: {reason}")
            taken = [checked(output, spec, len(indices), name) for output, spec in zip(done.outputs, specs, strict=True)]
            for index, reason in (one for output in taken for one in faults(output, "").items()):
                raise EncodeError(f"input {places[indices[index]]}: {reason}", hint="try precision fp32")
            yield from ((places[index], vectors) for index, *vectors in zip(indices, *taken, strict=True))

    def _running(self, name: str) -> Replica:
        if self._replica is None:
            model = self._open.enter_context(opened(self.encoder, self._device, self._fields, self._goldens, name))
            self._replica = Replica(model, name, self.counters, Stopwatch(), threading.Event())
        return self._replica

    def close(self) -> None:
        """Frees the model; the next `encode` loads it again."""
        self._replica = None
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _stored(vectors: npt.NDArray[np.generic], dtype: str | None, scale: float | None) -> npt.NDArray[np.generic]:
    """The vectors as a field of this type holds them."""
    if dtype in QUANTISED:
        return quantised(vectors, str(dtype), scale)
    return vectors.astype(np.float16) if dtype == "float16" and vectors.dtype == np.float32 else vectors


def _prepared(prepare: Any, place: int, value: Any) -> Prepared:
    try:
        prepared: Prepared = prepare(value)
    except RowError as error:
        raise RowError(f"input {place}: {error.message}", hint=error.hint) from None
    return prepared


def encode_query(binding: Binding, inputs: Sequence[Any], device: DeviceSpec | None = None) -> npt.NDArray[np.generic]:
    """Vectors of what is searched for in a bound field. Loads the model and frees it; keep an `EncoderHandle` for many searches.

    Raises:
        RowError: An input cannot be encoded.
        EncodeError: The model failed.
    """
    with EncoderHandle(binding.encoder, binding.head, device) as handle:
        return handle.encode(inputs, role="query")
