"""What a generation was made with, written into the collection itself, and how that differs from anything else, in sentences.

Collection properties are the one place for this that Milvus Lite, old and new servers all keep. The stamp, not what a server
reports, is compared with the code: Lite reports few build parameters, servers report defaults and numbers as text, and no two
versions agree. Sentences name the field and put what is found before what is wanted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from connector.errors import ConfigError

STAMP = "connector.stamp"
"""Collection property that holds the stamp."""

EPOCH = "connector.epoch"
"""Collection property that counts finished runs."""

ENCODERS = "connector.encoders"
"""Collection property with the schema's words for its encoders, by which a search can find them; their identity decides."""

PREVIOUS = "connector.previous"
"""Collection property that names the generation which was live before this one."""

RUN = "connector.run."
"""Begin of the collection properties that name, by namespace, the last run that saw the whole source and ended well."""

OWN = "connector."
"""Begin of every property of ours."""

TTL = "collection.ttl.seconds"
"""Milvus's property that deletes rows by their age."""

MMAP = "mmap.enabled"
"""Milvus's property that maps vectors instead of holding them; read when a collection is loaded."""

_DRIFTED = ("live", "in its stamp")

FORMAT = 1
"""Version of the stamp. Changing it is a migration for every user."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a generation was made with.

    Attributes:
        uid: Identity of the physical collection, a uuid4; Milvus Lite has no collection ids.
        owner: The only namespace that may write; None where keys are generated.
        spec: `CollectionSpec.normalised()`.
        identity: Encoder identity by vector field.
        probe: Fixed inputs and their vectors, to see a changed encoder that kept its name.
        format: Version of this record.
    """

    uid: str
    owner: str | None
    spec: Mapping[str, Any]
    identity: Mapping[str, Mapping[str, Any]]
    probe: Mapping[str, Any] | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """The property's text: equal stamps give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Stamp:
        """Reads a property.

        Raises:
            ConfigError: It was written by a newer version, or by something else.
        """
        try:
            data = json.loads(text)
            if data["format"] > FORMAT:
                raise ConfigError(f"the collection's stamp has format {data['format']}, this reads {FORMAT}", hint="upgrade connector")
            return cls(**data)
        except (ValueError, TypeError, KeyError):
            raise ConfigError(f"the collection property {STAMP} does not hold a stamp", hint="was it changed by hand?") from None


def run_property(namespace: str, run_id: str) -> dict[str, str]:
    """The property that says which run of a namespace last saw its whole source and ended well; run ids begin with their time."""
    name = hashlib.blake2b(namespace.encode(), digest_size=8).hexdigest()
    return {f"{RUN}{name}": json.dumps([namespace, run_id], ensure_ascii=False)}


def last_runs(properties: Mapping[str, str]) -> dict[str, str]:
    """By namespace, the id of the last run that saw its whole source and ended well."""
    return dict(json.loads(value) for key, value in properties.items() if key.startswith(RUN))


def fields_of(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a normalised specification as they are compared with live ones."""
    keys = ("primary_key", "partition_key", "nullable")
    fields: dict[str, dict[str, Any]] = {
        one["name"]: {
            "type": one["type"],
            **{key: bool(one.get(key)) for key in keys},
            **{key: one.get(key) for key in ("max_length", "element", "max_capacity")},
        }
        for one in spec["fields"]
    }
    for one in spec["vectors"]:
        fields[one["name"]] = {"type": one["dtype"], "dim": one["dim"], "nullable": bool(one["nullable"])}
    return fields


def indexes_of(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The indexes of a normalised specification as they are compared with live ones: parameters as text."""
    metrics = {one["name"]: one["metric"] for one in spec["vectors"]}
    return {
        name: {"metric": metrics.get(name), **{key: value if key == "type" else _text(value) for key, value in index.items()}}
        for name, index in spec["indexes"].items()
    }


def compare(stamp: Stamp, spec: Mapping[str, Any], identity: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """How the code differs from a stamp, one sentence each; empty means the same.

    Args:
        stamp: What the generation was made with.
        spec: `CollectionSpec.normalised()` of the code.
        identity: Encoder identity by vector field, of the code.
    """
    old, new, words = _plain(stamp.spec), _plain(spec), ("live", "in code")
    rest = sorted((set(old) | set(new)) - {"fields", "vectors", "indexes"})
    return (
        *_compare_named(_by_name(old), _by_name(new), words),
        *_compare_named(_labelled(old["indexes"], "index"), _labelled(new["indexes"], "index"), words),
        *_compare_named(_labelled(_plain(stamp.identity), "encoder"), _labelled(_plain(identity), "encoder"), words),
        *(_sentence("collection", key, old.get(key), new.get(key), words) for key in rest if old.get(key) != new.get(key)),
    )


def compare_live(
    stamp: Stamp, fields: Mapping[str, Mapping[str, Any]], indexes: Mapping[str, Mapping[str, Any]], properties: Mapping[str, str]
) -> tuple[str, ...]:
    """How a live collection differs from its own stamp; what the server does not report is taken as equal, a missing index too.

    Args:
        stamp: The collection's stamp.
        fields: Live fields as `fields_of` writes them; None for what is not reported.
        indexes: Live indexes as `indexes_of` writes them; parameters only where they are reported.
        properties: Live properties.
    """
    wanted = fields_of(stamp.spec)
    built = {name: index for name, index in indexes_of(stamp.spec).items() if name in indexes}
    return (
        *_compare_named(_known(fields, wanted), wanted, _DRIFTED),
        *_compare_named(_labelled(_known(indexes, built), "index"), _labelled(built, "index"), _DRIFTED),
        *(_sentence("collection", key, live, stamped, _DRIFTED) for key, live, stamped in drift_of_properties(stamp, properties)),
    )


def drift_of_index(stamp: Stamp, field: str, indexes: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """How one live index differs from the stamped one; () for an index that is not stamped at all: it is somebody else's."""
    built = {name: index for name, index in indexes_of(stamp.spec).items() if name == field}
    live = {field: indexes[field]} if built else {}
    return tuple(_compare_named(_labelled(_known(live, built), "index"), _labelled(built, "index"), _DRIFTED))


def drift_of_properties(stamp: Stamp, properties: Mapping[str, str]) -> list[tuple[str, str | None, str | None]]:
    """(property, live, stamped) where they differ. Unstamped ones do not count, as servers add some; but a life time deletes rows."""
    stamped = stamp.spec["properties"]
    pairs = [(key, properties.get(key) or None, stamped.get(key)) for key in sorted({*stamped, TTL})]
    return [(key, live, wanted) for key, live, wanted in pairs if _switched_off(live) != _switched_off(wanted)]


def _switched_off(value: str | None) -> str:
    """The value in one spelling; some servers cannot remove a property, there it is switched off."""
    text = (value or "").lower()
    return "" if text in {"0", "false"} else text


def _by_name(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in (*spec["fields"], *spec["vectors"])}


def _labelled(things: Mapping[str, Mapping[str, Any]], label: str) -> dict[str, dict[str, Any]]:
    """Nested values flattened, each under its path: {"vector": {"encoder model.weights": ...}}."""
    return {name: {f"{label} {path}": value for path, value in _flat(thing)} for name, thing in things.items()}


def _flat(thing: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in thing.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _known(live: Mapping[str, Mapping[str, Any]], stamped: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The live things; what is stamped of them but not reported is filled in from the stamp, unknown parameters are dropped."""
    known = {}
    for name, thing in live.items():
        wanted = stamped.get(name, thing)
        known[name] = {key: value if thing.get(key) is None else thing[key] for key, value in wanted.items()}
    return known


def _compare_named(found: Mapping[str, Any], wanted: Mapping[str, Any], words: tuple[str, str]) -> Iterator[str]:
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if name not in found or name not in wanted:
            what = " ".join(dict.fromkeys(key.split()[0] for key in (found.get(name) or wanted.get(name) or {}) if " " in key)) or "field"
            yield f"{name}: {what} {words[0] if name in found else words[1]} only"
            continue
        old, new = found[name], wanted[name]
        yield from (_sentence(name, key, old.get(key), new.get(key), words) for key in sorted({*old, *new}) if old.get(key) != new.get(key))


def _sentence(name: str, key: str, found: Any, wanted: Any, words: tuple[str, str]) -> str:
    return f"{name}: {key} {_text(found)} {words[0]}, {_text(wanted)} {words[1]}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """As it comes back from a stamp: tuples as lists, integer keys as text."""
    return json.loads(json.dumps(value))
