"""Vectors agree with torchvision's own transforms, networks and feature extraction; what needs torch is asked once."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.encoders import folding, torchvision_files, torchvision_library, torchvision_model
from connector.encoders.resizing import Preprocessing, fitted
from connector.encoders.torchvision import TorchvisionEncoder
from connector.encoding.binding import bind
from connector.errors import ConfigError, SchemaError
from connector.interfaces import DeviceSpec, Head, identity
from connector.schema.indexes import FLAT
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec
from connector.testing.encoder_check import check_encoder
from tests.encoders.parity import agreement, check_parity
from tests.encoders.randomized import settle
from tests.encoders.test_staging import check_same
from tests.pictures import encoded, picture

PICTURES = [picture(260 - 40 * seed, 240, seed) for seed in range(3)]
DIMS = {"resnet18": 512, "mobilenet_v3_small": 1024, "squeezenet1_1": 512, "shufflenet_v2_x0_5": 1024, "mnasnet0_5": 1280}
CPU = DeviceSpec(device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A file of random weights for each model, saved once."""
    folder = tmp_path_factory.mktemp("torchvision")

    def file(name: str) -> str:
        path = folder / f"{name}.safetensors"
        if not path.is_file():
            from safetensors.torch import save_file

            save_file(settle(network(name)).state_dict(), path)
        return str(path)

    return file


def network(name: str) -> Any:
    """Torchvision's own, with random weights that are the same every time."""
    import torch
    from torchvision import models

    torch.manual_seed(5)
    return models.get_model(name, weights=None).eval()


def upstream(name: str, file: str) -> tuple[Any, list[Any]]:
    """The network with the weights of a file, and the pictures by the transform that comes with torchvision's weights."""
    from safetensors.torch import load_file
    from torchvision import models

    made = network(name)
    state = made.state_dict()
    state.update(load_file(file))  # which keeps the version that some networks ask for
    made.load_state_dict(state)
    transform = models.get_model_weights(name).DEFAULT.transforms()
    return made, [transform(one)[None] for one in PICTURES]


def nodes(name: str, file: str, node: str) -> list[Any]:
    """What torchvision's feature extraction gives for each picture."""
    import torch
    from torchvision.models.feature_extraction import create_feature_extractor

    made, pictures = upstream(name, file)
    with torch.inference_mode():
        cut = create_feature_extractor(made, return_nodes=[node], suppress_diff_warning=True)
        return [cut(one)[node][0] for one in pictures]


@pytest.mark.parametrize("name", DIMS)
def test_penultimate_layer(name: str, files: Callable[[str], str]) -> None:
    """Without the last layer: the very input of what gives the classes, by torchvision's own transform; its width is known beforehand."""
    import torch

    made, pictures = upstream(name, files(name))
    given: list[Any] = []
    last = [layer for layer in made.modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)][-1]
    last.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][0]))
    with torch.inference_mode():
        for one in pictures:
            made(one)
    encoder = TorchvisionEncoder(name, weights=files(name))
    wanted = [one.mean(dim=(1, 2)).numpy() if one.ndim == 3 else one.numpy() for one in given]
    assert encoder.spec(Head()).dim == DIMS[name]
    check_parity("torchvision", encoder, PICTURES, wanted, words=f"{name}, penultimate")


def test_resnet50_without_its_last_layer(files: Callable[[str], str]) -> None:
    """2,048 numbers, which are those of the network whose `fc` has been replaced by nothing, as people do it by hand."""
    import torch

    made, pictures = upstream("resnet50", files("resnet50"))
    made.fc = torch.nn.Identity()
    with torch.inference_mode():
        wanted = [made(one)[0].numpy() for one in pictures]
    encoder = TorchvisionEncoder("resnet50", weights=files("resnet50"))
    assert encoder.spec(Head()).dim == 2048
    check_parity("torchvision", encoder, PICTURES, wanted, words="resnet50, penultimate")


@pytest.mark.parametrize("node", ["conv1", "layer1.0.bn1", "layer2.0.add", "layer3.1.relu_1", "avgpool", "fc"])
def test_any_node(node: str, files: Callable[[str], str]) -> None:
    """By the names of torchvision's feature extraction; what stands between a convolution and its normalisation is not folded away."""
    import torch
    from safetensors.torch import load_file
    from torchvision.models.feature_extraction import create_feature_extractor

    name = "resnet18"
    made, pictures = upstream(name, files(name))
    for layer in made.modules():
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False  # what follows a node must not write into it
    assert set(load_file(files(name)))
    with torch.inference_mode():
        given = [create_feature_extractor(made, return_nodes=[node])(one)[node][0] for one in pictures]
    wanted = [(one.mean(dim=(1, 2)) if one.ndim == 3 else one).numpy() for one in given]
    check_parity("torchvision", TorchvisionEncoder(name, weights=files(name)), PICTURES, wanted, Head(layer=node), words=f"{name}, {node}")


def test_maps_with_the_channels_last(files: Callable[[str], str]) -> None:
    """Swin keeps its channels last inside; a mean is over the places, not over the channels, and `none` gives them row by row."""
    name = "swin_t"
    encoder = TorchvisionEncoder(name, weights=files(name))
    given = nodes(name, files(name), "features.3.1.add_1")
    assert given[0].shape == (28, 28, 192)
    check_parity(
        "torchvision",
        encoder,
        PICTURES,
        [one.mean(dim=(0, 1)).numpy() for one in given],
        Head(layer="features.3"),
        words=f"{name}, features.3",
    )
    found = encoder.resolve(Head(layer="features.3", pooling="none"))
    assert (found.layer, encoder.spec(found).dim) == ("features.3.1.add_1", 192)


def test_class_and_patch_tokens(files: Callable[[str], str]) -> None:
    """A ViT's class token, and its patch tokens without it."""
    name = "vit_b_16"
    encoder = TorchvisionEncoder(name, weights=files(name))
    given = nodes(name, files(name), "encoder.ln")
    token, patches = outputs(encoder, [Head(layer="encoder.ln", pooling="cls"), Head(layer="encoder.ln", pooling="none")])
    assert agreement(list(token), [one[0].numpy() for one in given])[1] <= 1e-4
    assert agreement(list(patches), [one[1:].numpy() for one in given])[1] <= 1e-4
    assert encoder.spec(Head()).dim == 768


def outputs(encoder: TorchvisionEncoder, heads: list[Head]) -> list[Any]:
    """Of all pictures, in one batch."""
    prepare = encoder.preparer("document")
    with encoder.open(CPU) as model:
        return model.forward([prepare(one) for one in PICTURES], [encoder.resolve(one) for one in heads])


def test_contract(files: Callable[[str], str]) -> None:
    """The checks that every encoder passes."""
    check_encoder(lambda: TorchvisionEncoder("resnet18", weights=files("resnet18")), PICTURES)


def test_several_nodes_are_one_pass(files: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four heads cost one run of the cut network; each gives what it gives alone, and nothing after the deepest is computed."""
    runs: list[Any] = []
    lowered = folding.lowered

    def counted(cut: Any, dtype: Any) -> Any:
        made = lowered(cut, dtype)
        made.register_forward_hook(lambda *_: runs.append([name for name, _ in made.named_modules()]))
        return made

    monkeypatch.setattr(torchvision_model, "lowered", counted)
    encoder = TorchvisionEncoder("resnet18", weights=files("resnet18"))
    heads = [encoder.resolve(one) for one in (Head(), Head(layer="layer2"), Head(layer="layer2", pooling="max"), Head(layer="conv1"))]
    items = [encoder.preparer("document")(one) for one in PICTURES]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=10**9)) as model:
        together = model.forward(items, heads)
        assert len(runs) == 1
        alone = [model.forward(items, [head])[0] for head in heads]
        assert len(runs) == 5
        model.forward(items, [heads[1]])
    assert max(agreement(list(one), list(other))[1] for one, other in zip(together, alone, strict=True)) <= 1e-5
    assert not [name for name in runs[-1] if name.startswith(("layer3", "layer4", "fc"))]


def test_nodes_through_the_stager(files: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU is fed, every node gives the same vectors."""
    encoder = TorchvisionEncoder("resnet18", weights=files("resnet18"))
    heads = [Head(), Head(layer="layer1.0.conv1", pooling="max"), Head(layer="layer4", pooling="none")]
    check_same(encoder, list(PICTURES) * 2, heads, monkeypatch, encoder.preparer("document")(PICTURES[0]).cost)


def test_normalisation_is_folded_only_where_nobody_looks(files: Callable[[str], str]) -> None:
    """The convolution that is wanted keeps its normalisation; all others lose theirs."""
    encoder = TorchvisionEncoder("resnet18", weights=files("resnet18"))
    item = encoder.preparer("document")(PICTURES[0])
    kept = {}
    with encoder.open(CPU) as model:
        for layer in (None, "layer1.0.conv1"):
            heads = [encoder.resolve(Head()), encoder.resolve(Head(layer=layer))]
            model.forward([item], heads)
            cut = list(model._cuts.values())[-1]  # type: ignore[attr-defined]  # ours
            kept[layer] = [name for name, one in cut.named_modules() if "BatchNorm" in type(one).__name__]
        assert len(model._cuts) == 2  # type: ignore[attr-defined]  # ours
        model.forward([item], [encoder.resolve(Head(layer="layer1.0.conv1"))])
        assert len(model._cuts) == 2  # type: ignore[attr-defined]  # ours
    assert kept == {None: [], "layer1.0.conv1": ["layer1.0.bn1"]}


def test_every_node_has_torchvisions_name(files: Callable[[str], str]) -> None:
    """The layers are torchvision's node names, less the picture itself; the classifier's input is the default under its own name."""
    from torchvision.models.feature_extraction import get_graph_node_names

    names = get_graph_node_names(network("resnet18"), suppress_diff_warning=True)[1]
    encoder = TorchvisionEncoder("resnet18", weights=files("resnet18"))
    layers = list(encoder._taps()[0].layers)
    assert layers[0] == "penultimate"
    assert set(layers[1:]) | {"flatten"} == set(names)


def test_a_head_has_one_form(files: Callable[[str], str]) -> None:
    """The default by any of its names, and a block for the last node in it, are one identity."""
    encoder = TorchvisionEncoder("resnet18", weights=files("resnet18"))
    first = {str(identity(encoder, Head(layer=layer))) for layer in (None, "penultimate", "flatten")}
    second = {
        str(identity(encoder, Head(layer=layer, pooling=pooling))) for layer, pooling in (("layer4", "avg"), ("layer4.1.relu_1", None))
    }
    assert (len(first), len(second)) == (1, 1)
    assert encoder.spec(Head(layer="layer4", pooling="none")).kind == "ragged"
    assert encoder.spec(Head(layer="layer4", pooling="flatten")).dim == 512 * 7 * 7
    for head, message in (
        (Head(layer="layer4.1.rellu"), r"no layer `layer4\.1\.rellu`  hint: near: .*layer4\.1\.relu"),
        (Head(layer="layer9"), r"no layer `layer9`  hint: near: .*layer"),
        (Head(layer="fc", pooling="mean"), "no pooling `mean`  hint: valid: model"),
        (Head(layer="layer4", pooling="cls"), "no pooling `cls`"),
    ):
        with pytest.raises(ConfigError, match=message):
            encoder.resolve(head)


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (61, 300), (232, 232), (1000, 333)])
def test_pictures_are_brought_to_size_as_torchvision_does_it(size: tuple[int, int]) -> None:
    """Pixel for pixel, for every preprocessing that torchvision's weights have."""
    import numpy as np
    from torchvision import models
    from torchvision.transforms import functional

    seen = {}
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            how = weights.transforms()
            seen[(how.crop_size[0], how.resize_size[0], how.interpolation)] = how
    assert len(seen) > 10
    image = picture(*size, 3)
    for (crop, resize, kind), how in seen.items():
        wanted = functional.center_crop(functional.resize(image, how.resize_size, interpolation=kind, antialias=True), how.crop_size)
        found = fitted(image, Preprocessing((crop, crop), resize=resize, interpolation=kind.value))
        assert np.array_equal(np.asarray(found), np.asarray(wanted)), (crop, resize, kind)


def test_networks_are_built_as_torchvision_builds_them_for_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all 80 models and all their weights: the same layers, the same shapes, the same switches, but nothing is downloaded."""
    import torch
    from torchvision import models
    from torchvision.models import WeightsEnum

    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
    for name in ("normal_", "uniform_", "kaiming_uniform_", "kaiming_normal_", "trunc_normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)  # the largest have 600 million numbers
    checked = 0
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            if not weights.meta["categories"]:
                continue  # refused: see the unknown models
            ours = torchvision_library.empty(name, weights.name)
            with torch.device("cpu" if name.startswith("regnet") else "meta"):
                theirs = models.get_model(name, weights=weights).eval()
            assert {key for key, _ in ours.named_buffers()} <= set(ours.state_dict()), "a file of weights would not fill it wholly"
            for only_for_training in ("aux1", "aux2", "AuxLogits"):
                theirs._modules.pop(only_for_training, None)
            assert repr(ours) == repr(theirs), (name, weights)
            assert {key: one.shape for key, one in ours.state_dict().items()} == {
                key: one.shape for key, one in theirs.state_dict().items()
            }
            assert getattr(ours, "transform_input", None) == getattr(theirs, "transform_input", None)
            checked += 1
    assert checked > 100


def test_described_without_torch(files: Callable[[str], str]) -> None:
    """After the first time, identity, dimension and preparation need neither torch nor torchvision."""
    code = f"""
import sys
from connector.encoders.torchvision import TorchvisionEncoder
from connector.interfaces import Head, identity
encoder = TorchvisionEncoder("resnet18", weights={files("resnet18")!r})
identity(encoder, Head(layer="layer3"))
item = encoder.preparer("document")(sys.stdin.buffer.read())
print(encoder.spec(Head()).dim, item.cost, [name for name in ("torch", "torchvision") if name in sys.modules])
"""
    results = [
        subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True).stdout.decode() for _ in range(2)
    ]
    assert results == ["512 50176 ['torch', 'torchvision']\n", "512 50176 []\n"]


def test_identity(files: Callable[[str], str], tmp_path: Path) -> None:
    """Other weights and other preprocessing are other models; a file that moves or is renamed is the same."""
    from safetensors.torch import load_file, save_file

    file = files("resnet18")
    encoder = TorchvisionEncoder("resnet18", weights=file)
    (tmp_path / "folder").mkdir()
    moved = shutil.copy(file, tmp_path / "folder" / "model.safetensors")
    assert TorchvisionEncoder("resnet18", weights=str(moved)).model == encoder.model
    assert TorchvisionEncoder("resnet18", weights=str(tmp_path / "folder")).model == encoder.model
    assert str(tmp_path) not in str(TorchvisionEncoder("resnet18", weights=str(moved)).model)
    tensors = load_file(file)
    save_file({**tensors, "fc.bias": tensors["fc.bias"] + 1}, tmp_path / "other.safetensors")
    assert TorchvisionEncoder("resnet18", weights=str(tmp_path / "other.safetensors")).model.weights != encoder.model.weights
    first, second = (TorchvisionEncoder(f"resnet50@IMAGENET1K_V{version}") for version in (1, 2))
    assert (first.model.revision, second.model.revision) == ("IMAGENET1K_V1-0676ba61", "IMAGENET1K_V2-11ad3fa6")
    assert first.model.preprocessing != second.model.preprocessing
    assert TorchvisionEncoder("resnet50").model == second.model


def test_own_number_of_classes(tmp_path: Path) -> None:
    """A network that tells seven things apart is built for seven."""
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    torch.manual_seed(1)
    save_file(models.resnet18(num_classes=7).state_dict(), tmp_path / "seven.safetensors")
    encoder = TorchvisionEncoder("resnet18", weights="seven.safetensors")
    assert (encoder.spec(Head()).dim, encoder.spec(Head(layer="fc")).dim) == (512, 7)
    assert [one.shape for one in outputs(encoder, [Head(), Head(layer="fc")])] == [(3, 512), (3, 7)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet5", "has no model `resnet5`  hint: did you mean `resnet50`"),
        ("qqq", r"has no model `qqq`  hint: see torchvision\.models\.list_models"),
        ("resnet50@IMAGENET1K_V3", "no weights `IMAGENET1K_V3` of a whole resnet50  hint: did you mean `IMAGENET1K_V"),
        ("vgg16@IMAGENET1K_FEATURES", "no weights `IMAGENET1K_FEATURES` of a whole vgg16  hint: .*valid: IMAGENET1K_V1"),
        ("fcn_resnet50", "does not make one vector of one picture"),
        ("r3d_18", "does not make one vector of one picture"),
    ],
)
def test_unknown_models(model: str, message: str) -> None:
    """The nearest names are given; models for other tasks are refused in words."""
    with pytest.raises(ConfigError, match=message):
        TorchvisionEncoder(model)


def test_weights_that_cannot_be_used(files: Callable[[str], str], tmp_path: Path) -> None:
    """Missing, cut off, of another network: each is told before a vector is made, most of them before torch is imported."""
    import torch
    from safetensors.torch import load_file, save_file

    file = Path(files("resnet18"))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-1000])
    (tmp_path / "empty").mkdir()
    for weights, message in (
        ("nothing.safetensors", "there is no file"),
        ("cut.safetensors", "broken or cut off"),
        ("empty", "no weights"),
    ):
        with pytest.raises(ConfigError, match=message):
            TorchvisionEncoder("resnet18", weights=weights)
    tensors = load_file(file)
    less = {name: one for name, one in tensors.items() if name != "layer1.0.conv1.weight"}
    save_file(less, tmp_path / "less.safetensors")
    with pytest.raises(ConfigError, match=r"1 tensors are missing, such as layer1\.0\.conv1\.weight"):
        TorchvisionEncoder("resnet18", weights="less.safetensors").open(CPU).__enter__()
    with pytest.raises(ConfigError, match="are not this network's"):
        TorchvisionEncoder("mobilenet_v3_small", weights=str(file)).open(CPU).__enter__()
    save_file({**tensors, "conv1.weight": torch.zeros(64, 3, 5, 5)}, tmp_path / "shape.safetensors")
    with pytest.raises(ConfigError, match=r"1 tensors are of another shape, such as conv1\.weight"):
        TorchvisionEncoder("resnet18", weights="shape.safetensors").open(CPU).__enter__()


def test_pickled_weights(files: Callable[[str], str], tmp_path: Path) -> None:
    """Opened only where it is allowed, and even then nothing but tensors is unpickled."""
    import pickle

    import torch
    from safetensors.torch import load_file

    torch.save(load_file(files("resnet18")), tmp_path / "resnet18.pth")
    encoder = TorchvisionEncoder("resnet18", weights="resnet18.pth")
    with pytest.raises(ConfigError, match=r"resnet18\.pth is pickled: unpickling can run code"):
        encoder.open(CPU).__enter__()
    allowed = DeviceSpec(device="cpu", precision="fp32", allow_pickle_weights=True)
    item = encoder.preparer("document")(PICTURES[0])
    with encoder.open(allowed) as model:
        [found] = model.forward([item], [encoder.resolve(Head())])
    [wanted] = outputs(TorchvisionEncoder("resnet18", weights=files("resnet18")), [Head()])
    assert agreement(list(found), list(wanted[:1]))[1] <= 1e-5
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ConfigError, match="could not be loaded"):
        TorchvisionEncoder("resnet18", weights="evil.pth").open(allowed).__enter__()
    assert not (tmp_path / "harm").exists()
    torch.save({"model": load_file(files("resnet18"))}, tmp_path / "nested.pth")
    with pytest.raises(ConfigError, match="holds no tensors by name"):
        TorchvisionEncoder("resnet18", weights="nested.pth").open(allowed).__enter__()


class _Evil:
    """Would make a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves the folder `served` on the loopback."""
    (tmp_path / "served").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_downloads(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision's own weights are fetched once, checked by the hash in their name, and never taken by halves."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    encoder = TorchvisionEncoder("resnet18")
    url = encoder._about["url"]
    assert url == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    with pytest.raises(
        ConfigError, match=r"its weights are not in .*hub/checkpoints, and downloads are forbidden  hint: connect.*resnet18-f37072fd"
    ):
        encoder.pull()
    with pytest.raises(ConfigError, match="is pickled"):
        encoder.open(CPU).__enter__()
    with pytest.raises(ConfigError, match="downloads are forbidden"):
        encoder.open(DeviceSpec(device="cpu", allow_pickle_weights=True)).__enter__()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    content = b"weights"
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(content)
    file = torchvision_files.fetched(f"{server}/{name}", "resnet18")
    assert file == tmp_path / "torch" / "hub" / "checkpoints" / name
    (tmp_path / "served" / name).unlink()
    assert torchvision_files.fetched(f"{server}/{name}", "resnet18").read_bytes() == content
    file.write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"is broken: its SHA-256 begins with .*wanted"):
        torchvision_files.fetched(f"{server}/{name}", "resnet18")
    (tmp_path / "served" / "resnet18-00000000.pth").write_bytes(content)
    for wrong, error in (("resnet18-00000000.pth", "RuntimeError"), ("resnet18-11111111.pth", "HTTPError")):
        with pytest.raises(ConfigError, match=rf"could not be downloaded \({error}\)"):
            torchvision_files.fetched(f"{server}/{wrong}", "resnet18")
    assert [one.name for one in file.parent.iterdir()] == [name]


def test_names_of_old_densenet_files(tmp_path: Path) -> None:
    """Torchvision's own files of DenseNet have names from before a renaming; they are understood."""
    import torch

    tensors = network("densenet121").state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): one for key, one in tensors.items()}
    assert set(old) != set(tensors)
    torch.save(old, tmp_path / "densenet.pth")
    found = torchvision_library.loaded("densenet121", "IMAGENET1K_V1", 1000, tmp_path / "densenet.pth")
    assert all(torch.equal(one, found.state_dict()[key]) for key, one in tensors.items())


def test_a_field_of_another_dimension(files: Callable[[str], str]) -> None:
    """Refused when fields are bound to encoders, which is before anything is read or written."""
    options = {"weights": files("resnet18")}
    field = VectorFieldSpec(name="image", dim=2048, metric="COSINE", index=FLAT(), encoder="torchvision:resnet18", options=options)
    key = FieldSpec(name="id", type="VARCHAR", primary_key=True, max_length=64)
    spec = CollectionSpec(name="pictures", fields=(key,), vectors=(field,), where="schemas/x.py: Pictures")
    with pytest.raises(SchemaError, match=r"image wants dim 2048, encoder torchvision:resnet18 gives 512\.  hint: set dim=512"):
        bind(spec)
