"""Runs a loaded text model: token ids in, one float32 vector a head and input out.

A micro-batch goes through in parts of about the same size, padded to their own longest input or a little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from connector.encoders.attention import fill
from connector.encoders.heads import RAGGED
from connector.encoders.lanes import LaneModel
from connector.encoders.layers import PROJECTED, needs_states, taken
from connector.encoders.parts import cut
from connector.encoders.pretrained import pretrained
from connector.encoders.projection import Projections
from connector.encoders.sentence_modules import Projection
from connector.encoders.shapes import Shapes
from connector.encoders.torch_device import part_of
from connector.encoders.vectors import Late, pooled
from connector.interfaces import DeviceSpec, Head, ModelIdentity, Prepared


def load(folder: Path, name: str, spec: DeviceSpec, *, pad_id: int, projections: Sequence[Projection] = ()) -> TextModel:
    """The model in a folder, on the device of `spec`.

    Raises:
        ConfigError: The device or precision is not there, or the weights are broken or not this model's.
    """
    network, precision = pretrained(transformers.AutoModel, folder, name, spec)
    after = Projections(projections, name, pickle=spec.allow_pickle_weights).to(network.device)
    return TextModel(network, name, precision, part_of(spec, network.device), pad_id, after)


class TextModel(LaneModel):
    """A text model on one device; used by one thread at a time.

    Args:
        network: Gives `last_hidden_state` for `input_ids` and `attention_mask`.
        name: For messages.
        precision: What it computes in.
        part: Padded tokens that go through the network at once.
        pad_id: Token id that fills the shorter inputs up.
        after: What a head of the layer `projected` goes through after the pooling.
    """

    inputs = "inputs"

    def __init__(self, network: Any, name: str, precision: str, part: int, pad_id: int, after: Any = None) -> None:
        super().__init__(network, name, precision, part, network.device)
        self._pad_id = pad_id
        self._after = after
        self._shapes: Shapes | None = None

    def pack(self) -> None:
        """Lays the weights out for this processor, and has attention read what suits it."""
        super().pack()
        if self.device.type == "cpu":
            fill(self._network)

    def tune(self, model: ModelIdentity) -> None:
        """Lets the size of parts be found, and the number of their positions be one that there was, where a new one costs something."""
        super().tune(model)
        if self.precision == "bf16" and self.device.type == "cpu":
            self._shapes = Shapes()

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        return cut(items, most, self.device.type)

    def whole(self, items: Sequence[Prepared], cost: int) -> int:
        """How many of these items fill the parts that a micro-batch of this cost has: what is left over would be a small part."""
        count = spent = 0
        for part in self._parts(items, self._part.now):
            spent += len(part) * max(item.cost for item in part)
            if count and spent > cost:
                break
            count += len(part)
        return count

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        return batch([item.data for item in items], self._pad_id, self._positions(items))

    def _positions(self, items: Sequence[Prepared]) -> int:
        """To how many positions a part is padded."""
        longest = max(item.cost for item in items)
        return longest if self._shapes is None else self._shapes.positions(len(items), longest)

    def _cost(self, part: Sequence[Prepared]) -> int:
        return len(part) * self._positions(part)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        padded, read, counted = tensors
        return self._heads({"input_ids": padded, "attention_mask": read}, counted, heads)

    def _heads(self, inputs: dict[str, Any], counted: Any, heads: Sequence[Head]) -> list[Late]:
        """One pass, and what each head takes of it; `counted` marks the positions that are pooled."""
        given = self._network(**inputs, output_hidden_states=any(needs_states(head.layer) for head in heads))
        return [self._taken(given.last_hidden_state, given.hidden_states, inputs["attention_mask"], counted, head) for head in heads]

    def _taken(self, last: Any, states: Any, read: Any, counted: Any, head: Head) -> Late:
        """A dense head's output; the token matrix holds a prompt that is left out of the pooling, too."""
        hidden = taken(head.layer, last, states, getattr(self._network.config, "num_hidden_layers", 0))
        return pooled(hidden, read if head.pooling == RAGGED else counted, head, self._after if head.layer == PROJECTED else None)

    def close(self) -> None:
        """Frees the weights."""
        self._after = None
        super().close()


def batch(ids: Sequence[Any], pad_id: int, positions: int) -> tuple[Any, Any, Any]:
    """Inputs padded at their ends: token ids, where they are to be read, where they are to be pooled; int64 (n, positions).

    Args:
        ids: Token ids of each input, `~id` where a position is not pooled.
        pad_id: Fills up.
        positions: To how many; no input has more.
    """
    lengths = np.asarray([len(one) for one in ids])
    padded = np.full((len(ids), positions), pad_id, dtype=np.int64)
    for row, one in zip(padded, ids, strict=True):
        row[: len(one)] = one
    read = np.arange(padded.shape[1]) < lengths[:, None]
    counted = read & (padded >= 0)
    return np.where(padded < 0, ~padded, padded), read.astype(np.int64), counted.astype(np.int64)
