"""Where copies of a model go, and that real models run as several copies, on devices that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from connector.encoders.transformers import TransformersEncoder
from connector.encoding import Encoding, bind
from connector.encoding.probing import Goldens
from connector.interfaces import DeviceSpec
from connector.schema.indexes import FLAT
from connector.schema.spec import VectorFieldSpec
from tests.encoders.test_staging import TEXTS, LazyDevice
from tests.encoding.test_encoding import collection, window

torch = pytest.importorskip("torch")

from connector.encoders import lanes, staging, torch_device  # noqa: E402 - they need torch


@pytest.mark.parametrize(
    ("given", "devices", "wanted"),
    [
        (DeviceSpec("cuda"), 3, ["cuda:0", "cuda:1", "cuda:2"]),
        (DeviceSpec("auto"), 2, ["cuda:0", "cuda:1"]),
        (DeviceSpec("cuda"), 1, ["cuda"]),
        (DeviceSpec("cuda:1"), 3, ["cuda:1"]),
        (DeviceSpec("cuda:1", replicas=2), 3, ["cuda:1", "cuda:1"]),
        (DeviceSpec("cuda", replicas=2), 3, ["cuda:0", "cuda:1"]),
        (DeviceSpec("cuda", replicas=3), 2, ["cuda:0", "cuda:1", "cuda:0"]),
        (DeviceSpec("auto"), 0, ["auto"]),
        (DeviceSpec("cpu", replicas=2), 3, ["cpu", "cpu"]),
    ],
)
def test_one_copy_a_device(given: DeviceSpec, devices: int, wanted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is one copy for each device where none is named, and one on a CPU; what is written counts."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    assert [one.device for one in torch_device.spread(given)] == wanted


@pytest.mark.parametrize("faulty", [False, True])
def test_a_real_model_on_two_devices(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, *, faulty: bool) -> None:
    """Micro-batches are dealt to both, the vectors are those of one; when one device fails, the other one does its part, too."""
    encoder = TransformersEncoder(str(build()))
    field = VectorFieldSpec(name="vector", dim=32, metric="COSINE", index=FLAT(), encoder="transformers:x")
    bindings = bind(collection(field), lambda _: encoder, where="schemas/x.py: Docs")
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS)]
    with Encoding(bindings, {"vector": DeviceSpec("cpu", "fp32")}) as encoding:
        (alone,) = encoding(iter([window(*texts)]))
    devices = [LazyDevice(), LazyDevice(fails=4 if faulty else -1)]
    free = iter(devices)
    places: list[str] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(lanes, "runner", lambda _: staging.Staging(next(free)))
    real = TransformersEncoder._load

    def on_cpu(self: TransformersEncoder, root: Path, device: DeviceSpec) -> object:
        places.append(device.device)
        return real(self, root, DeviceSpec("cpu", "fp32", batch=10))

    monkeypatch.setattr(TransformersEncoder, "_load", on_cpu)
    goldens = Goldens()
    with Encoding(bindings, {"vector": DeviceSpec("cuda", "fp32", batch=10)}, goldens=goldens) as encoding:
        (both,) = encoding(iter([window(*texts)]))
    assert (places, both.bad) == (["cuda:0", "cuda:1"], {})
    assert all(device.computations > 3 for device in devices)
    assert [note for note in goldens.notes if "given up, 1 are left" in note] == goldens.notes[: int(faulty)]
    np.testing.assert_allclose(both.vectors["vector"].astype(float), alone.vectors["vector"].astype(float), rtol=1e-4, atol=1e-5)
