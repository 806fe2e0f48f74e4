"""Reads a job file: YAML in, a checked Job out.

The file is data, never code: `${env:NAME}`, `${env:NAME:-default}` and `${file:PATH}` are replaced inside strings after parsing, so a value
cannot inject YAML. Duplicate keys, YAML 1.1's surprising booleans and alias bombs are refused. Paths are relative to the working directory.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import quote

import pydantic
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from connector.errors import ConfigError, Refused, explain, nearest
from connector.interfaces import DeviceSpec
from connector.job.schedule import ScheduleSettings
from connector.job.yaml_file import load_yaml
from connector.milvus.settings import MilvusSettings
from connector.observe.settings import MetricsSettings, NotifySettings
from connector.stations.reading import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAMESPACE = 255
"""Most UTF-8 bytes of a namespace: the length of `connector_namespace`."""

TENANTS = "tenant:"
"""Begin of the namespaces of jobs that are bound to a tenant; no other job can have such a one."""
_MAX_NAME = 200  # characters; tenants whose ledgers fall together share one, whose entries are kept by namespace
_SECRET = re.compile(r"password|token|secret|credential|api_key")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class SplitSettings(_Strict):
    """How texts are cut.

    Attributes:
        by: A splitter's name, or "none".
        size: Most tokens of a passage; default what the model reads, at most 256.
        overlap: Tokens that a passage repeats of the one before it.
    """

    by: str = "tokens"
    size: Annotated[int, Field(ge=1)] | None = None
    overlap: Annotated[int, Field(ge=0)] = 0


class RejectSettings(_Strict):
    """How many rejects a run may have.

    Attributes:
        fail_over: A number of documents, or a share such as "1%" of those listed; more give exit code 3.
    """

    fail_over: int | str = 0

    @pydantic.field_validator("fail_over")
    @classmethod
    def _share(cls, value: int | str) -> int | str:
        if str(value).isdecimal():
            return int(value)
        if not isinstance(value, str) or not _PERCENT.fullmatch(value):
            raise ValueError(f"wanted a number or a share such as 1%, found {value!r}")
        return value

    def allowed(self, listed: int) -> float:
        """How many rejected documents pass, of this many listed."""
        if isinstance(self.fail_over, int):
            return self.fail_over
        return float(self.fail_over.rstrip(" %")) / 100 * listed


class SourceSettings(BaseModel):
    """Where documents come from: `kind` and that source's own keys."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of the source."""
        return dict(self.__pydantic_extra__ or {})

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Names without values: a source's key may be a secret."""
        return [("kind", self.kind), *((name, ...) for name in self.options)]


class Job(_Strict):
    """One job, as its file says.

    Attributes:
        version: Of this format.
        job: The job's name; names its state file.
        namespace: Whose rows these are in the collection; default the job's name.
        tenant: The partition key's value in every row of the job; rows of other tenants are out of its reach.
        source: LIST and READ.
        into: `schemas/file.py:Class`, or the class itself.
        milvus: The connection; default what MILVUS_URI and MILVUS_TOKEN say.
        encode: Device, precision and batch by vector field: the machine, not the meaning.
        sync: append, upsert, or mirror.
        rejects: How many are tolerated.
        state: The ledger file; default `.connector/<job>.db`.
        parse: A parser's name for every document; default by media type.
        split: How texts are cut; default by tokens for parsed documents.
        root: The folder that path columns count from and never leave; default the working directory.
        read: Columns of a table that name files, whose text is read and parsed.
        map: Schema field to offered field, where the names differ.
        transform: `module:function`, or the function itself: a row in; a row, a list of rows, or None out.
        vector_cache: Most bytes of vectors that are kept in `vectors.db` beside the ledger, so that nothing is encoded twice; 0: none.
        max_document_bytes: Larger documents are rejected.
        workers: Threads that read and parse; 0 runs every station serially.
        metrics: Where the metrics of a run are left.
        notify: Who is told how a run ended.
        schedule: When `connector serve` runs it.
        where: The file, for messages.
    """

    version: Literal[1] = 1
    job: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
    namespace: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")] | None = None
    tenant: Annotated[str, Field(min_length=1, strict=True)] | StrictInt | None = None
    source: SourceSettings | Any
    into: Any
    milvus: MilvusSettings
    encode: dict[str, DeviceSpec] = {}
    sync: Literal["append", "upsert", "mirror"] = "upsert"
    rejects: RejectSettings = RejectSettings()
    state: Path | None = None
    parse: str | None = None
    split: SplitSettings | None = None
    root: Path | None = None
    read: list[str] = []
    map: dict[str, str] = {}
    transform: Any = None
    vector_cache: pydantic.ByteSize = pydantic.ByteSize(1 << 30)
    max_document_bytes: Annotated[int, Field(ge=1)] = MAX_DOCUMENT_BYTES
    workers: Annotated[int, Field(ge=0, le=64)] = 2
    metrics: MetricsSettings | None = None
    notify: NotifySettings | None = None
    schedule: ScheduleSettings | None = None
    where: str = "job"

    @pydantic.field_validator("namespace")
    @classmethod
    def _short(cls, value: str | None) -> str | None:
        if value is not None and len(value.encode()) > MAX_NAMESPACE:
            raise ValueError(f"over {MAX_NAMESPACE} bytes")
        if value is not None and value.startswith(TENANTS):
            raise ValueError(f"begins with {TENANTS}, as only namespaces of jobs with a `tenant` do")
        return value

    @pydantic.model_validator(mode="after")
    def _short_with_tenant(self) -> Job:
        if len(self.scope.encode()) > MAX_NAMESPACE:
            raise ValueError(f"namespace and tenant have more than {MAX_NAMESPACE} bytes together: {self.scope}")
        return self

    @property
    def scope(self) -> str:
        """The namespace in force; one of a tenant begins with its quoted name, so that no two tenants have the same."""
        own = self.namespace or self.job
        return own if self.tenant is None else f"{TENANTS}{self._quoted}/{own}"

    @property
    def _quoted(self) -> str:
        return quote(str(self.tenant), safe="")

    @property
    def state_path(self) -> Path:
        """The ledger file in force; a tenant has its own, so that two can be brought up to date at once."""
        own = self.job if self.tenant is None else f"{self.job}@{self._quoted}"[:_MAX_NAME]
        return self.state or Path(".connector") / f"{own}.db"

    @property
    def cache_path(self) -> Path:
        """Where vectors are kept; jobs with one folder for their ledgers share it."""
        return self.state_path.with_name("vectors.db")

    def for_all_tenants(self, what: str) -> None:
        """Returns if the job may do what touches the rows of every tenant.

        Raises:
            Refused: It is bound to one.
        """
        if self.tenant is not None:
            problem = f"{self.where}: `{what}` touches every tenant's rows, and this job is bound to {self.tenant!r}; nothing was changed"
            raise Refused(problem, hint="use a job without `tenant`, or from Python the collection alone")

    @property
    def secrets(self) -> list[str]:
        """What no line of a log may show."""
        held = [self.milvus.token, self.milvus.password, self.notify.webhook if self.notify else None]
        options = self.source.options.items() if isinstance(self.source, SourceSettings) else ()
        return [
            *(one.get_secret_value() for one in held if one is not None),
            *(str(value) for name, value in options if _SECRET.search(name) and isinstance(value, str)),
        ]

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Reads and checks a job file.

        Raises:
            ConfigError: Names the file, the line where it can, and the nearest valid key.
        """
        values = load_yaml(Path(path))
        return cls.check({**values, "source": _source(values.get("source"), str(path))}, str(path))

    @classmethod
    def check(cls, values: dict[str, Any], where: str) -> Self:
        """Builds a job from plain values; unknown keys are named with the nearest valid one."""
        _known_keys(cls, values, where)
        if values.get("milvus") is None:
            values = {**values, "milvus": _milvus_of_environment(where)}
        if isinstance(values.get("source"), dict | str):
            values = {**values, "source": _source(values["source"], where)}
        try:
            return cls(**values, where=where)
        except pydantic.ValidationError as error:
            raise ConfigError(f"{where}: {explain(error)}", hint="correct the key and run the same command again") from None


def _milvus_of_environment(where: str) -> dict[str, str]:
    """The connection of a job that does not say one."""
    uri, token = os.environ.get("MILVUS_URI"), os.environ.get("MILVUS_TOKEN")
    if not uri:
        raise ConfigError(
            f"{where}: where is Milvus? Neither `milvus` nor MILVUS_URI says it",
            hint='give milvus: {uri: http://localhost:19530} or a local file (in Python milvus="./file.db"), or set MILVUS_URI',
        )
    return {"uri": uri, "token": token} if token else {"uri": uri}


def _source(values: Any, where: str) -> SourceSettings:
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ConfigError(f"{where}: `source` has no `kind`", hint="write source: {kind: files, root: ...}")
    return SourceSettings(**{str(name): value for name, value in values.items()})


_NAMED_PARTITION = {"partition", "partitions", "partition_name", "partition_names"}
_TWICE = "servers keep a row that has the same key in another one, so that it is there twice"
_INSTEAD = "declare Field(partition_key=True), and name the job's `tenant`"

_BLOCKS: dict[str, type[BaseModel]] = {
    "milvus": MilvusSettings,
    "split": SplitSettings,
    "rejects": RejectSettings,
    "metrics": MetricsSettings,
    "notify": NotifySettings,
    "schedule": ScheduleSettings,
}


def _known_keys(model: type[BaseModel], values: dict[str, Any], where: str) -> None:
    valid = {name: field.annotation for name, field in model.model_fields.items() if name != "where"}
    for name, value in values.items():
        if name in _NAMED_PARTITION:
            raise ConfigError(f"{where}: `{name}`: nothing is written into a named partition: {_TWICE}", hint=_INSTEAD)
        if name not in valid:
            raise ConfigError(f"{where}: unknown key `{name}`", hint=nearest(str(name), valid))
        inner = _BLOCKS.get(name) if model is Job else None
        if inner is not None and isinstance(value, dict):
            _known_keys(inner, value, f"{where}: {name}")
        elif name == "encode" and isinstance(value, dict):
            _known_devices(value, where)


def _known_devices(values: dict[str, Any], where: str) -> None:
    valid = set(DeviceSpec.__dataclass_fields__)
    for field, device in values.items():
        for key in device if isinstance(device, dict) else ():
            if key not in valid:
                raise ConfigError(f"{where}: encode.{field}: unknown key `{key}`", hint=nearest(str(key), valid))
        for name in ("batch", "replicas"):
            number = device.get(name) if isinstance(device, dict) else None
            if isinstance(number, int) and number < 1:
                raise ConfigError(f"{where}: encode.{field}: {name} is {number}", hint="write auto, or 1 and more")
