"""Cuts a network open at any of its nodes: every module and every operation between them has a name, as torchvision names them.

The network is traced once. What a set of nodes needs is cut out of the trace, so nothing after the deepest of them is computed. Batch
normalisation is folded into the convolution before it only where nobody wants what stands between the two.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from connector.encoders.taps import Tap

_BATCH = 37
"""Inputs of a trial pass; no weight has this length, so what has it is one output an input."""

_IN_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul, operator.isub: operator.sub}


class Traced:
    """A network and the trace of one pass through it.

    Args:
        network: In evaluation mode; its modules are used, not copied.
    """

    def __init__(self, network: Any) -> None:
        train, names = get_graph_node_names(network, suppress_diff_warning=True)
        given = {"train_return_nodes": train[-1:], "eval_return_nodes": names, "suppress_diff_warning": True}
        self._traced: Any = create_feature_extractor(network, **given).eval()
        self._nodes: dict[str, Any] = dict(_output(self._traced.graph).args[0])

    @property
    def head(self) -> str:
        """The module that gives the classes: the last one with weights."""
        modules = [node for node in self._traced.graph.nodes if node.op == "call_module"]
        return next(str(node.target) for node in reversed(modules) if list(self._traced.get_submodule(node.target).parameters()))

    @property
    def penultimate(self) -> str:
        """The node that the classifier reads."""
        [node] = [node for node in self._traced.graph.nodes if node.op == "call_module" and node.target == self.head][-1:]
        return next(name for name, one in self._nodes.items() if one is node.args[0])

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch's types are not read
    def taps(self, size: Sequence[int]) -> dict[str, Tap]:
        """What each node gives for an input of this size, in order; nodes that give no numbers an input are left out.

        Args:
            size: Channels, height, width. The network is on the meta device.
        """
        outputs = self._traced(torch.empty(_BATCH, *size, device="meta"))
        return {name: _tap(tuple(one.shape[1:])) for name, one in outputs.items() if _an_input(one)}

    def cut(self, names: Sequence[str], *, intact: bool) -> Any:
        """A network that gives the outputs of these nodes, as a tuple.

        Args:
            names: Of nodes.
            intact: Whether a node's output has to be kept from operations that write into their input; needed unless nothing follows it.
        """
        graph: Any = fx.Graph()
        copies: dict[Any, Any] = {}
        graph.graph_copy(self._traced.graph, copies)
        graph.output(tuple(copies[self._nodes[name]] for name in names))
        network = fx.GraphModule(self._traced, graph)
        network.graph.eliminate_dead_code()
        network.delete_all_unused_submodules()
        network = copy.deepcopy(network)
        if intact:
            _write_nowhere(network)
        return fuse(network, inplace=True, no_trace=True).eval()


def _output(graph: Any) -> Any:
    return next(node for node in graph.nodes if node.op == "output")


def _an_input(output: Any) -> bool:
    return isinstance(output, torch.Tensor) and output.is_floating_point() and output.ndim > 1 and output.shape[0] == _BATCH


def _tap(shape: tuple[int, ...]) -> Tap:
    """A map's equal sides are its height and width: pictures are square."""
    return Tap(shape, last=len(shape) == 3 and shape[0] == shape[1] != shape[2])  # noqa: PLR2004 - a map


def _write_nowhere(network: Any) -> None:
    """Makes every operation give a tensor of its own."""
    for layer in network.modules():
        if getattr(layer, "inplace", False) and isinstance(layer, nn.Module):
            layer.inplace = False
    for node in network.graph.nodes:
        node.target = _IN_PLACE.get(node.target, node.target)
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
    network.recompile()
