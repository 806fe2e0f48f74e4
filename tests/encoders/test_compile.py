"""`compile` changes speed only: the same vectors, a fall back where it fails, and the golden probe over what was compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import Goldens, Probed
from connector.errors import PlanNeeded
from connector.interfaces import DeviceSpec, Head, Model, Prepared
from connector.testing.encoders import FakeEncoder

torch = pytest.importorskip("torch")

from connector.encoders.lanes import LaneModel  # noqa: E402 - they need torch
from connector.encoders.running import running  # noqa: E402
from connector.encoders.vectors import Late  # noqa: E402

TEXTS = ["one", "three words here", "some", "longer text that has more words than the others"]
BACKENDS: list[Any] = []
"""What the next networks are compiled with; empty: torch is not to be asked."""


class Tiny(LaneModel):
    """A network of two layers over the lengths of words."""

    def _parts(self, items: Sequence[Prepared], most: int) -> list[Sequence[Prepared]]:
        return [items[start : start + most] for start in range(0, len(items), most)]

    def _arrays(self, items: Sequence[Prepared]) -> tuple[Any, ...]:
        lengths = [[float(len(word)) for word in item.data.split()][:8] for item in items]
        return (np.asarray([one + [0.0] * (8 - len(one)) for one in lengths], dtype=np.float32),)

    def _compute(self, tensors: Sequence[Any], heads: Sequence[Head]) -> list[Late]:
        return [Late((self._network(tensors[0]),)) for _ in heads]


class Torchy(FakeEncoder):
    """Has weights of its own."""

    @contextlib.contextmanager
    def open(self, device: DeviceSpec) -> Iterator[Model]:
        """The network, as encoders of torch open theirs."""
        torch.manual_seed(3)
        network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 8)).eval()
        with running(Tiny(network, "tiny", "fp32", 2, torch.device("cpu")), self.model, replace(device, batch=2)) as model:
            yield model


@pytest.fixture(autouse=True)
def _backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets torch trace the network as always, and hands what it traced to the backend of the test."""
    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **options: real(module, backend=BACKENDS[0], **options))
    torch._dynamo.reset()
    yield
    BACKENDS.clear()
    torch._dynamo.reset()


def encoded(spec: DeviceSpec, goldens: Goldens | None = None) -> tuple[Any, list[str]]:
    """Vectors of the texts, and the notes."""
    encoder, goldens = Torchy(probed=True), goldens or Goldens()
    field = Probed("vector", encoder.resolve(Head()), "text")
    with EncoderHandle(encoder, None, spec, goldens=goldens, field=field) as handle:
        return handle.encode(TEXTS), goldens.notes


def test_compiled_vectors_are_the_same() -> None:
    """Off by default; on, the traced network gives what the network itself gives, whatever the number of inputs."""
    plain, _ = encoded(DeviceSpec("cpu"))
    seen: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        seen.append(graph)
        return graph.forward

    BACKENDS.append(backend)
    vectors, notes = encoded(DeviceSpec("cpu", compile=True))
    assert (len(seen) > 0, notes) == (True, [])
    np.testing.assert_allclose(vectors, plain, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_compiled_runs_as_it_is() -> None:
    """Without a C++ compiler, for one: the vectors are right, and a note says what happened."""
    plain, _ = encoded(DeviceSpec("cpu"))

    def backend(_graph: Any, _inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler was found")

    BACKENDS.append(backend)
    vectors, notes = encoded(DeviceSpec("cpu", compile=True))
    assert len(notes) == 1
    assert "`compile` failed, and the network runs as it is" in notes[0]
    assert "no C++ compiler" in notes[0]
    np.testing.assert_array_equal(vectors, plain)


def test_the_golden_probe_covers_it() -> None:
    """A compiler that makes a network compute something else is found by the probe, before a vector is stored."""
    goldens = Goldens(learn=lambda _: None)
    encoded(DeviceSpec("cpu"), goldens)
    assert list(goldens.vectors) == ["vector"]
    BACKENDS.append(lambda graph, _inputs: lambda *inputs: tuple(one * 1.5 + 0.1 for one in graph.forward(*inputs)))
    with pytest.raises(PlanNeeded, match="is not what the collection was filled with"):
        encoded(DeviceSpec("cpu", compile=True), goldens)
