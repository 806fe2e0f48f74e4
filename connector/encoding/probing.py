"""The golden probe: a few fixed inputs whose vectors are kept with a collection, to see a changed encoder that kept its name.

Names cannot tell everything: a served model is exchanged, a library changes a filter or a kernel, a processor's bfloat16 is broken. So the
first run of a generation encodes these inputs in float32 and stamps the vectors, and whoever opens the encoder for that generation later
encodes them again. float32 must agree to 1e-4 of a vector's length; anything else, such as bfloat16 or a server, to a cosine of 0.999.
"""

from __future__ import annotations

import base64
import contextlib
import io
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.errors import ConfigError, OutOfMemory, PlanNeeded, RowError
from connector.interfaces import DeviceSpec, Encoder, Head, Model, Output

Matrix = npt.NDArray[np.float32]

FORMAT = 1
"""Version of the inputs and of how their vectors are kept: counted up when either changes, and then vectors are learnt anew."""

DIFFERENCE = 1e-4
"""Largest difference between float32 vectors, relative to their length."""

COSINE = 0.999
"""Smallest cosine where one of the two was not computed in float32."""

TEXTS = (
    "A red bicycle leans against the wall.",
    "Vektoren für Suchende: 向量数据库, base de données vectorielles, ñandú & €5.00!",
    "The quick brown fox jumps over the lazy dog, counts 1, 2, 3 and 4,096, and writes `def f(x): return x ** 2` " * 3,
)
_FOLDED = 1024
_SIDES = ((240, 320), (301, 199))
_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Probed:
    """A vector field as the probe sees it.

    Attributes:
        name: Of the field.
        head: What it takes from its encoder.
        modality: What it encodes.
    """

    name: str
    head: Head
    modality: str


@dataclass(slots=True)
class Goldens:
    """What a generation's stamp knows of its encoders.

    Attributes:
        vectors: The probe's vectors by field, (inputs, dim).
        scales: By int8 field what one step of its numbers is worth.
        learn: Called when something was added, before anything made with it is used; None: nothing is learnt.
        notes: What a run should say.
    """

    vectors: dict[str, Matrix] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    learn: Callable[[Goldens], None] | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, stamped: Mapping[str, Any] | None, learn: Callable[[Goldens], None] | None = None) -> Goldens:
        """Reads the probe of a stamp; vectors of another format are left out.

        Raises:
            ConfigError: It is no probe.
        """
        known = stamped or {}
        try:
            current = known.get("vectors", {}) if known.get("format") == FORMAT else {}
            vectors = {name: np.frombuffer(base64.b64decode(one["data"]), "<f4").reshape(-1, one["dim"]) for name, one in current.items()}
            return cls(vectors, dict(known.get("scales", {})), learn)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ConfigError("the golden probe in the collection's stamp cannot be read", hint="was it changed by hand?") from None

    def to_json(self) -> dict[str, Any]:
        """As JSON values: a vector's numbers as base64 of little-endian float32."""
        vectors = {
            name: {"dim": int(one.shape[1]), "data": base64.b64encode(one.astype("<f4").tobytes()).decode()}
            for name, one in self.vectors.items()
        }
        return {"format": FORMAT, "vectors": vectors, "scales": self.scales}

    def of(self, names: Iterable[str]) -> Goldens:
        """What is known of some fields only."""
        wanted = set(names)
        vectors = {name: one for name, one in self.vectors.items() if name in wanted}
        return Goldens(vectors, {name: one for name, one in self.scales.items() if name in wanted})

    def add(self, new: Goldens) -> None:
        """Adds what was found out, if it is anything, and has it learnt."""
        self.vectors.update(new.vectors)
        self.scales.update(new.scales)
        if self.learn is not None and (new.vectors or new.scales):
            self.learn(self)


@contextlib.contextmanager
def opened(encoder: Encoder, device: DeviceSpec, fields: Sequence[Probed], goldens: Goldens, name: str) -> Iterator[Model]:
    """An open model whose probe agrees with the stamp; with `precision: auto` it falls back to float32 where only that agrees.

    Args:
        encoder: The encoder.
        device: Where and how to compute.
        fields: What it is opened for.
        goldens: Of the generation; what is missing there is computed in float32 and learnt.
        name: Of the encoder, for messages.

    Raises:
        PlanNeeded: The vectors are others than those that the collection was filled with.
    """
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(encoder.open(device))
        found = measured(model, encoder, fields)
        missing = [one.name for one in fields if one.name not in goldens.vectors and one.name in found]
        if missing and goldens.learn is not None:
            exact = found
            if model.precision not in {"fp32", "remote"}:
                stack.close()  # two copies of the weights may not fit
                exact = _in_float32(encoder, device, fields) or found
                model = stack.enter_context(encoder.open(device))
            goldens.add(Goldens({one: exact[one] for one in missing}))
        wrong = _wrong(found, goldens, model.precision)
        if wrong and device.precision == "auto" and model.precision != "fp32":
            lower = model.precision
            stack.close()
            model = stack.enter_context(encoder.open(replace(device, precision="fp32")))
            goldens.notes.append(f"{name} computes in fp32: in {lower} {wrong}")
            wrong = _wrong(measured(model, encoder, fields), goldens, model.precision)
        if wrong:
            raise PlanNeeded(
                f"encoder {name} is not what the collection was filled with: {wrong}",
                hint="restore its weights and library versions, or declare the change and fill a new collection",
            )
        goldens.notes += [f"{name}: {note}" for note in getattr(model, "notes", ())]
        yield model


def alike(one: Matrix, other: Matrix) -> bool:
    """Whether two probes of one field are of the same weights."""
    a, b = one.ravel(), other.ravel()
    return a.shape == b.shape and float(np.dot(a, b)) >= COSINE * float(np.linalg.norm(a)) * float(np.linalg.norm(b))


def _in_float32(encoder: Encoder, device: DeviceSpec, fields: Sequence[Probed]) -> dict[str, Matrix]:
    """The probe's vectors in float32; {} if the model is too large for that."""
    try:
        with encoder.open(replace(device, precision="fp32")) as model:
            return measured(model, encoder, fields)
    except (OutOfMemory, ConfigError):
        return {}


def measured(model: Model, encoder: Encoder, fields: Sequence[Probed]) -> dict[str, Matrix]:
    """The probe's vectors by field; a field whose encoder reads none of the inputs is left out."""
    found: dict[str, Matrix] = {}
    for modality in sorted({one.modality for one in fields}):
        some = [one for one in fields if one.modality == modality]
        prepare = encoder.preparer("document", modality)
        outputs = []
        for value in inputs(encoder, modality):
            with contextlib.suppress(RowError):
                outputs.append(model.forward([prepare(value)], [one.head for one in some]))  # one at a time: memory may be scarce
        if outputs:
            found |= {one.name: np.stack([_vector(output[place]) for output in outputs]) for place, one in enumerate(some)}
    return found


def _vector(output: Output) -> Matrix:
    """One input's output as one vector: positions are averaged, a sparse vector is folded."""
    first = output[0]
    if not isinstance(first, Mapping):
        array = np.asarray(first, dtype=np.float32)
        return array if array.ndim == 1 else array.mean(axis=0, dtype=np.float32)
    folded = np.zeros(_FOLDED, dtype=np.float32)
    for index, weight in first.items():
        folded[index % _FOLDED] += weight
    return folded


def _wrong(found: Mapping[str, Matrix], goldens: Goldens, precision: str) -> str:
    """How the probe differs from the stamp, in words; "" if it does not."""
    return "; ".join(
        f"field {name}: {words}" for name, one in found.items() if (words := _difference(one, goldens.vectors.get(name), precision))
    )


def _difference(found: Matrix, golden: Matrix | None, precision: str) -> str:
    if golden is None:
        return ""
    if found.shape != golden.shape:
        return f"the probe gives {found.shape}, stamped {golden.shape}"
    a, b = found.astype(np.float64), golden.astype(np.float64)
    lengths = np.maximum(np.linalg.norm(a, axis=1), 1e-30), np.maximum(np.linalg.norm(b, axis=1), 1e-30)
    cosine = float(((a * b).sum(axis=1) / (lengths[0] * lengths[1])).min())
    if precision != "fp32":
        return "" if cosine >= COSINE else f"the probe's cosine to the stamped vectors is {cosine:.4f}, wanted {COSINE}"
    difference = float((np.linalg.norm(a - b, axis=1) / lengths[1]).max())
    return (
        "" if difference <= DIFFERENCE else f"the probe differs by {difference:.1e} (cosine {cosine:.4f}), wanted {DIFFERENCE:.0e} in fp32"
    )


def inputs(encoder: Encoder, modality: str) -> Sequence[Any]:
    """What is encoded: the encoder's own `probe_inputs` (by modality) if it has them, else those of this module."""
    own: Mapping[str, Sequence[Any]] | None = getattr(encoder, "probe_inputs", None)
    if own is not None:
        return own.get(modality, ())
    made: dict[str, Callable[[], Sequence[Any]]] = {"text": lambda: TEXTS, "image": _pictures, "audio": _sounds}
    return made[modality]() if modality in made else ()


def _pictures() -> list[Any]:
    """Two pictures of waves in three colours: arrays of whole numbers, since decoders and sines differ between machines."""
    made = []
    for height, width in _SIDES:
        y, x = np.mgrid[0:height, 0:width]
        waves = [np.abs((x * a + y * b + x * y // 64) % 511 - 255) for a, b in ((5, 3), (2, 11), (17, 1))]
        made.append(np.stack(waves, axis=2).astype(np.uint8))
    return made


def _sounds() -> list[bytes]:
    """Two recordings of a rising tone, a second and a half second long: WAV, mono, 16 bits, 16 kHz."""
    made = []
    for count in (_RATE, _RATE // 2):
        step = np.arange(count, dtype=np.int64)
        samples = (6 * np.abs((step * 50 + step * step // 70) % 4000 - 2000) - 6000).astype("<i2")
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(_RATE)
            out.writeframes(samples.tobytes())
        made.append(file.getvalue())
    return made
