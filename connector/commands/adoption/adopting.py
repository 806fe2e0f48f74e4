"""Takes a collection over that somebody else made: as it is, or as a copy whose rows a job can own.

In place, the collection `products` becomes `products__g1` behind the alias `products`, is stamped, and keeps its rows: from then on it can
be replaced and rolled back like any other, but no run writes to it. By copy, its rows go to a generation of a collection of our own; the
old one is left as it was, but for its name if that is the name wanted. Whatever can be refused is refused before anything is changed, and
an adoption that was interrupted is finished by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from connector.commands.adoption.kept import Kept
from connector.commands.adoption.proving import Proof, prove
from connector.commands.building import Parts, fingerprint_parts
from connector.commands.transfer.copies import ADOPTED, Copy
from connector.commands.transfer.filling import fill
from connector.encoding.probing import Goldens
from connector.errors import ConfigError, PlanNeeded, Refused
from connector.faults import hit
from connector.job import Job
from connector.ledger import Ledger
from connector.milvus import changes, features
from connector.milvus.catalog import Catalog
from connector.milvus.client import Connection, connect
from connector.milvus.survey import Survey
from connector.plan import CreateAlias, diff, target
from connector.plan.generations import Generation, Have, generation_name
from connector.plan.stamp import OWN, Stamp

FROM = f"{OWN}{ADOPTED}"
"""Collection property that says where an adopted collection comes from, and what is known of its vectors."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was taken over.

    Attributes:
        collection: The physical collection that is live now.
        source: The one that was there.
        rows: Rows that were copied; None: they stayed where they are.
        proofs: What is known of the vectors.
        notes: What is to be known.
    """

    collection: str
    source: str
    rows: int | None
    proofs: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        what = "in place, no row was touched" if self.rows is None else f"{self.rows:,} rows copied, no vector encoded"
        return "\n".join([f"{self.collection}  adopted from {self.source}: {what}", *(f"    {one}" for one in self.proofs), *self._said()])

    def _said(self) -> list[str]:
        return [f"note: {note}" for note in self.notes]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {**asdict(self), "proofs": list(self.proofs), "notes": list(self.notes)}


def adopt_in_place(job: Job) -> Adopted:
    """Makes a collection that is there the first generation of its name; no row is touched.

    Raises:
        ConfigError: There is none, or the code claims lineage for it.
        Refused: It is not what the code says, its vectors are not the declared encoder's, or it is ours already; nothing was changed.
    """
    parts = Parts.of(job)
    name = parts.spec.name
    if parts.spec.lineage:
        said = f"{parts.spec.where}: rows of somebody else's collection carry no lineage"
        raise ConfigError(said, hint="declare it as it is, with lineage=False (connector schema pull), or copy it: --copy --from NAME")
    with connect(job.milvus) as connection:
        catalog = Catalog(connection)
        have = catalog.have(name)
        before = _renamed(catalog, have, parts) or catalog.resolve(name)
        found, stamped = catalog.survey(before), catalog.stamp(before)
        if stamped is not None and stamped.spec.get("lineage", True):
            raise Refused(f"{before} is a collection of ours already; nothing was changed", hint="connector plan JOB compares it")
        if stamped is None and (differences := found.differences(parts.spec)):
            said = "\n".join([f"{before} is not what the code says; nothing was changed:", *(f"    {one}" for one in differences)])
            raise Refused(said, hint=f"connector schema pull {name} writes down what there is")
        goldens = Goldens()
        proofs = prove(connection, parts, before, found.spec, goldens)
        now = _name_it(connection, have, parts, before)
        further = {FROM: _origin(before, proofs)}
        if stamped is None:
            catalog.adopt(now, parts.want, further)
        learnt = catalog.goldens(next(one for one in catalog.have(name).generations if one.name == now))
        learnt.add(goldens)
        hit("adopt.stamped")
    notes = (f"{now} is live; to let a job own it: remove lineage=False, then connector plan, apply, copy, promote {job.where}",)
    return Adopted(now, before, None, tuple(map(str, proofs)), notes)


def _renamed(catalog: Catalog, have: Have, parts: Parts) -> str | None:
    """The generation that an interrupted adoption has renamed already, or that is adopted; None: there is none."""
    if have.blocking is not None:
        return None
    for one in have.generations:
        if have.alias_target not in {None, one.name}:
            continue
        foreign = one.stamp is None and not catalog.survey(one.name).differences(parts.spec)
        if foreign or (one.stamp is not None and one.stamp.spec.get("lineage") is False):
            return one.name
    return None


def _name_it(connection: Connection, have: Have, parts: Parts, before: str) -> str:
    """Lets the public name, and the old one, point to the collection under a generation's name; returns that."""
    name = parts.spec.name
    numbers = {one.name: one.number for one in have.generations}
    now = before if before in numbers else generation_name(name, 1 + max(numbers.values(), default=0))
    if now != before:
        changes.rename(connection, before, now)
        hit("adopt.renamed")
    wanted = [name] if before in numbers else dict.fromkeys([name, before])
    Catalog(connection).apply([CreateAlias(alias, now) for alias in wanted], parts.want)
    hit("adopt.aliased")
    return now


def adopt_copy(job: Job, source: str, *, rename_to: str | None = None, keep_vectors: bool = False) -> Adopted:
    """Copies somebody else's collection into the first generation of ours and makes that live; the old one keeps its rows.

    Args:
        job: Into its collection.
        source: The collection that is copied, or an alias of it.
        rename_to: Where it is the very name of ours: what it is called afterwards.
        keep_vectors: Keep the proven vectors for the first run from the source, so that it encodes only what is not the same.

    Raises:
        ConfigError: There is no such collection, or it does not hold what the code asks for.
        Refused: Ours is there already, the name is taken, or the vectors are not the declared encoder's; nothing was changed.
        Locked: A run of this job is under way.
    """
    parts = Parts.of(job)
    if not parts.spec.lineage:
        raise ConfigError(f"{parts.spec.where}: a copy is ours, and carries lineage", hint="remove lineage=False, or adopt --in-place")
    known = job.state_path.exists()
    with Ledger(job.state_path, lock=known, read_only=not known), connect(job.milvus) as connection:
        features.check(parts.spec, connection.server)
        catalog = Catalog(connection)
        have = catalog.have(parts.spec.name)
        done = target(parts.want, have)
        if done is not None and FROM in done.properties:
            if have.alias_target not in {None, done.name}:
                moved = f"{done.name} was adopted before, and {have.alias_target} is live now; nothing was changed"
                raise Refused(moved, hint=f"connector plan {job.where}")
            return _finish(connection, parts, have, done, rename_to)
        found = _source(catalog, source)
        _check_names(have, found, rename_to, parts)
        if rename_to is not None and connection.call(f"look for {rename_to}", connection.client.has_collection, rename_to):
            raise Refused(f"`{rename_to}` is there already; nothing was changed", hint="give another name: --rename-to NAME")
        copy = Copy.of(parts, _as_declared(catalog, found, parts), fingerprint_parts(parts))
        goldens = Goldens()
        proofs = prove(connection, parts, found.collection, found.spec, goldens)
        candidate = _candidate(catalog, have, parts)
        catalog.goldens(candidate).add(goldens)
        with Kept(parts, proofs, goldens, on=keep_vectors) as kept:
            copied = fill(connection, parts, copy, candidate, kept)
        catalog.write(candidate.name, {FROM: _origin(found.collection, proofs)})
        hit("adopt.copied")
        result = _finish(connection, parts, catalog.have(parts.spec.name), candidate, rename_to)
    said = (*_left(found, parts), *copied.notes, *result.notes, *kept.notes)
    return replace(result, source=found.collection, rows=copied.rows, proofs=tuple(map(str, proofs)), notes=said)


def _left(found: Survey, parts: Parts) -> list[str]:
    """What of the old collection is not in the copy."""
    ours = {one.name for one in parts.spec.members}
    behind = [f"{one.name}: the code has no such field" for one in found.spec.members if one.name not in ours]
    return [f"not copied: {one}" for one in (*behind, *(": ".join(filter(None, note)) for note in found.notes))]


def _source(catalog: Catalog, name: str) -> Survey:
    try:
        found = catalog.survey(name)
    except PlanNeeded as error:
        raise ConfigError(error.message, hint="name a collection that is there: --from NAME") from None
    stamp = catalog.stamp(found.collection)
    if stamp is not None and stamp.spec.get("lineage", True):
        raise ConfigError(f"{found.collection} is a collection of ours", hint="connector apply and connector copy make another of it")
    return found


def _check_names(have: Have, found: Survey, rename_to: str | None, parts: Parts) -> None:
    name = parts.spec.name
    if have.alias_target is not None:
        raise Refused(f"`{name}` is there already, as {have.alias_target}; nothing was changed", hint="declare another name")
    if have.blocking is None:
        return
    if found.collection != name:
        raise Refused(f"`{name}` is another collection, so no alias can have this name; nothing was changed", hint="declare another name")
    if rename_to is None:
        said = f"`{name}` is the collection that is copied, so no alias can have this name; nothing was changed"
        raise Refused(said, hint=f"--rename-to {name}_before gives it another name when the copy is whole; or declare another name")


def _as_declared(catalog: Catalog, found: Survey, parts: Parts) -> Generation:
    """The foreign collection as a generation whose vectors are those that the code declares; `prove` has to say so."""
    there = {one.name for one in found.spec.vectors}
    identity: Mapping[str, Any] = {name: one for name, one in parts.want.identity.items() if name in there}
    plain: Mapping[str, Any] = json.loads(json.dumps(identity))
    stamp = Stamp("", None, found.spec.normalised(), plain)
    return Generation(found.collection, 0, stamp, properties=found.properties, loaded=catalog.loaded(found.collection))


def _candidate(catalog: Catalog, have: Have, parts: Parts) -> Generation:
    """The generation that is filled: a new one, or that of an adoption that was interrupted."""
    actions = diff(parts.want, replace(have, blocking=None))
    catalog.apply([action for action in actions if not isinstance(action, CreateAlias)], parts.want)
    made = target(parts.want, catalog.have(parts.spec.name))
    if made is None or made.epoch:
        raise Refused(f"runs have filled a generation of `{parts.spec.name}` already; nothing was copied", hint="connector plan JOB")
    return made


def _finish(connection: Connection, parts: Parts, have: Have, made: Generation, rename_to: str | None) -> Adopted:
    """Frees the name where it must be, and lets it point to the copy."""
    name = parts.spec.name
    origin = next(json.loads(one.properties[FROM]) for one in have.generations if one.name == made.name)
    if have.blocking is not None:
        if rename_to is None:
            raise Refused(f"`{name}` is still the name of the collection that was copied", hint=f"--rename-to {name}_before")
        changes.rename(connection, name, rename_to)
        hit("adopt.moved")
    Catalog(connection).apply([CreateAlias(name, made.name)], parts.want)
    hit("adopt.switched")
    notes = [f"{name} -> {made.name}; the next run of {parts.job.where} makes every document of its source again"]
    notes += [f"{name} is called {rename_to} now"] if have.blocking is not None else []
    return Adopted(made.name, origin["from"], 0, tuple(origin["proofs"]), tuple(notes))


def _origin(collection: str, proofs: Sequence[Proof]) -> str:
    return json.dumps({"from": collection, "proofs": [str(proof) for proof in proofs]}, ensure_ascii=False)
