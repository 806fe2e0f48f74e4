"""Pictures are resized, cropped and scaled exactly as the image processor of a model's folder does it; the rest is refused."""

from __future__ import annotations

import importlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from connector.encoders.image_processor import PROCESSORS, ImageProcessor, read_processor
from connector.encoders.resizing import ImagePreparer
from connector.errors import ConfigError, RowError
from tests.pictures import encoded, pixels

SIZES = [(40, 30), (30, 41), (300, 211), (33, 500), (64, 64), (32, 32), (500, 401), (10, 12), (11, 13)]
MODULES = {"Beit": "beit", "Bit": "bit", "CLIP": "clip", "ConvNext": "convnext", "DeiT": "deit", "Siglip": "siglip", "ViT": "vit"}

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("ViTImageProcessor", {"size": 32}),
    (
        "ViTImageProcessor",
        {"size": {"height": 48, "width": 32}, "resample": 3, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
    ),
    ("ViTImageProcessor", {"size": 32, "do_normalize": False}),
    ("ViTImageProcessor", {"size": 32, "rescale_factor": 1 / 127.5, "image_mean": 1.0, "image_std": 1.0}),
    ("ViTImageProcessor", {"size": 32, "do_rescale": False, "image_mean": [127.0, 127.0, 127.0], "image_std": [64.0, 64.0, 64.0]}),
    ("ViTFeatureExtractor", {"size": 32, "resample": 0}),
    ("BitImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}),
    ("CLIPImageProcessor", {"size": 36, "crop_size": 31}),
    ("CLIPImageProcessor", {"size": 30, "crop_size": 33}),
    ("CLIPImageProcessor", {"do_resize": False, "crop_size": [29, 34]}),
    ("CLIPImageProcessor", {"size": 36, "default_to_square": True, "crop_size": 32, "resample": 1}),
    ("DeiTImageProcessor", {"size": 40, "crop_size": 32, "resample": 5}),
    ("BeitImageProcessor", {"size": 32, "do_center_crop": True, "crop_size": 30, "resample": 4, "do_reduce_labels": True}),
    ("SiglipImageProcessor", {"size": {"height": 32, "width": 32}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}}),
    ("ConvNextImageProcessor", {"size": 32, "crop_pct": 0.9}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 390}}),
]


def read(folder: Path, kind: str | None, settings: dict[str, Any], usual: str = "ViTImageProcessor") -> ImageProcessor:
    """What is made of a preprocessor_config.json."""
    named = {} if kind is None else {"feature_extractor_type" if "Feature" in kind else "image_processor_type": kind}
    (folder / "preprocessor_config.json").write_text(json.dumps({**named, **settings}))
    return read_processor(folder, "m", usual, None)


def upstream(folder: Path, backend: str) -> Any:
    """The library's own reading of the same folder."""
    import transformers

    return transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)


def ours(how: ImageProcessor, image: Image.Image) -> Any:
    """The numbers that the network reads (height, width, 3), computed as the device does it."""
    prepared = ImagePreparer(how)(image)
    mean, std = (np.asarray(one, dtype=np.float32) for one in (how.mean, how.std))
    return (prepared.data.astype(np.float32) / np.float32(255) - mean) / std


def noisy(width: int, height: int) -> Image.Image:
    """A picture with edges everywhere, which shows every difference in resampling."""
    noise = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray((pixels(width, height) // 2 + noise // 2).astype(np.uint8))


@pytest.mark.parametrize(("kind", "settings"), SETTINGS, ids=range(len(SETTINGS)))
def test_pixels_equal_those_of_transformers(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """To a rounding of float32 for the PIL backend, whatever the steps."""
    how = read(tmp_path, kind, settings)
    theirs = upstream(tmp_path, "pil")
    for size in SIZES:
        image = noisy(*size)
        wanted = np.asarray(theirs(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
        found = ours(how, image)
        assert found.shape == wanted.shape == (*how.size, 3)
        assert np.abs(found - wanted).max() <= 2e-6 * max(1.0, float(np.abs(wanted).max())), size


@pytest.mark.parametrize(("number", "most", "share"), [(6, 1, 0.01), (14, 1, 0.01), (0, 1, 0.25), (13, 4, 0.28)])
def test_pixels_are_near_those_of_the_torchvision_backend(number: int, most: int, share: float, tmp_path: Path) -> None:
    """Its rounding is another: where the ratio is kept, one number in a hundred is one step of 255 off; in squashed pictures more are.

    Most are off where one side grows and the other shrinks: by bicubic filters a quarter of the numbers, up to four steps.
    """
    kind, settings = SETTINGS[number]
    how = read(tmp_path, kind, settings)
    theirs = upstream(tmp_path, "torchvision")
    for size in SIZES:
        wanted = np.asarray(theirs(noisy(*size), return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
        steps = np.abs(ours(how, noisy(*size)) - wanted) * np.asarray(how.std) * 255
        assert steps.max() <= most + 0.01, size
        assert (steps > 0.5).mean() <= share, size


@pytest.mark.parametrize("kind", PROCESSORS)
def test_defaults_are_those_of_the_class(kind: str, tmp_path: Path) -> None:
    """A folder that says nothing, or null, is read as the class of transformers reads it."""
    name = kind.removesuffix("ImageProcessor")
    module = importlib.import_module(f"transformers.models.{MODULES[name]}.image_processing_pil_{MODULES[name]}")
    theirs = getattr(module, f"{kind}Pil")()
    image = noisy(300, 211)
    wanted = np.asarray(theirs(image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0)
    for settings in ({}, {"size": None, "resample": None, "do_center_crop": None}):
        assert np.abs(ours(read(tmp_path, kind, settings), image) - wanted).max() <= 2e-6
    assert np.abs(ours(read(tmp_path, None, {}, usual=kind), image) - wanted).max() <= 2e-6


def test_the_nested_file_goes_first(tmp_path: Path) -> None:
    """Since 5, transformers writes the settings into processor_config.json; a file of that name without them is passed over."""
    read(tmp_path, "ViTImageProcessor", {"size": 32})
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "CLIPProcessor"}))
    assert read_processor(tmp_path, "m", "ViTImageProcessor", None).size == (32, 32)
    inner = {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 20}, "crop_size": 16}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    assert read_processor(tmp_path, "m", "ViTImageProcessor", (16, 16)).resize == 20


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("LevitImageProcessor", {}, "`LevitImageProcessor` is not known here  hint: .*ViTImageProcessor"),
        ("Siglip2ImageProcessor", {}, r"is not known here  hint: did you mean `SiglipImageProcessor`"),
        ("ViTImageProcessor", {"do_pad": True}, "sets `do_pad`, which is not understood here"),
        ("ViTImageProcessor", {"crop_pct": 0.9}, "sets `crop_pct`"),
        ("ViTImageProcessor", {"auto_map": {"AutoImageProcessor": "x.Y"}}, "sets `auto_map`"),
        ("CLIPImageProcessor", {"do_center_crop": False}, r"\(pictures of several sizes\)"),
        ("CLIPImageProcessor", {"size": {"longest_edge": 64}}, "sides named longest_edge"),
        ("CLIPImageProcessor", {"crop_size": {"shortest_edge": 64}}, "a crop of one side"),
        ("ConvNextImageProcessor", {"do_center_crop": True, "crop_size": 32}, "a crop beside its own"),
        ("ViTImageProcessor", {"size": 32, "resample": 9}, "cannot be followed"),
        ("ViTImageProcessor", {"size": 32, "image_mean": [0.5]}, "cannot be followed"),
        ("ViTImageProcessor", {"size": "large"}, "cannot be followed"),
        ("ViTImageProcessor", {"size": 32, "rescale_factor": 0}, "cannot be followed"),
        ("ViTImageProcessor", {"size": 0}, "makes pictures of 0 x 0 pixels"),
    ],
    ids=range(14),
)
def test_what_is_not_understood_is_refused(kind: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A step that is ignored costs recall unseen."""
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, kind, settings)


def test_a_model_of_another_size_is_refused(tmp_path: Path) -> None:
    """Pictures of a size that the model does not read are noticed before any are read; so is a folder without settings."""
    with pytest.raises(ConfigError, match=r"holds no preprocessor_config\.json"):
        read_processor(tmp_path, "m", "ViTImageProcessor", None)
    read(tmp_path, "ViTImageProcessor", {"size": 32})
    with pytest.raises(ConfigError, match="makes pictures of 32 x 32 pixels, the model reads 64 x 64"):
        read_processor(tmp_path, "m", "ViTImageProcessor", (64, 64))


def test_preparing(tmp_path: Path) -> None:
    """Eight bits a channel, costing its pixels; the preparer pickles; a strip that would become huge is refused."""
    prepare = pickle.loads(pickle.dumps(ImagePreparer(read(tmp_path, "CLIPImageProcessor", {"size": 224}))))  # noqa: S301 - our own object
    item = prepare(encoded())
    assert (item.data.shape, item.data.dtype, item.cost, item.nbytes) == ((224, 224, 3), np.uint8, 224 * 224, 224 * 224 * 3)
    with pytest.raises(RowError, match="too long and thin"):
        prepare(encoded(Image.new("L", (60_000, 1)), "PNG"))
