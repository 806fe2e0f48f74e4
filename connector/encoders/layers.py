"""Names of hidden states, each in its one form, and the hidden state behind a name. Needs no torch.

A name is part of an identity, so there is one for each thing:

    "last"           what the network gives at its end
    "0"              the embeddings
    "1" ...          the output of that block; the number of the last block becomes "last", and -2 is counted from the end
    "last:4"         the mean of the last four
    "projected"      "last", and after the pooling through the projections that a model's folder states
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

LAST, PROJECTED = "last", "projected"
_DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_NUMBER = re.compile(r"-?\d{1,4}")


def depth_of(config: dict[str, Any]) -> int | None:
    """How many blocks config.json states; None: it does not say."""
    found = next((config[name] for name in _DEPTHS if isinstance(config.get(name), int)), None)
    return found if found and found > 0 else None


def canonical(layer: str | None, depth: int | None) -> str | None:
    """The one form of a layer's name; one that is not understood stays as it is, to be refused."""
    if layer is None or depth is None:
        return layer
    lead, colon, count = layer.partition(":")
    if lead == LAST and colon and count.isdecimal():
        return LAST if int(count) == 1 else f"{LAST}:{int(count)}"
    if not _NUMBER.fullmatch(layer):
        return layer
    number = int(layer)
    number += depth + 1 if number < 0 else 0
    return LAST if number == depth else str(number)


def names(depth: int | None) -> tuple[str, ...]:
    """Every valid name in its one form; the first is the default."""
    return (LAST,) if depth is None else (LAST, *map(str, range(depth)), *(f"{LAST}:{count}" for count in range(2, depth + 1)))


def needs_states(layer: str | None) -> bool:
    """Whether a layer needs more than what the network gives at its end."""
    return layer is not None and (layer.startswith(f"{LAST}:") or layer.isdecimal())


def taken(layer: str | None, last: Any, states: Sequence[Any] | None, depth: int) -> Any:
    """A layer's hidden states.

    Args:
        layer: In its one form.
        last: What the network gives at its end: (n, positions, dim).
        states: The embeddings and the output of every block; None if no layer needs them.
        depth: Number of blocks.

    Raises:
        ValueError: The network gave another number of states, so that a number means something else.
    """
    if not needs_states(layer):
        return last
    if states is None or len(states) != depth + 1:
        raise ValueError(f"{len(states or ())} hidden states of a network with {depth} blocks")
    lead, _, count = str(layer).partition(":")
    if lead != LAST:
        return states[int(lead)]
    some = [*states[-int(count) : -1], last]
    return sum(one.float() for one in some) / len(some)
