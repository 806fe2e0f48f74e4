"""Layers inside a timm network agree with timm's own `forward_features` and `forward_intermediates`, in one pass."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.encoders import folding, image_model, memory, timm_library
from connector.encoders.timm import TimmEncoder
from connector.errors import ConfigError
from connector.interfaces import DeviceSpec, Head, identity
from tests.encoders.parity import COSINE_FP32, DIFFERENCE_FP32, agreement, check_parity
from tests.encoders.test_timm import save
from tests.pictures import picture

PICTURES = [picture(60 + 20 * seed, 90, seed) for seed in range(3)]
SMALL_SWIN = {"embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}
ROOT = Path(__file__).parent.parent.parent
KINDS: dict[str, dict[str, Any]] = {
    "resnet10t": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {"depth": 4},
    "swin_tiny_patch4_window7_224": SMALL_SWIN,
    "efficientnet_b0": {},
    "mobilenetv3_small_050": {},
}
LAYERS = {
    "resnet10t": ("act1", "layer3"),
    "convnext_atto": ("stages.0", "stages.2"),
    "vit_tiny_patch16_224": ("blocks.1", "blocks.3"),
    "swin_tiny_patch4_window7_224": ("layers.1", "layers.3"),
    "efficientnet_b0": ("blocks.1", "blocks.4"),
    "mobilenetv3_small_050": ("bn1", "blocks.3"),
}
"""Two layers inside each: those of which folding or splitting could go wrong are among them."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Each kind of random model, saved once."""
    built: dict[str, Path] = {}

    def model(kind: str) -> Path:
        if kind not in built:
            built[kind] = save(tmp_path_factory.mktemp(kind) / kind, kind, **KINDS[kind])
        return built[kind]

    return model


def upstream(folder: Path) -> tuple[Any, list[Any]]:
    """The network by timm's own loader, and the pictures by its own transform, one batch each."""
    import timm
    from timm.data import create_transform, resolve_model_data_config

    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_model_data_config(network), is_training=False)
    return network, [transform(one)[None] for one in PICTURES]


def maps(folder: Path, layer: str) -> list[Any]:
    """Timm's map of a layer for each picture: (channels, height, width), channels first whatever the network keeps inside."""
    import torch

    network, pictures = upstream(folder)
    place = [one["module"] for one in network.feature_info].index(layer)
    with torch.inference_mode():
        return [network.forward_intermediates(one, indices=[place], intermediates_only=True)[0][0] for one in pictures]


def features(folder: Path) -> list[Any]:
    """What `forward_features` gives for each picture."""
    import torch

    network, pictures = upstream(folder)
    with torch.inference_mode():
        return [network.forward_features(one)[0] for one in pictures]


@pytest.mark.parametrize("kind", KINDS)
def test_penultimate_layer(kind: str, models: Callable[[str], Path]) -> None:
    """What goes into the classifier, by timm's own transform and forward."""
    import torch

    network, pictures = upstream(models(kind))
    with torch.inference_mode():
        wanted = [network.forward_head(network.forward_features(one), pre_logits=True)[0].numpy() for one in pictures]
    check_parity("timm", TimmEncoder(str(models(kind))), PICTURES, wanted, words=f"{kind}, penultimate")


@pytest.mark.parametrize(("kind", "layer"), [(kind, layer) for kind, layers in LAYERS.items() for layer in layers])
def test_a_layer_inside(kind: str, layer: str, models: Callable[[str], Path]) -> None:
    """The mean over the positions of what `forward_intermediates` gives; folded and split convolutions change nothing of it."""
    wanted = [one.mean(dim=(1, 2)).numpy() for one in maps(models(kind), layer)]
    check_parity("timm", TimmEncoder(str(models(kind))), PICTURES, wanted, Head(layer=layer), words=f"{kind}, {layer}, mean")


@pytest.mark.parametrize("kind", ["resnet10t", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_the_whole_grid(kind: str, models: Callable[[str], Path]) -> None:
    """With pooling none a layer gives one vector a position, row by row from the top; a ViT its patch tokens without the class token."""
    layer = LAYERS[kind][1]
    wanted = [one.flatten(1).T.numpy() for one in maps(models(kind), layer)]
    check_parity(
        "timm", TimmEncoder(str(models(kind))), PICTURES, wanted, Head(layer=layer, pooling="none"), words=f"{kind}, {layer}, none"
    )


@pytest.mark.parametrize(("kind", "order"), [("resnet10t", "CHW"), ("vit_tiny_patch16_224", "NC"), ("swin_tiny_patch4_window7_224", "HWC")])
def test_features(kind: str, order: str, models: Callable[[str], Path]) -> None:
    """`features` is `forward_features`: maps in either order of axes, or tokens, of which the class token is left out or is all."""
    given = features(models(kind))
    positions: Any = {"CHW": lambda one: one.flatten(1).T, "HWC": lambda one: one.flatten(0, 1), "NC": lambda one: one[1:]}[order]
    encoder = TimmEncoder(str(models(kind)))
    wanted = [positions(one).numpy() for one in given]
    check_parity("timm", encoder, PICTURES, wanted, Head(layer="features", pooling="none"), words=f"{kind}, forward_features")
    means = [one.mean(axis=0) for one in wanted]
    check_parity("timm", encoder, PICTURES, means, Head(layer="features", pooling="avg"), words=f"{kind}, forward_features, mean")
    if order == "NC":
        tokens = [one[0].numpy() for one in given]
        check_parity("timm", encoder, PICTURES, tokens, Head(layer="features", pooling="cls"), words=f"{kind}, forward_features, cls")


def test_class_token_of_a_layer_inside(models: Callable[[str], Path]) -> None:
    """A ViT gives the class token of every block; a network without one is not asked for it."""
    import torch

    network, pictures = upstream(models("vit_tiny_patch16_224"))
    with torch.inference_mode():
        given = [network.forward_intermediates(one, indices=[2], intermediates_only=True, return_prefix_tokens=True)[0] for one in pictures]
    wanted = [prefix[0, 0].numpy() for _, prefix in given]
    encoder = TimmEncoder(str(models("vit_tiny_patch16_224")))
    check_parity("timm", encoder, PICTURES, wanted, Head(layer="blocks.2", pooling="cls"), words="vit_tiny_patch16_224, blocks.2, cls")
    with pytest.raises(ConfigError, match="no pooling `cls`"):
        TimmEncoder(str(models("resnet10t"))).resolve(Head(layer="layer2", pooling="cls"))


@pytest.mark.parametrize(("pooling", "power"), [("gem", 3.0), ("gem:2.5", 2.5)])
def test_generalised_mean(pooling: str, power: float, models: Callable[[str], Path]) -> None:
    """The p-th root of the mean of p-th powers, p being 3 unless it is said; and the largest number of each channel."""
    inside = maps(models("resnet10t"), "layer3")
    encoder = TimmEncoder(str(models("resnet10t")))
    wanted = [one.clamp(min=1e-6).pow(power).mean(dim=(1, 2)).pow(1 / power).numpy() for one in inside]
    check_parity("timm", encoder, PICTURES, wanted, Head(layer="layer3", pooling=pooling), words=f"resnet10t, layer3, {pooling}")
    check_parity("timm", encoder, PICTURES, [one.amax(dim=(1, 2)).numpy() for one in inside], Head(layer="layer3", pooling="max"))
    check_parity("timm", encoder, PICTURES, [one.flatten().numpy() for one in inside], Head(layer="layer3", pooling="flatten"))


def test_a_head_has_one_form(models: Callable[[str], Path]) -> None:
    """A filled head is identity, so a layer by number or by name, `avg` or `mean`, `gem` or `gem:3.0` are the same."""
    encoder = TimmEncoder(str(models("resnet10t")))
    alike = [
        {Head(layer="layer4", pooling="mean"), Head(layer="4", pooling="avg"), Head(layer="-1"), Head(layer="layer4", truncate_dim=512)},
        {Head(layer="layer2", pooling="gem:3"), Head(layer="2", pooling="gem"), Head(layer="-3", pooling="gem:3.0")},
        {Head(), Head(layer="penultimate"), Head(pooling="model")},
    ]
    forms = [{str(identity(encoder, head)) for head in heads} for heads in alike]
    assert [len(one) for one in forms] == [1, 1, 1]
    others = [Head(layer="layer2"), Head(layer="layer2", pooling="gem:4"), Head(layer="layer2", pooling="max"), Head(layer="features")]
    assert len(set.union(*forms) | {str(identity(encoder, head)) for head in others}) == 7
    assert [encoder.spec(head).dim for head in others] == [128, 128, 128, 512]
    assert encoder.spec(Head(layer="layer4", pooling="none")).kind == "ragged"
    assert encoder.spec(Head(layer="layer4", pooling="flatten")).dim == 512 * 6 * 6


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (Head(layer="layr3"), "no layer `layr3`  hint: did you mean `layer3`.*valid: act1, features, layer1, layer2"),
        (Head(layer="7"), "no layer `7`"),
        (Head(layer="layer3.0.conv1"), "no layer `layer3.0.conv1`"),
        (Head(layer="layer3", pooling="meen"), "no pooling `meen`  hint: did you mean `mean`"),
        (Head(layer="layer3", pooling="gem:0"), "pooling `gem:0` has no positive power"),
        (Head(layer="layer3", pooling="gem:much"), "pooling `gem:much` has no positive power"),
        (Head(layer="layer3", pooling="mean:3"), "no pooling `mean:3`"),
        (Head(pooling="gem:3"), "no pooling `gem:3`  hint: valid: model"),
        (Head(layer="layer3", truncate_dim=257), "truncate_dim is 257, wanted 1 to 256"),
    ],
)
def test_what_a_model_does_not_have(head: Head, message: str, models: Callable[[str], Path]) -> None:
    """Refused before anything is loaded, with the names that are valid."""
    with pytest.raises(ConfigError, match=message):
        TimmEncoder(str(models("resnet10t"))).resolve(head)


@pytest.mark.parametrize("kind", ["resnet10t", "vit_tiny_patch16_224"])
def test_several_layers_are_one_pass(kind: str, models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four heads cost one pass of the network: its first layer runs once; and each gives what it gives alone."""
    encoder = TimmEncoder(str(models(kind)))
    first, second = LAYERS[kind]
    heads = [
        encoder.resolve(one)
        for one in (Head(), Head(layer=first), Head(layer=second, pooling="max"), Head(layer="features", pooling="none"))
    ]
    items = [encoder.preparer("document")(one) for one in PICTURES]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=10**9)) as model:
        calls: list[Any] = []
        stem = next(layer for layer in model._network.modules() if type(layer).__name__ in {"Conv2d", "Convolution"})  # type: ignore[attr-defined]  # ours
        stem.register_forward_hook(lambda *_: calls.append(1))
        together = model.forward(items, heads)
        assert len(calls) == 1
        alone = [model.forward(items, [head])[0] for head in heads]
        assert len(calls) == 5
    for one, other in zip(together, alone, strict=True):
        assert agreement(list(one), list(other))[1] <= 1e-5


def test_a_pass_ends_at_the_deepest_layer_wanted(models: Callable[[str], Path]) -> None:
    """A layer in the middle does not pay for what comes after it."""
    encoder = TimmEncoder(str(models("resnet10t")))
    item = encoder.preparer("document")(PICTURES[0])
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        calls: list[Any] = []
        model._network.layer4.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[attr-defined]  # a resnet
        model.forward([item], [encoder.resolve(Head(layer="layer2"))])
        assert calls == []
        model.forward([item], [encoder.resolve(Head(layer="layer4"))])
        assert calls == [1]


def test_folding_that_would_change_a_layer_inside_is_left_out(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer that a head may name is compared before a folded network is used, not only the last."""
    folded: list[Any] = []

    def kept(network: Any, _dtype: Any) -> Any:
        folded.append(network)
        return network

    monkeypatch.setattr(image_model, "lowered", kept)
    encoder = TimmEncoder(str(models("resnet10t")))
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")):
        pass
    real = folding._fold

    def spoil(network: Any) -> int:
        """Halves what a layer in the middle gives and doubles what the next one takes: the last layers stay as they are."""
        network.layer2[0].act2.register_forward_hook(lambda _layer, _given, output: output * 0.5)
        network.layer3[0].conv1.register_forward_pre_hook(lambda _layer, given: (given[0] * 2,))
        network.layer3[0].downsample[0].register_forward_pre_hook(lambda _layer, given: (given[0] * 2,))
        return real(network)

    monkeypatch.setattr(folding, "_fold", spoil)
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")):
        pass
    first, second = (sum("BatchNorm" in type(layer).__name__ for layer in network.modules()) for network in folded)
    assert first < second


def test_layers_are_asked_for_once(models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Timm lists them on the first use of a layer inside; after that no torch is needed, and the default never needs it."""
    folder = str(models("mobilenetv3_small_050"))
    TimmEncoder(folder).spec(Head())
    assert memory.recall("timm.json") == {}
    assert TimmEncoder(folder).spec(Head(layer="blocks.5")).dim == 288
    monkeypatch.setattr(timm_library, "layers", lambda *_, **__: pytest.fail("asked again"))
    assert TimmEncoder(folder).spec(Head(layer="blocks.1", pooling="max")).dim == 16
    assert TimmEncoder(folder).resolve(Head(layer="-1")).layer == "blocks.5"


def test_real_weights(tmp_path: Path) -> None:
    """EfficientNet-Lite0 as it was trained, in float32: the penultimate layer, the features and a layer in the middle."""
    import torch

    write: Any = runpy.run_path(str(ROOT / "docker" / "models" / "efficientnet_lite0.py"))["write"]
    write(tmp_path / "tf_efficientnet_lite0")
    encoder = TimmEncoder("./tf_efficientnet_lite0")
    network, pictures = upstream(tmp_path / "tf_efficientnet_lite0")
    with torch.inference_mode():
        given = [network.forward_features(one) for one in pictures]
        vectors = [network.forward_head(one, pre_logits=True)[0].numpy() for one in given]
    inside = [one.mean(dim=(1, 2)).numpy() for one in maps(tmp_path / "tf_efficientnet_lite0", "blocks.4")]
    means = [one[0].mean(dim=(1, 2)).numpy() for one in given]
    heads = [encoder.resolve(one) for one in (Head(), Head(layer="features"), Head(layer="blocks.4"))]
    items = [encoder.preparer("document")(one) for one in PICTURES]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32")) as model:
        outputs = model.forward(items, heads)
    for found, wanted in zip(outputs, (vectors, means, inside), strict=True):
        cosine, difference = agreement(list(found), wanted)
        assert (cosine >= COSINE_FP32, difference <= DIFFERENCE_FP32) == (True, True)
