"""Collections as things that are made and looked at: reads what Milvus has, carries out what `plan` says, keeps the stamp.

Every step may be repeated: each looks first whether it was already done, so an apply that was killed anywhere is continued by running
it again, and a request whose answer got lost is sent again. What was created is read back: some versions drop what they do not know. What
alters a collection that exists stands in `changes.py`.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connector import faults
from connector.encoding.probing import Goldens
from connector.errors import PlanNeeded, SchemaError, SinkError, Transient
from connector.milvus import changes, describe, features
from connector.milvus.client import Connection
from connector.milvus.lite_indexes import load
from connector.milvus.survey import Survey, survey
from connector.plan.actions import Action, CreateAlias, CreateCollection, CreateIndex, LoadCollection, Restamp
from connector.plan.generations import Generation, Have, Want, drift, generation_number
from connector.plan.stamp import ENCODERS, EPOCH, STAMP, Stamp
from connector.schema.spec import CollectionSpec

log = logging.getLogger(__name__)


class Catalog:
    """The collections of one database.

    Args:
        connection: Open; stays the caller's to close.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._client = connection.client

    def have(self, name: str) -> Have:
        """What there is under a declared collection's name: its generations, and where its alias points."""
        names = self._call("list collections", self._client.list_collections)
        numbered = sorted((number, one) for one in names if (number := generation_number(name, one)) is not None)
        return Have(
            alias_target=None if name in names else self._alias(name, names),
            generations=tuple(self._generations(numbered)),
            blocking=name if name in names else None,
            can=features.alterable(self.connection.server),
        )

    def live(self, name: str) -> Generation | None:
        """The generation behind the alias; None: there is none. Looks at no other, which somebody may be dropping.

        A collection of somebody else's counts as generation 0, with what it is in the place of a stamp: no encoder is known of it.
        """
        target = self._alias(name, None)
        number = generation_number(name, target) if target is not None else None
        if target is None or number is not None:
            return next(self._generations([(number or 0, target)]), None) if target is not None else None
        return self._foreign(target, name)

    def survey(self, name: str) -> Survey:
        """A collection, or what an alias points to, as a declaration of it.

        Raises:
            PlanNeeded: There is none.
            SchemaError: It cannot be declared at all.
        """
        return survey(self.connection, self.resolve(name), name)

    def apply(self, actions: Sequence[Action], want: Want) -> None:
        """Carries out a plan; `Replace` and `Drift` are only said, by whoever shows the plan.

        Raises:
            SchemaError: The server cannot hold the collection; nothing was created.
        """
        features.check(want.spec, self.connection.server)
        for action in actions:
            match action:
                case CreateCollection(name):
                    self._create(name, want)
                    faults.hit("apply.created")
                case CreateIndex(collection, field):
                    changes.create_index(self.connection, collection, field, want.spec)
                    faults.hit("apply.indexed")
                case LoadCollection(collection):
                    self.load(collection)
                case CreateAlias(alias, collection):
                    self._point(alias, collection)
                    faults.hit("apply.aliased")
                case Restamp(collection):
                    self._restamp(collection, want)
                    faults.hit("alter.stamped")
                case _:
                    changes.alter(self.connection, action, want.spec)

    def resolve(self, name: str) -> str:
        """The physical collection behind an alias; a physical name stands for itself.

        Raises:
            PlanNeeded: There is none.
        """
        names = self._call("list collections", self._client.list_collections)
        found = name if name in names else self._alias(name, names)
        if found is None:
            where = self.connection.settings.uri
            raise PlanNeeded(f"there is no collection `{name}` at {where}", hint="run `connector apply`, or a job that fills it")
        return found

    def stamp(self, collection: str) -> Stamp | None:
        """The stamp of a physical collection; None if it carries none."""
        text = self._properties(collection).get(STAMP)
        return Stamp.from_json(text) if text else None

    def epoch(self, collection: str) -> int:
        """How many runs were finished; 0 for a new collection."""
        return int(self._properties(collection).get(EPOCH) or 0)

    def write_epoch(self, collection: str, number: int, further: Mapping[str, str] | None = None) -> None:
        """Notes that a run was finished, and sets `further` properties with it; the stamp stays as it is."""
        self.write(collection, {EPOCH: str(number), **(further or {})})

    def write(self, collection: str, properties: dict[str, str]) -> None:
        """Sets properties; the others stay."""
        self._ddl(f"set properties of {collection}", self._client.alter_collection_properties, collection, properties)

    def adopt(self, collection: str, want: Want, further: Mapping[str, str]) -> None:
        """Stamps a collection that somebody else made with what the code declares of it; rows and names stay."""
        stamp = Stamp(uid=str(uuid.uuid4()), owner=want.owner, spec=want.spec.normalised(), identity=want.identity)
        self.write(collection, {STAMP: stamp.to_json(), EPOCH: "0", ENCODERS: _encoders(want.spec), **further})

    def goldens(self, one: Generation) -> Goldens:
        """What a generation's stamp knows of its encoders; what is learnt is stamped before a vector that was made with it is written."""

        def learn(known: Goldens) -> None:
            stamp = self.stamp(one.name)
            if stamp is not None:
                self.write(one.name, {STAMP: replace(stamp, probe=known.to_json()).to_json()})

        return Goldens.from_json(one.stamp.probe if one.stamp else None, learn)

    def load(self, collection: str) -> None:
        """Makes a collection answer reads, and waits for it; Milvus Lite needs it after every opening of the file."""
        load(self.connection, collection, lambda: self._ddl(f"load {collection}", self._client.load_collection, collection))

    def loaded(self, name: str) -> bool:
        """Whether a collection answers reads; one that was dropped does not."""
        if self.connection.server.lite:
            return True  # it forgets at every closing of the file, so reads load it when they need it
        state = self._call(f"load state of {name}", self._client.get_load_state, name)
        return getattr(state.get("state"), "name", "") in {"Loaded", "Loading"}  # after a restart it says Loading for a minute

    def drop(self, collection: str) -> None:
        """Deletes a physical collection, its data, and any alias that points to it."""

        def make(timeout: float) -> None:
            for alias in self._aliases(collection, timeout):
                self._client.drop_alias(alias, timeout=timeout)
            self._client.drop_collection(collection, timeout=timeout)

        self._ddl(f"drop {collection}", make)

    def _generations(self, numbered: Sequence[tuple[int, str]]) -> Iterator[Generation]:
        for number, one in numbered:
            try:
                yield self._generation(one, number)
            except PlanNeeded:  # dropped since it was listed
                if self._call(f"look for {one}", self._client.has_collection, one):
                    raise

    def _foreign(self, collection: str, name: str) -> Generation:
        found = self._generation(collection, 0)
        return found if found.stamp else replace(found, stamp=Stamp("", None, self.survey(name).spec.normalised(), {}))

    def _generation(self, name: str, number: int) -> Generation:
        description = self._call(f"describe {name}", self._client.describe_collection, name)
        properties = description.get("properties") or {}
        text = properties.get(STAMP)
        stamp, fields = Stamp.from_json(text) if text else None, describe.live_fields(description)
        for one in stamp.spec["fields"] if stamp and not features.routes(self.connection.server) else ():
            if one.get("partition_key") and one["name"] in fields:
                fields[one["name"]]["partition_key"] = None  # a plain column there, so the server says nothing of it
        return Generation(
            name=name,
            number=number,
            stamp=stamp,
            epoch=int(properties.get(EPOCH) or 0),
            fields=fields,
            indexes=changes.live_indexes(self.connection, name),
            loaded=self.loaded(name),
            properties={key: str(value) for key, value in properties.items() if key not in {STAMP, EPOCH}},
        )

    def _alias(self, name: str, existing: Sequence[str] | None) -> str | None:
        try:
            found = self._call(f"describe alias {name}", self._client.describe_collection, name)  # describe_alias ignores the database
        except PlanNeeded:
            return None
        target = str(found.get("collection_name") or "")
        there = target in existing if existing is not None else self._call(f"look for {target}", self._client.has_collection, target)
        return target if there else None  # old servers keep the alias of a dropped collection

    def _aliases(self, collection: str, timeout: float) -> Sequence[str]:
        database = self.connection.settings.database  # Milvus 2.3 reads it from the request only, where others look at the headers, too
        found: Sequence[str] = self._client.list_aliases(collection, timeout=timeout, db_name=database)["aliases"]
        return found

    def _properties(self, collection: str) -> dict[str, str]:
        description = self._call(f"describe {collection}", self._client.describe_collection, collection)
        return dict(description.get("properties") or {})

    def _create(self, name: str, want: Want) -> None:
        spec = want.spec
        stamp = Stamp(uid=str(uuid.uuid4()), owner=want.owner, spec=spec.normalised(), identity=want.identity)
        routed = features.routes(self.connection.server)
        options: dict[str, Any] = {"num_partitions": spec.partitions} if spec.partitions and routed else {}
        properties = {**spec.properties, STAMP: stamp.to_json(), EPOCH: "0", ENCODERS: _encoders(spec)}
        schema = describe.schema_of(spec, routed=routed)
        for key in (one.name for one in spec.fields if one.partition_key and not routed):
            log.warning("%s: %s is a plain column, since upserts of %s lose a partition key", name, key, self.connection.server.text)

        def make(timeout: float) -> None:
            if self._client.has_collection(name, timeout=timeout):
                return  # an earlier request of ours got through and its answer did not
            self._client.create_collection(
                name,
                schema=schema,
                consistency_level=spec.consistency,
                num_shards=spec.shards,
                properties=properties,
                timeout=timeout,
                **options,
            )

        self._ddl(f"create {name}", make)
        self._verify(name, stamp, properties)

    def _verify(self, name: str, stamp: Stamp, properties: dict[str, str]) -> None:
        if not self._properties(name).get(STAMP):
            self.write(name, properties)
        made = self._generation(name, 0)
        if made.stamp is None or made.stamp.uid != stamp.uid:
            raise Transient(f"{name} was created by someone else at the same moment", hint="run the same command again")
        changed = drift(made)
        if changed:
            self.drop(name)
            server = self.connection.server.text
            raise SchemaError(f"{server} did not keep the declared fields: {'; '.join(changed)}", hint="use a newer server")

    def _restamp(self, collection: str, want: Want) -> None:
        old = self.stamp(collection)
        if old is None:
            raise SinkError(f"{collection} has lost its stamp", hint="was it changed by hand?")
        stamp = replace(old, spec=want.spec.normalised(), identity=want.identity)
        self.write(collection, {STAMP: stamp.to_json(), ENCODERS: _encoders(want.spec)})

    def _point(self, alias: str, collection: str) -> None:
        def make(timeout: float) -> None:
            if alias not in self._aliases(collection, timeout):
                self._client.create_alias(collection, alias, timeout=timeout)

        try:
            self._ddl(f"create alias {alias}", make)
        except (SinkError, SchemaError):
            changes.move_alias(self.connection, alias, collection)  # it dangled: its collection was dropped

    def _call(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        return self.connection.call(what, function, *args)

    def _ddl(self, what: str, function: Callable[..., Any], *args: Any) -> None:
        changes.ddl(self.connection, what, function, *args)


def _encoders(spec: CollectionSpec) -> str:
    """The schema's words for its encoders, by field; a hint only, since names and folders may come to hold another model."""
    words = {one.name: {"encoder": one.encoder, "options": one.options} for one in spec.vectors if one.encoder is not None}
    return json.dumps(words, sort_keys=True, ensure_ascii=False, default=repr)
