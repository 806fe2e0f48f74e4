"""SPLADE: text to sparse vectors of weighted tokens, by a masked language model of the `transformers` library.

A token weighs log(1 + relu(logit)), the largest over the positions of the text (Formal et al., SPLADE v2, 2021), so a text is also found
by words that it does not hold. The hidden states of the same network can be taken as dense vectors, in the same pass.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from connector.encoders.describe import TextModelDescription
from connector.encoders.heads import Offer
from connector.encoders.transformers import TransformersEncoder
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, VectorSpec

ACTIVATIONS = ("relu", "log1p_relu")
"""What becomes of a logit: log(1 + relu), or the log of 1 plus that. They are the layers that give sparse vectors."""

STRATEGIES = ("max", "sum")
"""How the weights of the positions become one: SPLADE v2 takes the largest, the first SPLADE their sum."""


class SpladeEncoder(TransformersEncoder):
    """Text to sparse vectors, by a model with its masked-language head: a SPLADE folder of sentence-transformers, or a plain one.

    It takes the arguments of `transformers`, without which it follows the model's folder.
    """

    kind = "splade"

    def _checked(self, about: TextModelDescription) -> TextModelDescription:
        stated = about.modules.sparse or {}
        asked = (("activation_function", ACTIVATIONS), ("pooling_strategy", STRATEGIES))
        for key, valid in asked:
            if stated.get(key, valid[0]) not in valid:
                problem = f"model {self._name}: its SpladePooling states {key} {stated[key]}, which is not supported"
                raise ConfigError(problem, hint=f"valid: {', '.join(valid)}")
        return about

    def spec(self, head: Head) -> VectorSpec:
        """A sparse vector, of at most `truncate_dim` weights if that is given; dense for a hidden state.

        Raises:
            ConfigError: As `resolve`.
        """
        filled = self.resolve(head)
        return VectorSpec("sparse", None, "sparse") if filled.dtype == "sparse" else super().spec(filled)

    def _named(self, head: Head) -> Head:
        sparse = head.layer in {None, *ACTIVATIONS} and head.dtype == "float32"  # float32 is what a head says when it says nothing
        return super()._named(replace(head, dtype="sparse") if sparse else head)

    def _offer(self, head: Head) -> Offer:
        stated = self._about.modules.sparse or {}
        activations = _first(stated.get("activation_function"), ACTIVATIONS)
        if head.layer in {None, *ACTIVATIONS}:
            strategies = _first(stated.get("pooling_strategy"), STRATEGIES)
            width, most = self._about.vocabulary or 0, self._about.max_active
            return Offer(self._name, width, activations, strategies, truncate_dim=most, dtypes=("sparse",))
        dense = super()._offer(head)
        return replace(dense, layers=(*dense.layers, *activations))

    def _network(self, folder: Path, device: DeviceSpec) -> Any:
        from connector.encoders.splade_model import load_splade

        return load_splade(folder, self._name, device, pad_id=self._about.pad_id)


def _first(stated: str | None, valid: tuple[str, ...]) -> tuple[str, ...]:
    """The valid ones, the stated one first."""
    return tuple(dict.fromkeys((stated or valid[0], *valid)))
