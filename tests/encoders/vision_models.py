"""Builds small random vision models, and pairs for words and pictures, in the format that save_pretrained writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.encoders.conftest import WORDS

SIDE = 32
"""Height and width of their pictures."""

_WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_PLAIN = {**_WIDE, "image_size": SIDE, "patch_size": 8}
_PYRAMID = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "image_size": SIDE}
_SWIN = {"image_size": SIDE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
_EDGE = {"size": {"shortest_edge": 36}, "crop_size": {"height": SIDE, "width": SIDE}}
_SQUARE = {"size": {"height": SIDE, "width": SIDE}}

VISION: dict[str, tuple[str, str, dict[str, Any], str, dict[str, Any]]] = {
    "beit": ("Beit", "BeitModel", _PLAIN, "BeitImageProcessor", _SQUARE),
    "convnext": ("ConvNext", "ConvNextModel", _PYRAMID, "ConvNextImageProcessor", {"size": {"shortest_edge": SIDE}}),
    "convnextv2": ("ConvNextV2", "ConvNextV2Model", _PYRAMID, "ConvNextImageProcessor", {"size": {"shortest_edge": SIDE}}),
    "data2vec-vision": ("Data2VecVision", "Data2VecVisionModel", _PLAIN, "BeitImageProcessor", _SQUARE),
    "deit": ("DeiT", "DeiTModel", _PLAIN, "DeiTImageProcessor", {"size": 40, "crop_size": SIDE}),
    "dinov2": ("Dinov2", "Dinov2Model", {**_PLAIN, "image_size": 64}, "BitImageProcessor", _EDGE),
    "dinov2_with_registers": ("Dinov2WithRegisters", "Dinov2WithRegistersModel", _PLAIN, "BitImageProcessor", _EDGE),
    "swin": ("Swin", "SwinModel", _SWIN, "ViTImageProcessor", _SQUARE),
    "vit": ("ViT", "ViTModel", _PLAIN, "ViTImageProcessor", _SQUARE),
    "vit_mae": ("ViTMAE", "ViTMAEForPreTraining", {**_PLAIN, "decoder_num_hidden_layers": 1}, "ViTImageProcessor", _SQUARE),
}
"""By type: prefix of the configuration's class, the class that is saved, its sizes, the image processor, and its sizes."""


def build_vision(folder: Path, kind: str, **more: Any) -> Path:
    """A random model of two blocks or stages with its image processor. A masked autoencoder is saved whole, as hubs have it."""
    import torch
    import transformers

    torch.manual_seed(5)
    prefix, network, sizes, processor, settings = VISION[kind]
    built = getattr(transformers, network)(getattr(transformers, f"{prefix}Config")(**sizes, **more))
    livelier(built)
    built.save_pretrained(folder)
    getattr(transformers, processor)(**settings).save_pretrained(folder)
    return folder


def livelier(network: Any) -> None:
    """Scales what starts at (nearly) nothing as training would, so that every part of a network, and of a picture, shows in its output."""
    import torch

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if any(
                word in name for word in ("position_embedding", "cls_token", "register_tokens", "class_embedding", "layer_scale", "lambda_")
            ):
                parameter.copy_(torch.randn_like(parameter) * 0.3 + (0.5 if "scale" in name or "lambda" in name else 0))
            elif name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 1.5 / parameter[0].numel() ** 0.5)


def build_pair(folder: Path, kind: str = "clip", **text: Any) -> Path:
    """A random CLIP (24 numbers), SigLIP or SigLIP 2 of one picture size (32), with its tokenizer and processor."""
    import torch
    import transformers

    torch.manual_seed(5)
    inner = {**_WIDE, "vocab_size": 600, "bos_token_id": 598, "eos_token_id": 599, "pad_token_id": 599, **text}
    if kind == "clip":
        network = transformers.CLIPModel(transformers.CLIPConfig(text_config=inner, vision_config=_PLAIN, projection_dim=24))
        processor = transformers.CLIPProcessor(transformers.CLIPImageProcessor(**_EDGE), _clip_words())
    else:
        network = transformers.SiglipModel(transformers.SiglipConfig(text_config=inner, vision_config=_PLAIN))
        words = _siglip2_words() if kind == "siglip2" else _siglip_words()
        processor = transformers.SiglipProcessor(transformers.SiglipImageProcessor(**_SQUARE), words)
    livelier(network)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _clip_words() -> Any:
    """CLIP's tokenizer on a vocabulary of single bytes."""
    import transformers
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    special = {"<|startoftext|>": 598, "<|endoftext|>": 599}
    return transformers.CLIPTokenizer(vocab={**vocabulary, **special}, merges=[], model_max_length=77)


def _siglip_words() -> Any:
    """A tokenizer.json as that of SigLIP: lower case, no punctuation, an end token that is the padding too."""
    import tokenizers
    import transformers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    vocabulary = {"<unk>": 0, "</s>": 1, **{word: index + 2 for index, word in enumerate(WORDS)}}
    made = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106 - no password
    plain: list[Any] = [normalizers.Lowercase(), normalizers.Replace(tokenizers.Regex("[!?.,]"), "")]
    made.normalizer = normalizers.Sequence(plain)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    stated = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "</s>", "model_max_length": 64, "model_input_names": ["input_ids"]}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **stated)


def _siglip2_words() -> Any:
    """The tokenizer class of SigLIP 2 on a vocabulary of letters."""
    import transformers

    special = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4}
    letters = {letter: index + 5 for index, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz!")}
    return transformers.Siglip2Tokenizer(vocab={**special, **letters}, merges=[], model_max_length=64, model_input_names=["input_ids"])
