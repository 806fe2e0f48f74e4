"""A network of the user's own gives what it gives without us: LeNet-5, an autoencoder's bottleneck, a SimCLR backbone."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoders import module_library
from connector.encoders.module import ModuleEncoder
from connector.encoding.binding import bind
from connector.errors import ConfigError, EncodeError, RowError, SchemaError
from connector.interfaces import DeviceSpec, Head, identity
from connector.schema.indexes import FLAT
from connector.schema.spec import CollectionSpec, FieldSpec, VectorFieldSpec
from connector.testing.encoder_check import check_encoder
from tests.encoders.parity import agreement, check_parity
from tests.encoders.randomized import settle
from tests.encoders.test_staging import check_same
from tests.pictures import encoded, picture

PICTURES = [picture(60 + 20 * seed, 90, seed) for seed in range(3)]
CPU = DeviceSpec(device="cpu", precision="fp32")

LENET = '''
import torch
from torch import nn
from torch.nn import functional

class LeNet5(nn.Module):
    """LeCun et al. (1998), as torch's tutorial writes it: 28 x 28 grey pixels to ten digits."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.view(-1, 400)
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.fc3(x)

def lenet5():
    return LeNet5()

def not_a_network():
    return "LeNet-5"
'''
AUTOENCODER = """
from torch import nn

class Autoencoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, width, 3, stride=2, padding=1)
        )
        self.decoder = nn.Sequential(
            nn.ReLU(inplace=True), nn.ConvTranspose2d(width, 16, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(16, 3, 2, stride=2)
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))

def autoencoder(width=8):
    return Autoencoder(width)
"""
SIMCLR = '''
from torch import nn
from torchvision import models, transforms

class SimCLR(nn.Module):
    """Chen et al. (2020): a ResNet without its classifier, and a projection that is thrown away after training."""

    def __init__(self):
        super().__init__()
        self.backbone = models.resnet18()
        self.backbone.fc = nn.Identity()
        self.projector = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))

    def forward(self, x):
        return self.projector(self.backbone(x))

def simclr():
    return SimCLR()

transform = transforms.Compose(
    [transforms.Resize(72), transforms.CenterCrop(64), transforms.ToTensor(), transforms.Normalize([0.49, 0.48, 0.45], [0.2, 0.2, 0.2])]
)

def broken(image):
    raise ValueError("no such picture")

def small(image):
    return transform(image)[:, :32]
'''
TOWER = """
import torch
from torch import nn

class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(128, 16)
        self.act = nn.ReLU()
        self.one = nn.Linear(16, 16)
        self.two = nn.Linear(16, 12)

    def forward(self, numbers):
        hidden = self.act(self.one(self.embed(numbers.long())))
        return self.act(self.two(hidden)).mean(dim=1)

def tower():
    return Tower()

def letters(text):
    return [ord(letter) % 128 for letter in text[:9].ljust(9)]
"""
FILES = {"own_lenet": LENET, "own_autoencoder": AUTOENCODER, "own_simclr": SIMCLR, "own_tower": TOWER}


@pytest.fixture(autouse=True)
def weights(tmp_path: Path) -> dict[str, str]:
    """The files of a user who has trained four networks, in the working directory."""
    for name, code in FILES.items():
        (tmp_path / f"{name}.py").write_text(code)
    return {
        "lenet": "own_lenet:lenet5",
        "autoencoder": "own_autoencoder:autoencoder",
        "simclr": "own_simclr:simclr",
        "tower": "own_tower:tower",
    }


def built(reference: str, **args: Any) -> Any:
    """The user's network with random weights, which are saved beside it: what we have to agree with."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(11)
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(reference.partition(":")[0])
    finally:
        sys.path.remove(str(Path.cwd()))
    network = settle(getattr(module, reference.partition(":")[2])(**args))
    save_file(network.state_dict(), f"{reference.partition(':')[2]}.safetensors")
    return network


def lenet(**options: Any) -> ModuleEncoder:
    """An encoder of LeNet-5."""
    return ModuleEncoder("own_lenet:lenet5", "lenet5.safetensors", [1, 28, 28], mean=[0.1307], std=[0.3081], **options)


def digits() -> list[Any]:
    """The pictures as MNIST's usual transform makes them."""
    from torchvision import transforms

    steps = [transforms.Grayscale(), transforms.Resize(28), transforms.CenterCrop(28), transforms.ToTensor()]
    transform: Any = transforms.Compose([*steps, transforms.Normalize([0.1307], [0.3081])])
    return [transform(one)[None] for one in PICTURES]


def test_lenets_penultimate_layer() -> None:
    """84 numbers of a grey picture: the input of the last layer, after its activation, which no layer's own output is."""
    import torch
    from torch.nn import functional

    network = built("own_lenet:lenet5")
    encoder = lenet()
    head = Head(layer="penultimate")
    assert (encoder.spec(head).dim, encoder.spec(Head()).dim) == (84, 10)
    with torch.inference_mode():
        before = [functional.max_pool2d(functional.relu(network.conv1(one)), 2) for one in digits()]
        flat = [functional.max_pool2d(functional.relu(network.conv2(one)), 2).flatten(1) for one in before]
        wanted = [functional.relu(network.fc2(functional.relu(network.fc1(one))))[0].numpy() for one in flat]
        raw = [network.fc2(functional.relu(network.fc1(one)))[0].numpy() for one in flat]
        logits = [network(one)[0].numpy() for one in digits()]
    check_parity("module", encoder, PICTURES, wanted, head, words="LeNet-5, penultimate")
    check_parity("module", encoder, PICTURES, raw, Head(layer="fc2"), words="LeNet-5, fc2")
    check_parity("module", encoder, PICTURES, logits, words="LeNet-5, output")


def test_an_autoencoders_bottleneck() -> None:
    """The whole code, or its mean over the places; the decoder is not even run, and what it writes in place harms nothing."""
    import torch
    from torchvision import transforms

    network = built("own_autoencoder:autoencoder", width=4)
    encoder = ModuleEncoder("own_autoencoder:autoencoder", "autoencoder.safetensors", [3, 32, 32], args={"width": 4}, crop="squash")
    assert encoder.spec(Head(layer="encoder", pooling="flatten")).dim == 4 * 8 * 8
    transform: Any = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    with torch.inference_mode():
        codes = [network.encoder(transform(one)[None])[0] for one in PICTURES]
    whole = [one.flatten().numpy() for one in codes]
    check_parity("module", encoder, PICTURES, whole, Head(layer="encoder", pooling="flatten"), words="autoencoder, encoder, flatten")
    means = [one.mean(dim=(1, 2)).numpy() for one in codes]
    check_parity("module", encoder, PICTURES, means, Head(layer="encoder"), words="autoencoder, encoder, mean")
    rows = [one.flatten(1).T.numpy() for one in codes]
    check_parity("module", encoder, PICTURES, rows, Head(layer="encoder", pooling="none"), words="autoencoder, encoder, none")


def test_what_a_layer_gave_is_kept_from_later_layers() -> None:
    """A code that is taken whole stays what it was, though the decoder, which runs for another head, writes into it."""
    built("own_autoencoder:autoencoder", width=4)
    encoder = ModuleEncoder("own_autoencoder:autoencoder", "autoencoder.safetensors", [3, 32, 32], args={"width": 4})
    items = [encoder.preparer("document")(one) for one in PICTURES]
    heads = [encoder.resolve(one) for one in (Head(layer="encoder", pooling="flatten"), Head(pooling="flatten"))]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=10**9)) as model:
        together = model.forward(items, heads)
        alone = [model.forward(items, [head])[0] for head in heads]
    assert np.min(np.asarray(alone[0])) < 0
    assert max(agreement(list(one), list(other))[1] for one, other in zip(together, alone, strict=True)) <= 1e-5


def test_networks_of_ones_own_through_the_stager(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU is fed, pictures and arrays of one's own give the same vectors."""
    built("own_autoencoder:autoencoder", width=4)
    encoder = ModuleEncoder("own_autoencoder:autoencoder", "autoencoder.safetensors", [3, 32, 32], args={"width": 4})
    heads = [Head(layer="encoder", pooling="flatten"), Head(layer="encoder", pooling="none"), Head(pooling="flatten")]
    check_same(encoder, list(PICTURES) * 3, heads, monkeypatch, encoder.preparer("document")(PICTURES[0]).cost)
    built("own_tower:tower")
    tower = ModuleEncoder("own_tower:tower", "tower.safetensors", [9], prepare="letters", inputs="text")
    check_same(tower, ["milvus", "a database", "of vectors"], [Head(), Head(layer="one", pooling="max")], monkeypatch, 9)


def test_a_simclr_backbone() -> None:
    """What stands before the projection, with a transform of torchvision as the user has it."""
    import torch

    network = built("own_simclr:simclr")
    transform = importlib.import_module("own_simclr").transform
    encoder = ModuleEncoder("own_simclr:simclr", "simclr.safetensors", [3, 64, 64], prepare="transform")
    with torch.inference_mode():
        wanted = [network.backbone(transform(one)[None])[0].numpy() for one in PICTURES]
        projected = [network(transform(one)[None])[0].numpy() for one in PICTURES]
    assert (encoder.spec(Head(layer="backbone")).dim, encoder.spec(Head()).dim) == (512, 128)
    check_parity("module", encoder, PICTURES, wanted, Head(layer="backbone"), words="SimCLR, backbone")
    check_parity("module", encoder, PICTURES, projected, words="SimCLR, output")


def test_text_by_a_function_of_ones_own() -> None:
    """Any kind of input: the function makes an array of it."""
    import torch

    network = built("own_tower:tower")
    encoder = ModuleEncoder("own_tower:tower", "tower.safetensors", [9], prepare="own_tower:letters", inputs="text")
    letters = importlib.import_module("own_tower").letters
    texts = ["milvus", "a database", "of vectors"]
    with torch.inference_mode():
        wanted = [network(torch.tensor([letters(one)]))[0].numpy() for one in texts]
    assert encoder.inputs == {"text"}
    with connector.encoder(
        "module:own_tower:tower", weights="tower.safetensors", shape=[9], prepare="letters", inputs="text", device=CPU
    ) as one:
        assert agreement(list(one.encode(texts)), wanted)[1] <= 1e-5
    check_encoder(lambda: ModuleEncoder("own_tower:tower", "tower.safetensors", [9], prepare="letters", inputs="text"), texts)
    with pytest.raises(ConfigError, match=r"layer `act` is used 2 times in one pass: which is meant\?  hint: .*valid: .*one, .*output"):
        encoder.resolve(Head(layer="act"))


def test_contract() -> None:
    """The checks that every encoder passes."""
    built("own_lenet:lenet5")
    check_encoder(lenet, PICTURES)


def test_several_layers_are_one_pass() -> None:
    """Four heads run the network once; each gives what it gives alone; the pass ends when all is there."""
    built("own_lenet:lenet5")
    encoder = lenet()
    heads = [encoder.resolve(one) for one in (Head(layer="penultimate"), Head(layer="conv1", pooling="max"), Head(layer="conv2"), Head())]
    items = [encoder.preparer("document")(one) for one in PICTURES]
    with encoder.open(DeviceSpec(device="cpu", precision="fp32", batch=10**9)) as model:
        calls: list[str] = []
        network = model._network  # type: ignore[attr-defined]  # ours
        for name in ("conv1", "fc1"):
            network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
        together = model.forward(items, heads)
        assert calls == ["conv1", "fc1"]
        alone = [model.forward(items, [head])[0] for head in heads]
        assert calls.count("conv1") == 4  # its own tap ends the pass before this later hook
        assert calls.count("fc1") == 3
    assert max(agreement(list(one), list(other))[1] for one, other in zip(together, alone, strict=True)) <= 1e-5


def test_a_head_has_one_form() -> None:
    """The output by the name of the last layer, the penultimate layer by what it is, are one identity; what is not there is listed."""
    built("own_lenet:lenet5")
    encoder = lenet()
    assert len({str(identity(encoder, Head(layer=layer))) for layer in (None, "output", "fc3")}) == 1
    assert len({str(identity(encoder, Head(layer=layer))) for layer in ("penultimate", "input:fc3")}) == 1
    assert len({str(identity(encoder, Head(layer="conv2", pooling=pooling))) for pooling in (None, "avg", "mean")}) == 1
    for head, message in (
        (Head(layer="fc4"), "no layer `fc4`  hint: did you mean `fc"),
        (Head(pooling="mean"), "no pooling `mean`  hint: valid: model"),
        (Head(layer="conv2", pooling="cls"), "no pooling `cls`  hint: .*valid: flatten, gem:3, max, mean, none"),
    ):
        with pytest.raises(ConfigError, match=message):
            encoder.resolve(head)


def test_described_without_torch() -> None:
    """The first plan asks the network; after that neither torch nor the user's file is imported."""
    built("own_lenet:lenet5")
    code = """
import sys
from connector.encoders.module import ModuleEncoder
from connector.interfaces import Head, identity
encoder = ModuleEncoder("own_lenet:lenet5", "lenet5.safetensors", [1, 28, 28])
identity(encoder, Head(layer="penultimate"))
item = encoder.preparer("document")(sys.stdin.buffer.read())
print(encoder.spec(Head(layer="penultimate")).dim, item.cost, [name for name in ("torch", "own_lenet") if name in sys.modules])
"""
    results = [
        subprocess.run([sys.executable, "-c", code], input=encoded(), capture_output=True, check=True).stdout.decode() for _ in range(2)
    ]
    assert results == ["84 784 ['torch', 'own_lenet']\n", "84 784 []\n"]


def test_identity(tmp_path: Path) -> None:
    """Another source, other weights, another way to prepare or other arguments are another model; a folder that moves is not."""
    built("own_lenet:lenet5")
    built("own_simclr:simclr")
    built("own_autoencoder:autoencoder")
    first = lenet().model
    assert str(tmp_path) not in str(first)
    changed = [
        lenet(crop="squash").model,
        lenet(interpolation="bicubic").model,
        ModuleEncoder("own_lenet:lenet5", "lenet5.safetensors", [1, 28, 28]).model,
        ModuleEncoder("own_lenet:lenet5", "simclr.safetensors", [1, 28, 28], mean=[0.1307], std=[0.3081]).model,
        ModuleEncoder("own_lenet:lenet5", "lenet5.safetensors", [1, 32, 32], mean=[0.1307], std=[0.3081]).model,
    ]
    assert len({str(one) for one in (first, *changed)}) == 6
    shutil.move("lenet5.safetensors", "renamed.safetensors")
    shutil.copy("renamed.safetensors", "lenet5.safetensors")
    assert ModuleEncoder("own_lenet:lenet5", "./renamed.safetensors", [1, 28, 28], mean=[0.1307], std=[0.3081]).model == first
    Path("own_lenet.py").write_text(f"{LENET}\n# changed\n")
    assert lenet().model != first
    given: dict[str, Any] = {"model": "own_simclr:simclr", "weights": "simclr.safetensors", "shape": [3, 64, 64]}
    before = ModuleEncoder(**given, prepare="transform").model
    assert ModuleEncoder(**given, prepare="own_simclr:transform").model == before
    Path("other.py").write_text(SIMCLR)
    assert ModuleEncoder(**given, prepare="other:transform").model != before
    sizes = [
        ModuleEncoder("own_autoencoder:autoencoder", "autoencoder.safetensors", [3, 32, 32], args={"width": size}).model for size in (4, 8)
    ]
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "own_lenet"}, "model `own_lenet` names no function  hint: write module:package.file:factory"),
        ({"model": "no.such.file:factory"}, r"there is no module no\.such\.file \(looked from "),
        ({"model": "sys:exit"}, "there is no module sys"),
        ({"model": "own_lenet:lenet6"}, "own_lenet has no such function  hint: did you mean `lenet5`"),
        ({"model": "own_lenet:not_a_network"}, r"returns a str, wanted a torch\.nn\.Module"),
        ({"args": {"depth": 3}}, r"the factory does not take \['depth'\]"),
        ({"shape": [3, 28, 28]}, r"cannot take an input of shape \[3, 28, 28\] \(RuntimeError: "),
        ({"shape": [2, 28, 28]}, r"shape is \[2, 28, 28\], wanted \[1, height, width\]"),
        ({"shape": [28, 28]}, r"shape is \[28, 28\], wanted"),
        ({"mean": [0.5, 0.5, 0.5]}, "mean and std want 1 numbers each"),
        ({"std": [0]}, "a deviation is not 0"),
        ({"crop": "round"}, "unknown `round`"),
        ({"inputs": "text"}, "reads text, and nothing says how it is prepared"),
        ({"prepare": "nothing:transform"}, "prepare `nothing:transform`: there is no module nothing"),
        ({"prepare": "lenet5", "mean": [0.5]}, "`prepare` does what `mean`, `std`, `draft` and `fast` do"),
        ({"weights": "nothing.safetensors"}, "there is no file nothing"),
    ],
)
def test_what_cannot_be_used(options: dict[str, Any], message: str) -> None:
    """Refused when the encoder is made, or at the latest when a field asks for its dimension."""
    built("own_lenet:lenet5")
    given: dict[str, Any] = {"model": "own_lenet:lenet5", "weights": "lenet5.safetensors", "shape": [1, 28, 28], **options}
    with pytest.raises(ConfigError, match=message):
        ModuleEncoder(**given).spec(Head())


def test_weights_that_cannot_be_used() -> None:
    """Cut off, of another network, pickled: nothing is left at random."""
    import torch
    from safetensors.torch import load_file

    built("own_lenet:lenet5")
    built("own_simclr:simclr")
    Path("cut.safetensors").write_bytes(Path("lenet5.safetensors").read_bytes()[:-8])
    torch.save(load_file("lenet5.safetensors"), "lenet5.pt")
    with pytest.raises(ConfigError, match="broken or cut off"):
        ModuleEncoder("own_lenet:lenet5", "cut.safetensors", [1, 28, 28])
    with pytest.raises(
        ConfigError, match=r"are not this network's: 10 tensors are missing, such as conv1\.weight; .* are not of this network"
    ):
        ModuleEncoder("own_lenet:lenet5", "simclr.safetensors", [1, 28, 28]).open(CPU).__enter__()
    pickled = ModuleEncoder("own_lenet:lenet5", "lenet5.pt", [1, 28, 28])
    with pytest.raises(ConfigError, match=r"lenet5\.pt is pickled"):
        pickled.open(CPU).__enter__()
    with pickled.open(DeviceSpec(device="cpu", precision="fp32", allow_pickle_weights=True)) as model:
        [found] = model.forward([pickled.preparer("document")(PICTURES[0])], [pickled.resolve(Head())])
    assert np.shape(found) == (1, 10)


def test_inputs_that_cannot_be_prepared() -> None:
    """What the user's function raises, or a shape that it did not promise, is the input's fault and says so."""
    built("own_simclr:simclr")
    given: dict[str, Any] = {"model": "own_simclr:simclr", "weights": "simclr.safetensors", "shape": [3, 64, 64]}
    with pytest.raises(RowError, match="prepare own_simclr:broken: ValueError: no such picture"):
        ModuleEncoder(**given, prepare="broken").preparer("document")(PICTURES[0])
    with pytest.raises(RowError, match=r"gave shape \[3, 32, 64\], wanted \[3, 64, 64\]"):
        ModuleEncoder(**given, prepare="small").preparer("document")(PICTURES[0])
    with pytest.raises(RowError, match="not an image"):
        ModuleEncoder(**given, prepare="transform").preparer("document")(b"words")
    with pytest.raises(ConfigError, match="has no such function"):
        ModuleEncoder(**given, prepare="nothing").preparer("document")(PICTURES[0])
    with pytest.raises(ConfigError, match="unknown role"):
        ModuleEncoder(**given, prepare="transform").preparer("both")  # type: ignore[arg-type]  # a mistake


def test_a_layer_that_an_input_does_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes another way than in the trial is told, not answered with an old vector."""
    built("own_lenet:lenet5")
    encoder = lenet()
    item = encoder.preparer("document")(PICTURES[0])
    with encoder.open(CPU) as model:
        network = model._network  # type: ignore[attr-defined]  # ours
        head = encoder.resolve(Head(layer="fc1"))
        model.forward([item], [head])
        monkeypatch.setattr(network, "forward", lambda x: x.flatten(1)[:, :10])
        with pytest.raises(EncodeError, match="failed on 1 inputs"):
            model.forward([item], [head])


def test_a_factory_that_the_meta_device_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that looks at numbers while it is built, or in its pass, is asked on the CPU instead."""
    Path("own_looks.py").write_text(
        LENET.replace("x = x.view(-1, 400)", "x = x.view(-1, 400) * (1.0 if float(x.sum()) >= 0 else 1.0)").replace("lenet5()", "looks()")
    )
    built("own_looks:looks")
    assert ModuleEncoder("own_looks:looks", "looks.safetensors", [1, 28, 28]).spec(Head(layer="penultimate")).dim == 84
    monkeypatch.setattr(module_library, "layers", lambda *_: pytest.fail("asked again"))
    assert ModuleEncoder("own_looks:looks", "looks.safetensors", [1, 28, 28]).spec(Head(layer="fc1")).dim == 120


def test_a_field_of_another_dimension() -> None:
    """Refused when fields are bound to encoders, which is before anything is read or written."""
    built("own_lenet:lenet5")
    options = {"weights": "lenet5.safetensors", "shape": [1, 28, 28]}
    given: dict[str, Any] = {"name": "image", "metric": "COSINE", "index": FLAT(), "encoder": "module:own_lenet:lenet5", "options": options}
    key = FieldSpec(name="id", type="VARCHAR", primary_key=True, max_length=64)
    fields = [VectorFieldSpec(**given, dim=dim, layer="penultimate") for dim in (84, 128)]
    specs = [CollectionSpec(name="digits", fields=(key,), vectors=(field,), where="schemas/x.py: Digits") for field in fields]
    [bound] = bind(specs[0])
    assert (bound.source, bound.head.layer) == ("image", "penultimate")
    with pytest.raises(SchemaError, match=r"image wants dim 128, encoder module:own_lenet:lenet5 gives 84\.  hint: set dim=84"):
        bind(specs[1])
