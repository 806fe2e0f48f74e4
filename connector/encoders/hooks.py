"""Looks into a network of the user's while it runs: any layer by its dotted path, what it gives or what it is given. Needs torch.

What is wanted is pooled the moment that the layer gives it, before anything later can write into it, and the pass ends when nothing more
is wanted. Each lane keeps its own: they share the network.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from connector.encoders.tapping import taken
from connector.encoders.taps import Tap
from connector.encoders.vectors import Late
from connector.errors import ConfigError
from connector.interfaces import Head

INPUT = "input:"
"""Before the name of a layer: what it is given."""

PENULTIMATE, OUTPUT = "penultimate", "output"
"""What the last layer with weights is given, and what the network gives."""

_BATCH = 37
"""Inputs of a trial pass; no weight has this length, so what has it is one output an input."""


class _EnoughError(Exception):
    """Ends a pass of which nothing more is wanted."""


def watch(network: Any, see: Any) -> list[Any]:
    """Has `see(name, tensor)` called for whatever each layer is given and gives; returns what ends it (`remove()`)."""
    handles = []
    for name, layer in network.named_modules():
        if name:
            handles.append(layer.register_forward_pre_hook(partial(_given, see, f"{INPUT}{name}")))
            handles.append(layer.register_forward_hook(partial(_gives, see, name)))
    return handles


def _given(see: Any, name: str, _layer: Any, inputs: tuple[Any, ...]) -> None:
    if inputs:
        see(name, inputs[0])


def _gives(see: Any, name: str, _layer: Any, _inputs: Any, output: Any) -> None:
    see(name, output)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch's types are not read
def listed(network: Any, shape: Sequence[int], device: str) -> dict[str, Any]:
    """The layers of a network, by a trial pass, as JSON values.

    Returns:
        `layers`: what each gives (`Tap`), the network's own output first. `aliases`: other names of the same. `repeated`: how often a
        layer is used that is used more than once. `places`: what `penultimate` stands for.
    """
    seen: dict[str, list[tuple[Any, int]]] = {}

    def see(name: str, tensor: Any) -> None:
        if isinstance(tensor, torch.Tensor):
            seen.setdefault(name, []).append((tensor, tensor._version))  # noqa: SLF001 - counts what was written into it

    handles = watch(network, see)
    count = _BATCH if device == "meta" else 3
    see(OUTPUT, network(torch.zeros(count, *shape, device=device)))
    for handle in handles:
        handle.remove()
    last = _last(network, [name for name in seen if name.startswith(INPUT)])
    names = [OUTPUT, *([PENULTIMATE] if last else []), *sorted(seen, key=lambda name: (name.startswith(INPUT), name.count(".")))]
    return _named(seen, {PENULTIMATE: last} if last else {}, list(dict.fromkeys(names)), count)


def _last(network: Any, inputs: Sequence[str]) -> str | None:
    """What the last layer with weights of its own is given."""
    with_weights = [name for name in inputs if list(network.get_submodule(name.removeprefix(INPUT)).parameters(recurse=False))]
    return with_weights[-1] if with_weights else None


def _named(seen: dict[str, list[tuple[Any, int]]], places: dict[str, str], names: list[str], count: int) -> dict[str, Any]:
    layers: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[int, int], str] = {}
    for name in names:
        tensors = seen[places.get(name, name)]
        tensor, version = tensors[0]
        if len(tensors) > 1 or not tensor.is_floating_point() or tensor.ndim < 2 or tensor.shape[0] != count:  # noqa: PLR2004 - inputs, numbers
            continue
        known = first.setdefault((id(tensor), version), name)
        if known == name:
            layers[name] = Tap(tuple(tensor.shape[1:])).to_json()
        else:
            aliases[name] = known
    repeated = {name: len(tensors) for name, tensors in seen.items() if len(tensors) > 1}
    return {"layers": layers, "aliases": aliases, "repeated": repeated, "places": places}


class Watched:
    """A network whose layers can be taken out of one pass.

    Args:
        network: In evaluation mode.
        layers: What each gives.
        places: What names stand for that are no paths.
    """

    def __init__(self, network: Any, layers: Mapping[str, Tap], places: Mapping[str, str]) -> None:
        self._layers, self._places = layers, places
        self._lane = threading.local()
        watch(network, self._see)

    def take(self, network: Any, inputs: Any, heads: Sequence[Head]) -> list[Late]:
        """What each head takes, in one pass, which ends as soon as all is there."""
        places = [self._places.get(str(head.layer), str(head.layer)) for head in heads]
        found: dict[int, Late] = {}
        self._lane.heads, self._lane.places, self._lane.found = heads, places, found
        try:
            output = network(inputs)
        except _EnoughError:
            pass
        else:
            self._see(OUTPUT, output, enough=False)
        finally:
            self._lane.found = {}  # tensors are the caller's to hold, or nobody's if the pass failed
        missing = [heads[index].layer for index in range(len(heads)) if index not in found]
        if missing:
            raise ConfigError(f"layer `{missing[0]}` was not used in this pass", hint="name a layer that every input goes through")
        return [found[index] for index in range(len(heads))]

    def _see(self, name: str, tensor: Any, *, enough: bool = True) -> None:
        lane = self._lane
        for index, place in enumerate(lane.places):
            if place == name:
                head = lane.heads[index]
                lane.found[index] = _own(taken(tensor, self._layers[str(head.layer)], head), tensor)
                if enough and len(lane.found) == len(lane.places):
                    raise _EnoughError


def _own(late: Late, tensor: Any) -> Late:
    """With memory of its own, where a vector is nothing but a layer's output: later layers may write there."""
    shared = tensor.untyped_storage().data_ptr()
    return replace(late, tensors=[one.clone() if one.untyped_storage().data_ptr() == shared else one for one in late.tensors])
