"""Brings a picture to the size that a model of transformers reads, exactly as the image processor in its folder says, without torch.

The processors of transformers resize, crop, scale and normalise, each step on or off, with defaults that differ from class to class. The
classes known here are listed with their defaults; a setting that is not understood is refused, because a step left out costs recall unseen.
What comes out is what their PIL backend makes, still in eight bits; the rest is done by the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from connector.encoders.images import RULES
from connector.encoders.resizing import INTERPOLATIONS, check_size, plain
from connector.encoders.vision_types import sides
from connector.encoders.weights import read_json
from connector.errors import ConfigError, nearest
from connector.files.pictures import MAX_PIXELS

_FULL = 255
_WARPED = 384
"""From this size on, ConvNeXT's processor ignores the ratio and crops nothing."""

_HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
_COMMON = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / _FULL, "do_normalize": True, "resample": 3, **_HALF}
_OPENAI = {
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": 224,
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "BeitImageProcessor": {**_COMMON, "size": 224, "crop_size": 224},
    "BitImageProcessor": {**_COMMON, **_OPENAI},
    "CLIPImageProcessor": {**_COMMON, **_OPENAI},
    "ConvNextImageProcessor": {**_COMMON, "size": {"shortest_edge": _WARPED}, "crop_pct": 224 / 256},
    "DeiTImageProcessor": {**_COMMON, "size": 256, "do_center_crop": True, "crop_size": 224},
    "SiglipImageProcessor": {**_COMMON, "size": {"height": 224, "width": 224}},
    "ViTImageProcessor": {**_COMMON, "size": 224, "resample": 2},
}
"""The classes of transformers, and their own defaults where a folder says nothing (or null)."""

_EDGES = frozenset({"BitImageProcessor", "CLIPImageProcessor", "ConvNextImageProcessor", "SiglipImageProcessor"})
"""Classes for which a size of one number is that of the shorter side; for the others it is a square."""

_KNOWN = frozenset({*_COMMON, "size", "default_to_square", "do_center_crop", "crop_size"})
_HARMLESS = frozenset(
    {"_valid_processor_keys", "data_format", "disable_grouping", "do_convert_rgb", "do_reduce_labels", "feature_extractor_type"}
    | {"image_processor_type", "image_seq_length", "input_data_format", "processor_class", "reduce_labels", "return_tensors", "use_fast"}
)
"""Settings that change nothing here: pictures are always made RGB, and labels are for training."""


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """What an image processor does.

    Attributes:
        resize: Height and width whatever the ratio, or the length of the shorter side; None: as it comes.
        resample: A name in `INTERPOLATIONS`.
        crop: Height and width of the middle that is kept; what is smaller gets black edges.
        rescale: Multiplies the numbers, which come as 0 to 255.
        image_mean: Subtracted from each channel afterwards.
        image_std: Divides each channel in the end.
    """

    resize: tuple[int, int] | int | None
    resample: str
    crop: tuple[int, int] | None
    rescale: float
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what comes out."""
        size = self.crop or self.resize
        if not isinstance(size, tuple):
            raise TypeError("pictures of several sizes")
        return size

    @property
    def mean(self) -> tuple[float, ...]:
        """What to subtract from numbers that go from 0 to 1."""
        return tuple(one / (self.rescale * _FULL) for one in self.image_mean)

    @property
    def std(self) -> tuple[float, ...]:
        """What to divide by after it."""
        return tuple(one / (self.rescale * _FULL) for one in self.image_std)

    def identity(self) -> dict[str, Any]:
        """All of it as JSON values, with the version of the decoding rules."""
        return {"rules": RULES, **plain(self)}

    def fitted(self, image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """The RGB image, resized and cropped to exactly `size`.

        Raises:
            RowError: It is so long and thin that resizing its shorter side makes it huge.
        """
        size = self.scaled(*image.size)
        check_size(image, size, max_pixels)
        if size != image.size:
            image = image.resize(size, INTERPOLATIONS[self.resample])
        return image if self.crop is None else _middle(image, self.crop)

    def scaled(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that a picture of this size is resized to, before the crop."""
        if self.resize is None:
            return width, height
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        short, long = sorted((width, height))
        longer = int(self.resize * long / short)
        return (self.resize, longer) if width <= height else (longer, self.resize)


def _middle(image: Image.Image, crop: tuple[int, int]) -> Image.Image:
    """The middle, as `transformers.image_transforms.center_crop` cuts it; Pillow makes black what lies outside of the image."""
    height, width = crop
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def read_processor(folder: Path, model: str, usual: str, wanted: tuple[int, int] | None) -> ImageProcessor:
    """The image processor that a model's folder states.

    Args:
        folder: Of the model.
        model: Its name, for messages.
        usual: The class to take if the folder names none.
        wanted: Height and width that the model reads; None: any.

    Raises:
        ConfigError: There is none, it is broken, it does what is not understood here, or it makes pictures that the model does not read.
    """
    stated = _stated(folder, model)
    kind = str(stated.get("image_processor_type") or stated.get("feature_extractor_type") or usual)
    kind = kind.removesuffix("Fast").replace("FeatureExtractor", "ImageProcessor")
    if kind not in PROCESSORS:
        raise ConfigError(f"model {model}: its image processor `{kind}` is not known here", hint=nearest(kind, PROCESSORS))
    defaults = PROCESSORS[kind]
    known = {*_KNOWN, *defaults, *_HARMLESS}
    odd = sorted(name for name, value in stated.items() if name not in known and value not in (None, False))
    if odd:
        problem = f"model {model}: its image processor sets `{odd[0]}`, which is not understood here; without it vectors go wrong"
        raise ConfigError(problem, hint="choose another model")
    settings = {**defaults, **{name: value for name, value in stated.items() if value is not None}}
    try:
        made = _made(kind, settings)
        size = made.size
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        problem = f"model {model}: its image processor cannot be followed ({error}): size {settings['size']}"
        raise ConfigError(problem, hint="choose a model whose pictures all come to one size") from None
    if size != (wanted or size) or min(size) < 1:
        problem = f"model {model}: its image processor makes pictures of {size[0]} x {size[1]} pixels"
        said = f"{problem}, the model reads {wanted[0]} x {wanted[1]}" if wanted else problem
        raise ConfigError(said, hint="download the model again, or correct preprocessor_config.json")
    return made


def _stated(folder: Path, model: str) -> dict[str, Any]:
    """The settings: inside processor_config.json, as transformers writes it since 5, else in a file of their own."""
    both = folder / "processor_config.json"
    nested = read_json(both).get("image_processor") if both.is_file() else None
    if isinstance(nested, dict):
        return nested
    if not (folder / "preprocessor_config.json").is_file():
        hint = "write it with AutoImageProcessor.from_pretrained(model).save_pretrained(folder)"
        raise ConfigError(f"model {model}: {folder} holds no preprocessor_config.json", hint=hint)
    return read_json(folder / "preprocessor_config.json")


def _made(kind: str, settings: dict[str, Any]) -> ImageProcessor:
    square = settings.get("default_to_square", kind not in _EDGES)
    resize = _size(settings["size"], edge=not square) if settings["do_resize"] else None
    crop = _size(settings["crop_size"], edge=False) if settings.get("do_center_crop") else None
    if kind == "ConvNextImageProcessor" and resize is not None:
        if crop is not None or not isinstance(resize, int):
            raise ValueError("a crop beside its own")
        resize, crop = _convnext(resize, float(settings["crop_pct"]))
    if isinstance(crop, int):
        raise TypeError("a crop of one side")
    normalize, rescale = settings["do_normalize"], float(settings["rescale_factor"]) if settings["do_rescale"] else 1.0
    if not rescale:
        raise ValueError("rescale_factor 0")
    return ImageProcessor(
        resize=resize,
        resample=_filter(settings["resample"]),
        crop=crop,
        rescale=rescale,
        image_mean=_channels(settings["image_mean"] if normalize else 0.0),
        image_std=_channels(settings["image_std"] if normalize else 1.0),
    )


def _convnext(side: int, share: float) -> tuple[tuple[int, int] | int, tuple[int, int] | None]:
    square = (side, side)
    return (square, None) if side >= _WARPED else (int(side / share), square)


def _size(size: Any, *, edge: bool) -> tuple[int, int] | int:
    if isinstance(size, int):
        return size if edge else (size, size)
    if isinstance(size, dict):
        stated = {name: value for name, value in size.items() if value is not None}
        if set(stated) == {"shortest_edge"}:
            return int(stated["shortest_edge"])
        if set(stated) != {"height", "width"}:
            raise ValueError(f"sides named {', '.join(sorted(stated))}")
        return int(stated["height"]), int(stated["width"])
    return sides(size)


def _filter(number: int) -> str:
    """Name of one of Pillow's filters."""
    return {value: name for name, value in INTERPOLATIONS.items()}[Image.Resampling(number)]


def _channels(value: Any) -> tuple[float, float, float]:
    red, green, blue = (value,) * 3 if isinstance(value, int | float) else value
    return float(red), float(green), float(blue)
