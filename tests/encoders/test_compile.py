"""`compile` changes speed only: the same vectors, a fall back where it fails, and the golden probe over what was compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connector.encoders.transformers import TransformersEncoder
from connector.encoding.handle import EncoderHandle
from connector.encoding.probing import Goldens, Probed
from connector.errors import PlanNeeded
from connector.interfaces import DeviceSpec, Head

torch = pytest.importorskip("torch")

TEXTS = ["the cat sat on the mat", "the dog", "a green vector database stores points near the mat"]
Build = Callable[..., Path]


def compiled_by(monkeypatch: pytest.MonkeyPatch, backend: Any) -> list[object]:
    """Lets torch trace the network as always, and leaves what it traced to this backend; what was compiled."""
    asked: list[object] = []
    real = torch.compile

    def compile_(function: Any, **options: Any) -> Any:
        asked.append(function)
        return real(function, backend=backend, **options)

    monkeypatch.setattr(torch, "compile", compile_)
    torch._dynamo.reset()
    return asked


def encoded(encoder: TransformersEncoder, spec: DeviceSpec, goldens: Goldens | None = None) -> tuple[Any, list[str]]:
    """Vectors of the texts, and the notes."""
    goldens = goldens or Goldens()
    field = Probed("vector", encoder.resolve(Head()), "text")
    with EncoderHandle(encoder, None, spec, goldens=goldens, field=field) as handle:
        return handle.encode(TEXTS), goldens.notes


def test_compiled_vectors_are_the_same(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by default; on, the traced network gives what the network itself gives."""
    seen: list[int] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    asked = compiled_by(monkeypatch, backend)
    encoder = TransformersEncoder(str(build()))
    plain, _ = encoded(encoder, DeviceSpec("cpu", "fp32"))
    assert asked == []
    vectors, notes = encoded(encoder, DeviceSpec("cpu", "fp32", compile=True))
    assert (len(asked), notes) == (1, [])
    assert sum(seen) > 20, "the network was traced"
    np.testing.assert_allclose(vectors, plain, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_compiled_runs_as_it_is(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler, for one: the vectors are right, and a note says what happened."""

    def backend(_graph: Any, _inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler was found")

    encoder = TransformersEncoder(str(build()))
    plain, _ = encoded(encoder, DeviceSpec("cpu", "fp32"))
    compiled_by(monkeypatch, backend)
    vectors, notes = encoded(encoder, DeviceSpec("cpu", "fp32", compile=True))
    assert len(notes) == 1
    assert "`compile` failed, and the network runs as it is" in notes[0]
    assert "no C++ compiler" in notes[0]
    np.testing.assert_allclose(vectors, plain, rtol=1e-4, atol=1e-5)


def test_the_golden_probe_covers_it(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that makes a network compute something else is found by the probe, before a vector is stored."""

    def backend(graph: Any, _inputs: Any) -> Any:
        return lambda *inputs: tuple(one * 1.5 + 0.1 if torch.is_floating_point(one) else one for one in graph.forward(*inputs))

    encoder, goldens = TransformersEncoder(str(build())), Goldens(learn=lambda _: None)
    encoded(encoder, DeviceSpec("cpu", "fp32"), goldens)
    assert list(goldens.vectors) == ["vector"]
    compiled_by(monkeypatch, backend)
    with pytest.raises(PlanNeeded, match="is not what the collection was filled with"):
        encoded(encoder, DeviceSpec("cpu", "fp32", compile=True), goldens)
