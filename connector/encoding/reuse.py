"""Looks for vectors that were paid for before, for all the fields that one forward pass fills, and keeps new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from connector.encoding.probing import Goldens
from connector.encoding.vectorcache import Vector, VectorCache, input_key
from connector.flow import Aside
from connector.interfaces import Output, identity

if TYPE_CHECKING:
    from connector.encoding.binding import Binding


class Reuse:
    """A cache as ENCODE sees it.

    Args:
        cache: Where the vectors are; None: nothing is kept.
        goldens: Of the generation.
    """

    def __init__(self, cache: VectorCache | None, goldens: Goldens) -> None:
        self._cache = cache
        self._goldens = goldens
        self._known: dict[str, int] = {}

    def keyed(self, inputs: Sequence[Any], modality: str) -> list[tuple[bytes | None, Any]]:
        """Each input's key (None without a cache, or without content), and the input as it is to be prepared."""
        return [(None, value) for value in inputs] if self._cache is None else [input_key(value, modality) for value in inputs]

    def find(self, bindings: Sequence[Binding], keys: Sequence[bytes]) -> dict[bytes, list[Vector]]:
        """One vector a field, for every input that is known to all of them."""
        spaces = self.spaces(bindings)
        if self._cache is None or spaces is None or not keys:
            return {}
        found = [self._cache.find(space, keys) for space in spaces]
        return {key: [one[key] for one in found] for key in keys if all(key in one for one in found)}

    def add(self, bindings: Sequence[Binding], keys: Mapping[int, bytes], outputs: Sequence[Output]) -> None:
        """Keeps new vectors.

        Args:
            bindings: The fields.
            keys: Of the inputs that have one and whose vectors are fit, by place in the outputs.
            outputs: One a field.
        """
        spaces = self.spaces(bindings)
        if self._cache is None or spaces is None:
            return
        for space, output in zip(spaces, outputs, strict=True):
            self._cache.add(space, {key: output[place] for place, key in keys.items()})

    def seal(self, aside: Aside | None) -> Callable[[], None]:
        """What a window needed is there, and goes to disk.

        Args:
            aside: Writes it; None: whoever waits for it does.

        Returns:
            A function that waits until it is there.
        """
        if self._cache is None:
            return lambda: None
        self._cache.seal()
        return self._cache.keep if aside is None else aside.do(self._cache.keep).result

    def spaces(self, bindings: Sequence[Binding]) -> list[int] | None:
        """Where each field's vectors are; None where one cannot be told yet."""
        if self._cache is None or any(binding.ragged for binding in bindings):
            return None
        spaces: list[int] = []
        for binding in bindings:
            name = binding.field.name
            if name not in self._known:
                space = self._cache.space(identity(binding.encoder, binding.head), name, self._goldens)
                if space is None:
                    return None
                self._known[name] = space
            spaces.append(self._known[name])
        return spaces


def output_of(vectors: Sequence[Vector]) -> Any:
    """Kept vectors as a model gives them: (n, dim) float32, or a list of sparse ones."""
    return list(vectors) if isinstance(vectors[0], Mapping) else np.stack([np.asarray(one) for one in vectors])
