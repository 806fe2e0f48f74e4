"""Reads the body of a declared class and checks everything that can be known without a server.

Every message begins with the file and the class, then the field, and says what to write instead.
"""

from __future__ import annotations

import keyword
import re
import sys
import types
import typing
from typing import Annotated, Any, NoReturn

import pydantic

from connector.errors import SchemaError, explain
from connector.schema import indexes
from connector.schema.fulltext import mistakes
from connector.schema.indexes import DENSE, METRICS, UNINDEXED, VectorKind, default_index
from connector.schema.spec import LINEAGE, MAX_VARCHAR, CollectionSpec, FieldSpec, VectorFieldSpec
from connector.schema.values import convert

_PYTHON: dict[Any, str] = {bool: "BOOL", int: "INT64", float: "DOUBLE", str: "VARCHAR", dict: "JSON"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
Spec = typing.TypeVar("Spec", bound=pydantic.BaseModel)

_MAX_NAME, _MAX_FOREIGN_NAME = 240, 255
"""Most letters of a collection's name: Milvus takes 255, and physical names of ours add the generation."""
_MAX_VECTORS = 10
"""Most vector fields that any server can be set to take; Milvus's own setting is 4."""
_MAX_DIM = 32_768
_MAX_CAPACITY = 4_096
_KEY_LENGTH = 32
ABSENT: Any = object()
"""No default was given; None is one."""


_TAKEN = {"annotations", "Any", "bool", "int", "float", "str", "dict", "list"}
_OURS = {"Collection", "Field", "Vector", "VectorField", "BM25", "Int8", "Int16", "Int32", "Float32", "Timestamp", "Geometry"}


def unwritable(name: str) -> bool:
    """Whether a column of this name cannot stand in the body of a class, beside what such a body is written with."""
    index = isinstance(getattr(indexes, name, None), type)
    return not _NAME.fullmatch(name) or keyword.iskeyword(name) or name.startswith("__") or name in _TAKEN | _OURS or index


class Vector:
    """The type of a vector column, for annotations."""


class Declared(typing.NamedTuple):
    """What Field() or VectorField() was called with, until the class is read."""

    vector: bool
    given: dict[str, Any]


class Reader:
    """Reads one class; every message begins with its file and name."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.lineage = True
        module = sys.modules.get(cls.__module__)
        self.where = f"{getattr(module, '__file__', None) or cls.__module__}: {cls.__name__}"

    def fail(self, message: str, hint: str) -> NoReturn:
        """Raises the error; `message` begins with a colon, or with a dot and the field."""
        raise SchemaError(f"{self.where}{message}", hint=hint)

    def read(self, options: dict[str, Any]) -> CollectionSpec:
        """The specification.

        Args:
            options: The class keywords, named as in `CollectionSpec`.

        Raises:
            SchemaError: Something in the class cannot be.
        """
        self.lineage = options["lineage"]
        self._check_name(options["name"])
        hints = self._hints()
        scalars: list[FieldSpec] = []
        vectors: list[VectorFieldSpec] = []
        for name, hint in hints.items():
            if typing.get_origin(hint) is typing.ClassVar:
                continue
            declared = self._declared(name)
            kind, nullable = _optional(hint)
            if declared.vector and kind is not Vector:
                self.fail(f".{name}: declared with VectorField(), annotated as {_shown(hint)}", f"write {name}: Vector = VectorField(...)")
            if kind is Vector:
                vectors.append(self._vector(name, declared, nullable=nullable))
            else:
                scalars.append(self._scalar(name, hint, declared.given))
        return self._collection(options, scalars, vectors)

    def _check_name(self, name: str) -> None:
        if self.lineage and (not _NAME.fullmatch(name) or "__g" in name or len(name) > _MAX_NAME):
            self.fail(f": `{name}` cannot name a collection", f'use at most {_MAX_NAME} letters, digits and "_", and no "__g"')
        if not _NAME.fullmatch(name) or len(name) > _MAX_FOREIGN_NAME:
            self.fail(f": `{name}` cannot name a collection", f'use at most {_MAX_FOREIGN_NAME} letters, digits and "_"')

    def _hints(self) -> dict[str, Any]:
        """Annotations of the class and its bases, bases first."""
        try:
            hints = typing.get_type_hints(self.cls, include_extras=True)
        except Exception as error:  # noqa: BLE001 - an annotation is an expression: it may raise anything
            self.fail(f": {error}", "import the type at the top of the file")
        for base in self.cls.__mro__:
            for name, value in vars(base).items():
                if isinstance(value, Declared) and name not in hints:
                    self.fail(f".{name}: no annotation", f"write {name}: {'Vector' if value.vector else 'str'} = ...")
        return hints

    def _declared(self, name: str) -> Declared:
        if not _NAME.fullmatch(name):
            self.fail(f".{name}: not a Milvus field name", 'use letters, digits and "_", at most 255')
        if name.startswith("connector_") and self.lineage:
            self.fail(f".{name}: names that begin with `connector_` are reserved for lineage", "choose another name")
        value = next((base.__dict__[name] for base in self.cls.__mro__ if name in base.__dict__), ABSENT)
        if isinstance(value, Declared):
            return value
        return Declared(vector=False, given={} if value is ABSENT else {"default": value})

    def _scalar(self, name: str, hint: Any, given: dict[str, Any]) -> FieldSpec:
        hint, nullable = _optional(hint)
        kind, element = self._type(name, hint)
        if not nullable and given.get("default", ABSENT) is None:
            self.fail(f".{name}: the default is None, which the type does not take", f"write {_shown(hint)} | None, or remove the default")
        given = {**given, "nullable": nullable}
        text = "VARCHAR" in (kind, element)
        if given.get("generated"):
            if not (given.get("primary_key") and kind == "VARCHAR"):
                self.fail(f".{name}: only a `str` primary key can be generated", "write Field(primary_key=True, generated=True)")
            given["max_length"] = _KEY_LENGTH
        for made in ("generated", "auto_id"):
            if given.get(made) and self.lineage != (made == "generated"):
                self.fail(f".{name}: {made} {_MADE[made][0]}", _MADE[made][1])
        if not text and given.get("max_length") is not None:
            self.fail(f".{name}: max_length is for `str`, this is {kind}", "remove max_length")
        if text and given.get("max_length") is None:
            given["max_length"] = MAX_VARCHAR
        if kind == "ARRAY":
            given["max_capacity"] = given.get("max_capacity") or _MAX_CAPACITY
        spec = self._build(FieldSpec, name, {"name": name, "type": kind, "element": element, **given})
        self._check_scalar(spec)
        return self._with_default(spec)

    def _check_scalar(self, spec: FieldSpec) -> None:
        place = f".{spec.name}"
        if spec.max_length is not None and not 1 <= spec.max_length <= MAX_VARCHAR:
            self.fail(f"{place}: max_length {spec.max_length} is not within 1 to {MAX_VARCHAR} bytes", "correct max_length")
        if spec.max_capacity is not None and not (spec.type == "ARRAY" and 1 <= spec.max_capacity <= _MAX_CAPACITY):
            self.fail(f"{place}: max_capacity {spec.max_capacity} does not fit", f"it is for list[...], 1 to {_MAX_CAPACITY}")
        if (spec.primary_key or spec.partition_key) and (spec.type not in {"VARCHAR", "INT64"} or spec.nullable):
            self.fail(f"{place}: a key must be `str` or `int` and never None, this is {spec.type}", "change its type")
        if spec.auto_id and not spec.primary_key:
            self.fail(f"{place}: only a primary key can be made by Milvus", "write Field(primary_key=True, auto_id=True)")
        if spec.index is not None and spec.type not in spec.index.scalars:
            self.fail(f"{place}: index {spec.index.type} does not fit {spec.type}", f"it indexes {', '.join(sorted(spec.index.scalars))}")
        if spec.primary_key and spec.default is not None:
            self.fail(f"{place}: a primary key cannot have a default", "remove the default")

    def _with_default(self, spec: FieldSpec) -> FieldSpec:
        """The field with its default as it will be stored."""
        if spec.default is None:
            return spec
        try:
            return spec.model_copy(update={"default": convert(spec, spec.default)})
        except ValueError as error:
            self.fail(f".{spec.name}: the default does not fit: {error}", "correct the default or the type")

    def _type(self, name: str, hint: Any) -> tuple[str, str | None]:
        if typing.get_origin(hint) is Annotated and isinstance(hint.__metadata__[0], str):
            return hint.__metadata__[0], None
        if typing.get_origin(hint) is list:
            element, _ = self._type(name, typing.get_args(hint)[0])
            if element in {"JSON", "ARRAY", "TIMESTAMPTZ", "GEOMETRY"}:
                self.fail(f".{name}: a list of {element} is not a Milvus type", "use list[str], list[int], list[float] or list[bool]")
            return "ARRAY", element
        kind = _PYTHON.get(typing.get_origin(hint) or hint)
        if kind is None:
            valid = "use bool, int, float, str, dict, list[T], Vector, or a type of connector.schema"
            self.fail(f".{name}: no Milvus type for `{_shown(hint)}`", valid)
        return kind, None

    def _vector(self, name: str, declared: Declared, *, nullable: bool) -> VectorFieldSpec:
        if not declared.vector:
            self.fail(f".{name}: a Vector needs its declaration", "write VectorField(dim=..., encoder=...)")
        given = dict(declared.given)
        kind: VectorKind = given["dtype"]
        if kind not in METRICS:
            self.fail(f".{name}: unknown dtype `{kind}`", f"valid: {', '.join(METRICS)}")
        given["metric"] = given["metric"] or METRICS[kind][0]
        given["index"] = given["index"] or default_index(kind)
        spec = self._build(VectorFieldSpec, name, {"name": name, **given, "nullable": nullable})
        self._check_vector(spec)
        return spec

    def _check_vector(self, spec: VectorFieldSpec) -> None:
        place = f".{spec.name}"
        if spec.metric not in METRICS[spec.dtype]:
            self.fail(f"{place}: metric {spec.metric} does not fit {spec.dtype} vectors", f"valid: {', '.join(METRICS[spec.dtype])}")
        if spec.computed and spec.analyzer is None:
            self.fail(f"{place}: the server computes what the metric BM25 compares", 'write BM25(source="..."), the column with the text')
        if spec.dtype not in spec.index.kinds:
            fits = ", ".join(sorted(spec.index.kinds))
            self.fail(f"{place}: index {spec.index.type} does not fit {spec.dtype} vectors", f"it indexes {fits}")
        if (spec.dim is None) != (spec.dtype == "sparse"):
            self.fail(f"{place}: dim is {spec.dim}", "give dim=..., the numbers of one vector; only sparse vectors have none")
        if spec.dim is not None and not 1 <= spec.dim <= _MAX_DIM:
            self.fail(f"{place}: dim {spec.dim} is not within 1 to {_MAX_DIM}", "correct dim")
        if spec.dtype == "binary" and spec.dim is not None and spec.dim % 8:
            self.fail(f"{place}: a binary dim must be a multiple of 8, this is {spec.dim}", "correct dim")
        m = spec.index.params.get("m")
        if m and spec.dtype in DENSE and spec.dim is not None and spec.dim % m:
            self.fail(f"{place}: IVF_PQ m={m} does not divide dim {spec.dim}", "choose an m that divides dim")
        self._check_filling(spec, place)

    def _check_filling(self, spec: VectorFieldSpec, place: str) -> None:
        if spec.encoder is not None and ":" not in spec.encoder:
            self.fail(f"{place}: encoder `{spec.encoder}` names no kind", "write kind:model, such as transformers:org/name")
        if self.lineage and isinstance(spec.index, UNINDEXED):
            self.fail(f"{place}: UNINDEXED cannot be searched", "it is for lineage=False; give an index, or none for AUTOINDEX")
        if self.lineage and spec.encoder is None and spec.source is None:
            self.fail(f"{place}: neither an encoder nor a source column", "write encoder=... or source=..., the column that holds vectors")

    def _build(self, model: type[Spec], name: str, values: dict[str, Any]) -> Spec:
        try:
            return model(**values)
        except pydantic.ValidationError as error:
            self.fail(f"{'.' if name else ''}{name}: {explain(error)}", "correct the declaration")

    def _collection(self, options: dict[str, Any], scalars: list[FieldSpec], vectors: list[VectorFieldSpec]) -> CollectionSpec:
        keys = [field.name for field in scalars if field.primary_key]
        if len(keys) != 1:
            self.fail(f": {len(keys)} primary keys", "declare one: id: str = Field(primary_key=True, generated=True)")
        if sum(field.partition_key for field in scalars) > 1:
            self.fail(": more than one partition key", "keep one")
        if options["shards"] < 1 or (options["partitions"] is not None and options["partitions"] < 1):
            self.fail(f": shards is {options['shards']}, partitions is {options['partitions']}", "give 1 or more")
        if options["partitions"] is not None and not any(field.partition_key for field in scalars):
            self.fail(": partitions are given, but no field is the partition key", "write Field(partition_key=True), or remove partitions")
        if not vectors:
            self.fail(": no vector field", "declare one: vector: Vector = VectorField(dim=..., encoder=...)")
        if len(vectors) > _MAX_VECTORS:
            self.fail(
                f".{vectors[_MAX_VECTORS].name}: {len(vectors)} vector fields, a server takes {_MAX_VECTORS} at most", "declare fewer"
            )
        for problem, hint in mistakes(scalars, vectors):
            self.fail(problem, hint)
        description = (self.cls.__doc__ or "").strip().split("\n")[0]
        columns = {"fields": (*scalars, *(lineage_fields() if self.lineage else ())), "vectors": tuple(vectors)}
        values = {**options, **columns, "description": description, "where": self.where}
        return self._build(CollectionSpec, "", values)


_MADE = {
    "generated": ("is derived from the lineage that lineage=False goes without", "remove generated=True, or lineage=False"),
    "auto_id": ("makes another key each time that a row is written", "declare a collection that somebody else fills: lineage=False"),
}


def lineage_fields() -> tuple[FieldSpec, ...]:
    """The columns that tie a row to its document: namespace, document key, and content.

    `connector_content` is `content hash . fingerprint . rows of the document` (see `rows.lineage`), 66 bytes at most.
    """
    lengths = zip(LINEAGE, (255, 4096, 80), strict=True)
    return tuple(FieldSpec(name=name, type="VARCHAR", max_length=length) for name, length in lengths)


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
