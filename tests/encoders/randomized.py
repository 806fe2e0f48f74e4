"""Makes random networks fair models: numbers of the size that training leaves, so that rounding shows as it would in a real one."""

from __future__ import annotations

from typing import Any


def settle(network: Any, seed: int = 3) -> Any:
    """The network in evaluation mode with statistics of normalisation that are not all zeros and ones."""
    import torch

    torch.manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
            torch.nn.init.normal_(layer.running_mean, std=0.2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    return network.eval()
