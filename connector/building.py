"""Turns what a job says into the stations before ENCODE, and into the fingerprint of everything that changes what a row would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector import registry
from connector.binding import Binding, bind, make_encoder
from connector.errors import ConfigError, DocumentError, nearest
from connector.interfaces import Parser, Source, Splitter, identity
from connector.job import Job, SourceSettings, SplitSettings
from connector.loading import load_collection, load_transform
from connector.plan import Want
from connector.reading import Reader
from connector.record import fingerprint
from connector.report import Stopwatch
from connector.schema.spec import CollectionSpec
from connector.stations import Options

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
    """

    job: Job
    spec: CollectionSpec
    bindings: list[Binding]
    want: Want

    @classmethod
    def of(cls, job: Job) -> Parts:
        """Resolves the collection and the encoders; reads model descriptions, no weights."""
        spec = load_collection(job.into)
        bindings = bind(spec, make_encoder, where=spec.where)
        unknown = sorted(set(job.encode) - {field.name for field in spec.vectors})
        if unknown:
            hint = nearest(unknown[0], (field.name for field in spec.vectors))
            raise ConfigError(f"{job.where}: encode: `{unknown[0]}` is no vector field of {spec.name}", hint=hint)
        owner = None if spec.primary.generated else job.scope
        want = Want(spec, {binding.field.name: identity(binding.encoder, binding.head) for binding in bindings}, owner)
        return cls(job, spec, bindings, want)


def source_of(parts: Parts) -> Source:
    """LIST: the source that the job names, or the object that it was given."""
    job = parts.job
    if not isinstance(job.source, SourceSettings):
        return job.source  # type: ignore[no-any-return]  # an object that the SDK was given
    source: Source = registry.create("sources", job.source.kind, job.source.options, where=f"{job.where}: source")
    return source


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
        wanted=None if transform else frozenset({*names, *(job.map.get(name, name) for name in names)}),
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
    limits = [binding.encoder.text for binding in parts.bindings if binding.encoder.text is not None]
    if settings.by == "none" or not limits:
        return None
    usable = min(limit.max_tokens for limit in limits)
    size = min(settings.size or DEFAULT_PASSAGE, usable)
    field = next((one for one in parts.spec.columns if parts.job.map.get(one.name, one.name) == "text"), None)
    return {"by": settings.by, "size": size, "overlap": settings.overlap, "max_bytes": field.max_length if field else None}


def _splitter(parts: Parts) -> Splitter | None:
    settings = _split_settings(parts)
    if settings is None:
        return None
    by = settings.pop("by")
    tokenizer = next(binding.encoder.text.tokenizer for binding in parts.bindings if binding.encoder.text is not None)
    splitter: Splitter = registry.create("splitters", by, {**settings, "tokenizer": tokenizer}, where=f"{parts.job.where}: split")
    return splitter


def fingerprint_parts(parts: Parts) -> dict[str, Any]:
    """Everything that changes what a row would be, by parts."""
    job = parts.job
    return {
        "parse": job.parse or "by media type",
        "split": [_split_settings(parts), job.split is not None],
        "map": job.map,
        "transform": load_transform(job.transform, job.where)[1] if job.transform is not None else None,
        "vectors": {binding.field.name: [binding.source, parts.want.identity[binding.field.name]] for binding in parts.bindings},
    }
