"""The contracts between the core and everything that plugs into it, on one page.

A plugin implements a Protocol; it inherits nothing and imports only `record`, `errors`, `schema` and this file. It is named by an
entry point (`connector.sources`, `.parsers`, `.splitters`, `.encoders`); the keyword arguments of a source's or encoder's
`__init__` are its YAML keys; a splitter is given `size`, `overlap`, `max_bytes` and `tokenizer`, a parser nothing. `connector.testing` has
the checks that prove a plugin keeps these promises.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from connector.record import Document, Gap, Key, Payload, Position, Removed, Row, Window

Role: TypeAlias = Literal["document", "query"]
"""Which side of a search an input is on; models with prompts prepare the two differently."""

Modality: TypeAlias = Literal["text", "image", "audio"]
"""What kind of input an encoder reads. A plug-in may have others; those known here have names that the rest of the program understands."""


class Source(Protocol):
    """Where documents come from.

    A `listing` source lists everything from the start on every run, so what it no longer lists can be swept. A
    `cursor` source reads on from `after` and is never swept; it tells removals by `Removed`.
    A listing that knows, without being read, how many documents it has may have `total()`, for the progress bar: a number, or None.
    """

    mode: Literal["listing", "cursor"]

    def partitions(self) -> list[str]:
        """Stable names of the parts that are read one after the other; a single "" if there is nothing to part.

        Raises:
            ConfigError: The source as configured does not exist (a missing folder is not an empty one).
        """

    def read(self, partition: str, after: Position | None) -> Iterator[Document | Removed | Gap]:
        """Yields what the partition holds, in a stable order.

        `after` is None or the position of the last committed item: exactly what followed it is yielded (mind
        the off-by-one). Listing must not open documents: `Document.open` does that, later, in another thread. What
        cannot be listed becomes a `Gap`, never silence: a missing listing looks like a deletion.
        """


class Parser(Protocol):
    """Turns a payload's bytes into rows: one for a text, one per page for a paginated format.

    `media_types` are those it takes by default; a job may name a parser for anything. A class attribute `version` (1 when absent) is
    counted up when the same bytes come to give other rows: documents are then made again.
    """

    media_types: frozenset[str]

    def parse(self, payload: Payload) -> list[Row]:
        """Rows with any of the fields text, title, image, page, heading, plus the parser's own. Empty input gives [].

        Raises:
            DocumentError: The bytes are not what they claim to be; the document is rejected with this reason.
        """


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How much text a model reads.

    Attributes:
        tokenizer: Path of a `tokenizer.json` (Hugging Face tokenizers); read without torch.
        max_tokens: Tokens of the user's text in one input, after special tokens and prompt are taken off.
    """

    tokenizer: Path
    max_tokens: int


class Splitter(Protocol):
    """Cuts one text into passages that the model reads whole and the field holds whole. It has a `version` as a parser has."""

    def split(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of each passage in order, end exclusive. Whitespace only gives []."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What makes a model's vectors comparable with each other: never a path, never the machine.

    Attributes:
        kind: The encoder's registered name.
        model: Its public name: a hub id, or the package or folder name with the path left out.
        revision: The commit of a hub model, else "".
        weights: Hash of the weights when there is no commit, else "".
        preprocessing: Everything done to an input before the model, by name: JSON values only.
    """

    kind: str
    model: str
    revision: str = ""
    weights: str = ""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pinned(self) -> bool:
        """Whether this says which weights they are; a name alone may stand for others tomorrow."""
        return bool(self.weights or self.revision)


@dataclass(frozen=True, slots=True)
class Head:
    """What one vector field takes from a model; None means the model's own default.

    Attributes:
        layer: Name or index of the layer; default the model's embedding.
        pooling: How positions become one vector: cls, mean, max, last, or none.
        normalize: Whether vectors are scaled to unit L2 norm.
        truncate_dim: Keep only the first numbers (Matryoshka models), of a sparse vector the largest weights.
        dtype: What is stored: float32, float16, bfloat16, int8, binary, sparse.
    """

    layer: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    truncate_dim: int | None = None
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """What a head gives. `dense`: (n, dim); `sparse`: n maps of index to weight; `ragged`: n arrays (tokens, dim)."""

    kind: Literal["dense", "sparse", "ragged"]
    dim: int | None
    dtype: str


@dataclass(slots=True)
class Prepared:
    """One input made ready for the model, on the CPU.

    Attributes:
        data: Whatever the model's `forward` takes.
        cost: What it costs next to others: tokens, pixels or samples. A micro-batch costs its count times its dearest item.
        nbytes: Memory it holds.
        truncated: True if the input was longer than the model reads.
    """

    data: Any
    cost: int
    nbytes: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """The machine's side of encoding: changes speed, never meaning.

    Attributes:
        device: "auto" (every CUDA device, else the CPU), "cpu", "cuda", "cuda:1".
        precision: "auto" (bfloat16 where the hardware does it natively, else float32), "fp32", "bf16", "fp16".
        batch: "auto", or how many padded tokens, pixels or samples go through the network at once.
        replicas: How many copies of the model share the work: "auto" (one a CUDA device where `device` names none of several), or a number.
        compile: Have torch compile the network; where that fails, it runs as it is, with a note.
        allow_pickle_weights: Load weights that are not safetensors. Unpickling can run code: only for files you trust.
    """

    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    batch: Literal["auto"] | int = "auto"
    replicas: Literal["auto"] | int = "auto"
    compile: bool = False
    allow_pickle_weights: bool = False


Output: TypeAlias = "npt.NDArray[np.generic] | list[Any]"
"""What `forward` gives for one head: (n, dim) for dense, else a list of n."""


class Model(Protocol):
    """Loaded weights on one device. Used by one thread at a time.

    Attributes:
        budget: Cost of a good micro-batch on this device, in the unit of `Prepared.cost`.
        precision: What it computes in, for the report: fp32, bf16 or fp16.
        refused: Optional. Why item i of the last `forward` has no vector (its output is NaN then), by i: for models that learn only from a
            server that an input cannot be encoded.
        submit: Optional, may be None. As `forward`, but returns at once, with a function that waits for the outputs and raises what went
            wrong; then the next micro-batch is submitted before the one under way is waited for.
        padded: Optional. What `forward` computes for these items, in the unit of `Prepared.cost`, if it does not pad all to the dearest.
        whole: Optional. How many of these items, dearest first, `forward` can do at this cost with nothing left over, if it runs parts.
    """

    budget: int
    precision: str

    def forward(self, items: Sequence[Prepared], heads: Sequence[Head]) -> list[Output]:
        """One pass over the items; one output a head, row i for item i. Items are of one modality. Dense outputs are float32.

        Raises:
            OutOfMemory: The batch does not fit; its halves may.
        """


class Encoder(Protocol):
    """Everything about a model that can be known, and done, without loading its weights (and without torch).

    One that has heads with pooling `none` has `positions(head, prepared)`: how many vectors such a head gives for a prepared input.
    One whose models are downloaded may also have `pull()`, which fetches all that `open` needs; its `model.revision` is then the commit.
    One whose copies go to different devices may have `spread(device)`, which gives a DeviceSpec for each; else all get the same.
    One that cannot know its dimension may have `declared(dim)`, which is told what a schema says of a field that takes whole vectors.
    """

    model: ModelIdentity
    inputs: frozenset[str]
    text: TextLimits | None

    def resolve(self, head: Head) -> Head:
        """The head with the model's defaults filled in, so that it can be part of an identity.

        Raises:
            ConfigError: The model has no such layer or pooling; valid ones are listed.
        """

    def spec(self, head: Head) -> VectorSpec:
        """What this head gives, known before any weights are loaded."""

    def preparer(self, role: Role, modality: str | None = None) -> Callable[[Any], Prepared]:
        """A function that prepares one input. Picklable, CPU only, thread-safe.

        `modality` is one of `inputs`; None stands for the only one, or, of several, for text. The function raises RowError for an
        input that it cannot prepare.
        """

    def open(self, device: DeviceSpec) -> AbstractContextManager[Model]:
        """Loads the weights; once per replica.

        Raises:
            ConfigError: Weights are missing, pickled, or not this model's.
        """


def identity(encoder: Encoder, head: Head) -> dict[str, Any]:
    """The encoder identity of a vector field as JSON values: model identity and resolved head.

    Where the weights' hash names a model, its own name says nothing more, and would make a renamed or copied folder another model.
    """
    model = asdict(encoder.model)
    if encoder.model.weights:
        del model["model"]
    return {"model": model, "head": asdict(encoder.resolve(head))}


@dataclass(slots=True)
class Receipt:
    """What a write came to.

    Attributes:
        acknowledged: Indices of the window's rows that the sink has accepted.
        rejects: Why row i was refused, by i.
    """

    acknowledged: list[int]
    rejects: dict[int, str] = field(default_factory=dict)


class Sink(Protocol):
    """Where rows go. Writing the same rows again leaves the same state. Used by one thread at a time.

    Every method raises Transient when Milvus stays away past the retry deadline, AuthError, or SinkError.
    """

    def write(self, window: Window) -> Receipt:
        """Upserts the window's rows (scalars in `rows`, vectors in `vectors`); returns when they are acknowledged."""

    def delete(self, keys: Sequence[Key]) -> int:
        """Deletes by primary key; unknown keys are no error. Returns how many were asked for."""

    def read(self, keys: Sequence[Key], fields: Sequence[str]) -> dict[Key, Row]:
        """Rows by primary key, strongly consistent; a missing key is left out."""

    def scan(self, namespace: str | None, fields: Sequence[str]) -> Iterator[Row]:
        """Every row of a namespace (None: of the collection), strongly consistent, in no promised order."""

    def count(self, namespace: str | None = None) -> int:
        """How many rows there are, strongly consistent."""
