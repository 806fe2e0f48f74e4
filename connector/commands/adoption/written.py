"""Writes a declaration as the text of a schema file: pure, and the same text each time.

The text reads back to the same declaration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from connector import schema
from connector.schema.reader import unwritable
from connector.schema.spec import LINEAGE, CollectionSpec, FieldSpec, VectorFieldSpec

_WIDTH = 120
_TYPES = {
    "BOOL": "bool",
    "INT64": "int",
    "DOUBLE": "float",
    "VARCHAR": "str",
    "JSON": "dict[str, Any]",
    "INT8": "Int8",
    "INT16": "Int16",
    "INT32": "Int32",
    "FLOAT": "Float32",
    "TIMESTAMPTZ": "Timestamp",
    "GEOMETRY": "Geometry",
}
_HEAD = ("layer", "pooling", "normalize", "truncate_dim")
_MAX_VARCHAR = 65_535


def class_name(collection: str) -> str:
    """What the class of a collection is called."""
    words = [word[0].upper() + word[1:] for word in re.split(r"_+", collection) if word]
    name = "".join(words)
    return f"The{name}" if unwritable(name) else name


def source_text(spec: CollectionSpec, title: str, comments: Sequence[str], remarks: Sequence[tuple[str, str]] = ()) -> str:
    """The file.

    Args:
        spec: The declaration; every name in it is writable.
        title: First line of the file.
        comments: What is to be known of the collection.
        remarks: (field, what is to be known of it).
    """
    members = [one for one in spec.members if not (spec.lineage and one.name in LINEAGE)]
    body = [line for one in members for line in _member(one, spec, [what for name, what in remarks if name == one.name])]
    text = [*_class(spec), *_docstring(spec.description or f"`{spec.name}` as it is in Milvus."), "", *body]
    used = [name for name in schema.__all__ if re.search(rf"\b{name}\b", "\n".join(_code(text)))]
    imports = ["from __future__ import annotations", ""]
    imports += ["from typing import Any", ""] if "dict[str, Any]" in "\n".join(text) else []
    imports += _wrapped("from connector.schema import ", sorted(used, key=_as_sorted), ("(", ")"), "")
    head = [f'"""{_escaped(title)}"""', "", *imports, "", *([*(f"# {_one_line(one)}" for one in comments), ""] if comments else [])]
    return "\n".join([*head, "", *text]).rstrip() + "\n"


def _as_sorted(name: str) -> tuple[int, str]:
    """Constants, classes, the rest, as import sorters have it."""
    return (0 if name.isupper() else 1, name)


def _code(lines: Sequence[str]) -> list[str]:
    """Lines without comments and docstrings, in which a name of ours may stand by chance."""
    return [line for line in lines if not line.lstrip().startswith(("#", '"""'))]


def _class(spec: CollectionSpec) -> list[str]:
    given = [f"name={_literal(spec.name)}"]
    given += ["lineage=False"] if not spec.lineage else []
    given += ["dynamic=True"] if spec.dynamic else []
    given += [f"shards={spec.shards}"] if spec.shards != 1 else []
    given += [f"partitions={spec.partitions}"] if spec.partitions is not None else []
    given += [f"consistency={_literal(spec.consistency)}"] if spec.consistency != "Strong" else []
    given += [f"properties={_literal(spec.properties)}"] if spec.properties else []
    return _wrapped(f"class {class_name(spec.name)}", ["Collection", *given], ("(", "):"), "")


def _docstring(text: str) -> list[str]:
    return [f'    """{_escaped(_one_line(text))}"""']


def _member(field: FieldSpec | VectorFieldSpec, spec: CollectionSpec, remarks: Sequence[str]) -> Iterator[str]:
    for remark in remarks:
        yield f"    # {_one_line(remark)}"
    if isinstance(field, FieldSpec):
        kind, given = _scalar_type(field), list(_scalar(field))
        call = "Field"
    elif field.computed:
        kind, given, call = "Vector", list(_computed(field)), "BM25"
    else:
        kind, given, call = "Vector", list(_vector(field, spec)), "VectorField"
    kind = f"{kind} | None" if field.nullable else kind
    if not given:
        yield f"    {field.name}: {kind}"
    else:
        yield from _wrapped(f"{field.name}: {kind} = {call}", given, ("(", ")"), "    ")


def _scalar_type(field: FieldSpec) -> str:
    return f"list[{_TYPES[field.element or 'VARCHAR']}]" if field.type == "ARRAY" else _TYPES[field.type]


def _scalar(field: FieldSpec) -> Iterator[str]:
    yield from (f"{name}=True" for name in ("primary_key", "generated", "auto_id", "partition_key") if getattr(field, name))
    if field.max_length not in {None, _MAX_VARCHAR} and not field.generated:
        yield f"max_length={field.max_length}"
    if field.max_capacity is not None:
        yield f"max_capacity={field.max_capacity}"
    if field.default is not None:
        yield f"default={_literal(field.default)}"
    if field.index is not None:
        yield f"index={_index(field.index)}"
    yield from _described(field)


def _computed(field: VectorFieldSpec) -> Iterator[str]:
    yield _literal(field.source)
    if field.analyzer:
        yield f"analyzer={_literal(field.analyzer)}"
    plain = field.index.type == "SPARSE_INVERTED_INDEX" and set(field.index.params) <= {"bm25_k1", "bm25_b"}
    yield from (f"{name}={value}" for name, key in (("k1", "bm25_k1"), ("b", "bm25_b")) if plain and (value := field.index.params.get(key)))
    if not plain or not field.index.params:
        yield f"index={_index(field.index)}"
    yield from _described(field)


def _vector(field: VectorFieldSpec, spec: CollectionSpec) -> Iterator[str]:
    if field.dim is not None:
        yield f"dim={field.dim}"
    if field.dtype != "float32":
        yield f"dtype={_literal(field.dtype)}"
    for name in ("encoder", "source", "modality", *_HEAD):
        if getattr(field, name) is not None:
            yield f"{name}={_literal(getattr(field, name))}"
    if spec.lineage and field.encoder is None and field.source is None:
        yield f"source={_literal(field.name)}"
    yield f"metric={_literal(field.metric)}"
    yield f"index={_index(field.index)}"
    yield from _described(field)
    yield from (f"{name}={_literal(value)}" for name, value in field.options.items())


def _described(field: FieldSpec | VectorFieldSpec) -> Iterator[str]:
    if field.description:
        yield f"description={_literal(field.description)}"


def _index(index: Any) -> str:
    names = {field.alias or name: name for name, field in type(index).model_fields.items()}
    given = index.model_dump(by_alias=True, exclude_none=True, exclude_defaults="parameters" in names)
    return f"{type(index).__name__}({', '.join(f'{names[name]}={_literal(value)}' for name, value in given.items())})"


def _wrapped(before: str, parts: Sequence[str], around: tuple[str, str], indent: str) -> list[str]:
    """One line if it fits, else a part a line."""
    bare = around == ("(", ")") and before.endswith("import ")
    line = f"{indent}{before}{', '.join(parts)}" if bare else f"{indent}{before}{around[0]}{', '.join(parts)}{around[1]}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{indent}{before}{around[0]}", *(f"{indent}    {part}," for part in parts), f"{indent}{around[1]}"]


def _literal(value: Any) -> str:
    """Python, with the quotes that formatters want."""
    if isinstance(value, str):
        quoted = '"' in value and "'" not in value
        return repr(value) if quoted else json.dumps(value, ensure_ascii=False)  # whose escapes are Python's, too
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)


def _escaped(text: str) -> str:
    """Fit to stand between three quotes."""
    safe = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'{safe[:-1]}\\"' if safe.endswith('"') else safe


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
