"""Turns what a job says into the stations before ENCODE, and into the fingerprint of everything that changes what a row would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector import registry
from connector.encoding.binding import Binding, bind, make_encoder
from connector.encoding.fanout import fan_out
from connector.errors import ConfigError, DocumentError, Refused, nearest
from connector.interfaces import Encoder, Parser, Sink, Source, Splitter, TextLimits, identity
from connector.job import Job, SourceSettings, SplitSettings
from connector.job.loading import load_collection, load_transform
from connector.ledger import Ledger
from connector.plan.generations import Want
from connector.record import Window, fingerprint
from connector.schema.spec import CollectionSpec, VectorFieldSpec
from connector.schema.tenants import Tenant, tenant_of
from connector.sources.media import media_type
from connector.stations import Options, Stations
from connector.stations.pathcolumns import PathColumns
from connector.stations.reading import Reader
from connector.stations.rows import Conform
from connector.stations.windows import WindowLimits
from connector.stopwatch import Stopwatch

DEFAULT_PASSAGE = 256
"""Tokens of a passage when the job does not say."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a job's declaration comes to, before anything is opened.

    Attributes:
        job: The job.
        spec: Its collection.
        bindings: Encoders bound to vector fields; weights not loaded.
        want: What `plan` compares.
        tenant: Whose rows the job is about; None: everybody's.
    """

    job: Job
    spec: CollectionSpec
    bindings: list[Binding]
    want: Want
    tenant: Tenant | None = None

    @classmethod
    def of(cls, job: Job, make: Callable[[VectorFieldSpec], Encoder] = make_encoder) -> Parts:
        """Resolves the collection and the encoders, made by `make`; reads model descriptions, no weights."""
        spec = load_collection(job.into)
        tenant = None if job.tenant is None else tenant_of(spec, job.tenant, job.where)
        bindings = bind(spec, make, where=spec.where)
        unknown = sorted(set(job.encode) - {field.name for field in spec.vectors})
        if unknown:
            hint = nearest(unknown[0], (field.name for field in spec.vectors))
            raise ConfigError(f"{job.where}: encode: `{unknown[0]}` is no vector field of {spec.name}", hint=hint)
        owner = None if spec.primary.generated else job.scope
        want = Want(spec, {binding.field.name: identity(binding.encoder, binding.head) for binding in bindings}, owner)
        return cls(job, spec, bindings, want, tenant)


@dataclass(frozen=True, slots=True)
class Front:
    """The stations before ENCODE, built before anything is opened, so that a mistake in them costs nothing.

    Attributes:
        parts: The job.
        source: LIST.
        read: READ to SPLIT.
        settings: Everything that changes what a row would be, by parts.
        fingerprint: Its hash.
    """

    parts: Parts
    source: Source
    read: Reader
    settings: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, parts: Parts, options: Options, watch: Stopwatch) -> Front:
        """Builds them for one run.

        Raises:
            Refused: The collection is declared with `lineage=False`: nobody could tell which rows are whose.
        """
        if not parts.spec.lineage:
            said = f"{parts.job.where}: `{parts.spec.name}` is declared with lineage=False: somebody else fills it, and no run writes to it"
            raise Refused(f"{said}; nothing was changed", hint="to take it over: connector adopt JOB (docs/adopting.md)")
        settings = fingerprint_parts(parts)
        mark = fingerprint(settings)
        return cls(parts, source_of(parts), reader(parts, mark, options, watch), settings, mark)


def source_of(parts: Parts) -> Source:
    """LIST: the source that the job names, or the object that it was given; asked for its parts, so that it is known to exist.

    Raises:
        ConfigError: It does not exist, or cannot be mirrored because its keys are line numbers.
    """
    job = parts.job
    if isinstance(job.source, SourceSettings):
        source: Source = registry.create("sources", job.source.kind, job.source.options, where=f"{job.where}: source")
        primary = parts.spec.primary
        if hasattr(source, "keyed") and "key" not in job.source.options and not primary.generated:  # a table's rows have a name
            source = source.keyed(job.map.get(primary.name, primary.name))
    else:
        source = job.source
    source.partitions()
    if job.sync == "mirror" and getattr(source, "numbered", False):
        raise ConfigError(
            f"{job.where}: sync mirror needs keys that stay, but these documents are numbered by line", hint="give `key`, a column"
        )
    return source


def _path_columns(parts: Parts) -> PathColumns | None:
    """The columns that name files: what encoders of pictures read, and the job's `read`."""
    job = parts.job
    files = frozenset(binding.source for binding in parts.bindings if binding.modality != "text")
    return PathColumns((job.root or Path()).absolute(), files, tuple(job.read), media_type) if files or job.read else None


def stations_of(front: Front, encode: Callable[[Iterator[Window]], Iterator[Window]], sink: Sink, ledger: Ledger) -> Stations:
    """Everything that a run is composed of, around these three."""
    job, spec = front.parts.job, front.parts.spec
    return Stations(
        source=front.source,
        read=front.read,
        encode=encode,
        conform=Conform(spec, job.scope, front.fingerprint, last_wins=front.source.mode == "cursor", tenant=front.parts.tenant),
        sink=sink,
        ledger=ledger,
        limits=WindowLimits(vector_bytes=sum(field.row_bytes for field in spec.vectors)),
        sync=job.sync,
        source_settings=source_hash(job),
        workers=job.workers,
    )


def uri_of(job: Job) -> Callable[[str], str | None]:
    """A function from a document's key to its URI, where the source can tell one (its method `uri_of`)."""
    source = job.source
    if isinstance(source, SourceSettings):
        try:
            source = registry.create("sources", source.kind, source.options, where=f"{job.where}: source")
        except ConfigError:
            source = None
    return getattr(source, "uri_of", None) or (lambda _: None)


def source_hash(job: Job) -> str:
    """Hash of the source's settings: a sweep needs the same ones as in the last run."""
    if isinstance(job.source, SourceSettings):
        return fingerprint({"kind": job.source.kind, **job.source.options})
    return fingerprint({"kind": type(job.source).__qualname__})


def reader(parts: Parts, mark: str, options: Options, watch: Stopwatch) -> Reader:
    """READ to SPLIT.

    Args:
        parts: The job.
        mark: Hash of `fingerprint_parts`.
        options: Of this run.
        watch: Times the stations.
    """
    job = parts.job
    transform = load_transform(job.transform, job.where)[0] if job.transform is not None else None
    names = {*(field.name for field in parts.spec.columns), *(binding.source for binding in parts.bindings)}
    names |= {field.source for field in parts.spec.vectors if field.source is not None}
    return Reader(
        parser=_Parsers(job),
        splitter=_splitter(parts),
        split_rows=job.split is not None,
        fingerprint=mark,
        mapping=job.map,
        transform=transform,
        wanted=None if transform else frozenset({*names, *(job.map.get(name, name) for name in names), *job.read}),
        fan_out=fan_out(parts.bindings),
        paths=_path_columns(parts),
        max_bytes=job.max_document_bytes,
        force=options.full_refresh,
        watch=watch,
    )


class _Parsers:
    """Finds the parser of a media type among the registered ones."""

    def __init__(self, job: Job) -> None:
        self._named: Parser | None = registry.create("parsers", job.parse, {}, where=f"{job.where}: parse") if job.parse else None
        self._by_type: dict[str, Parser] = {}

    def __call__(self, media_type: str) -> Parser:
        if self._named is not None:
            return self._named
        if not self._by_type:
            kinds = [registry.load("parsers", name) for name in registry.names("parsers")]
            self._by_type = {media_type: kind() for kind in kinds for media_type in kind.media_types}  # whole at once: threads look on
        base = media_type.partition(";")[0].strip().lower()
        parser = self._by_type.get(base) or (self._by_type.get("text/plain") if base.startswith("text/") else None)
        if parser is None:
            raise DocumentError(f"no parser for {base}", hint="exclude such files, or name a parser in the job's `parse:`")
        return parser


def _split_settings(parts: Parts) -> dict[str, Any] | None:
    """Keyword arguments of the splitter without its tokenizer; None: nothing is split."""
    settings = parts.job.split or SplitSettings()
    limits = _text_limits(parts)
    if settings.by == "none" or limits is None:
        return None
    size = min(settings.size or DEFAULT_PASSAGE, limits.max_tokens)
    field = next((one for one in parts.spec.columns if parts.job.map.get(one.name, one.name) == "text"), None)
    return {"by": settings.by, "size": size, "overlap": settings.overlap, "max_bytes": field.max_length if field else None}


def _text_limits(parts: Parts) -> TextLimits | None:
    """Of the encoder that reads the least text; one that reads more reads whole passages too."""
    limits = [binding.encoder.text for binding in parts.bindings if binding.encoder.text is not None]
    return min(limits, key=lambda limit: limit.max_tokens, default=None)


def _splitter(parts: Parts) -> Splitter | None:
    settings, limits = _split_settings(parts), _text_limits(parts)
    if settings is None or limits is None:
        return None
    by = settings.pop("by")
    splitter: Splitter = registry.create("splitters", by, {**settings, "tokenizer": limits.tokenizer}, where=f"{parts.job.where}: split")
    return splitter


def _version(group: str, name: str) -> int:
    """What a plugin says of itself: it counts its `version` up when the same input gives another result."""
    return getattr(registry.load(group, name), "version", 1)


def fingerprint_parts(parts: Parts) -> dict[str, Any]:
    """Everything that changes what a row would be, by parts. Parsers and splitters enter by name and the version that they declare."""
    job = parts.job
    split = _split_settings(parts)
    return {
        **({"read": job.read} if job.read else {}),
        "parse": {name: _version("parsers", name) for name in ([job.parse] if job.parse else registry.names("parsers"))},
        "split": [split, split and _version("splitters", split["by"]), job.split is not None],
        "map": job.map,
        "transform": load_transform(job.transform, job.where)[1] if job.transform is not None else None,
        "vectors": {binding.field.name: _vector_part(parts, binding) for binding in parts.bindings},
    }


def _vector_part(parts: Parts, binding: Binding) -> list[Any]:
    """What changes one field's vectors; the modality too where an encoder reads several kinds of input."""
    several = [binding.modality] if len(binding.encoder.inputs) > 1 else []
    return [binding.source, parts.want.identity[binding.field.name], *several]
