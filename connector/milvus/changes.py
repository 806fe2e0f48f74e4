"""Alters a collection that exists: indexes, properties, fields, and where an alias points.

Every change may be repeated, since an apply that was killed is continued by running it again: each looks first how far it was. Milvus drops
an index only of a released collection, and a search may load it again in between, so the two are tried together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connector import faults
from connector.errors import BadRows, Refused, SchemaError, Transient
from connector.milvus import describe
from connector.milvus.client import Connection
from connector.plan.actions import Action, AddField, AlterProperty, DropIndex, RebuildIndex, WidenField
from connector.plan.stamp import MMAP, TTL, indexes_of
from connector.schema.spec import CollectionSpec

_REMOVES_PROPERTIES = (2, 5, 0)
"""The first server that can remove a property; before, it is switched off."""

_OFF = {TTL: "0", MMAP: "false"}


def ddl(connection: Connection, what: str, function: Callable[..., Any], *args: Any) -> None:
    """A change of the catalogue: what would be a bad row in a write is a bad declaration here.

    Raises:
        SchemaError: The server refuses it.
    """
    try:
        connection.call(what, function, *args)
    except BadRows as error:
        raise SchemaError(error.message, hint="change the declaration, or use a newer server") from error


def alter(connection: Connection, action: Action, spec: CollectionSpec) -> None:
    """Carries out a step that alters a collection; other steps are not its business."""
    match action:
        case RebuildIndex(collection, field):
            _rebuild(connection, collection, field, spec)
        case DropIndex(collection, field):
            _drop_index(connection, collection, field)
        case AlterProperty(collection, key, _, after, _):
            if key == MMAP:  # it is read at the next load, and newer servers alter it only then
                ddl(connection, f"release {collection}", connection.client.release_collection, collection)
            _set(connection, collection, key, after)
        case AddField(collection, field):
            _add_field(connection, collection, field, spec)
        case WidenField(collection, field, _, after):
            what = f"lengthen {collection}.{field}"
            ddl(connection, what, connection.client.alter_collection_field, collection, field, {"max_length": after})
        case _:
            return
    faults.hit("alter.changed")


def create_index(connection: Connection, collection: str, field: str, spec: CollectionSpec) -> None:
    """Builds the index that a specification declares on a field, unless the field has one."""
    params = index_params(connection, spec, field)
    wait = not connection.server.lite  # Lite builds within the call; waiting would sleep half a second for nothing

    def make(timeout: float) -> None:
        if field not in live_indexes(connection, collection):
            connection.client.create_index(collection, params, timeout=timeout, sync=wait)

    ddl(connection, f"create index on {collection}.{field}", make)


def index_params(connection: Connection, spec: CollectionSpec, field: str) -> Any:
    """The index that a specification declares on a field, as pymilvus takes it.

    pymilvus sends build parameters one by one, and Milvus Lite reads them only as one called "params": it would build with its defaults.
    """
    from pymilvus.milvus_client import IndexParams

    options = describe.index_of(spec, field)
    if connection.server.lite and any(one.name == field and one.dim is not None for one in spec.vectors):
        options["params"] = {"params": options["params"]}
    made = IndexParams()
    made.add_index(field, index_name=field, **options)
    return made


def live_indexes(connection: Connection, collection: str) -> dict[str, dict[str, Any]]:
    """The indexes of a collection by field, in the form of `stamp.indexes_of`, with the index's own name as `name`."""
    return dict(live_index_list(connection, collection))


def live_index_list(connection: Connection, collection: str) -> list[tuple[str, dict[str, Any]]]:
    """As `live_indexes`, in pairs: newer servers have several indexes on one JSON field."""
    client = connection.client
    names = connection.call(f"list indexes of {collection}", client.list_indexes, collection)
    described = [connection.call(f"describe index {one} of {collection}", client.describe_index, collection, one) for one in names]
    return [(one["field_name"], describe.live_index(one)) for one in described if one]


def move_alias(connection: Connection, alias: str, collection: str) -> None:
    """Lets an alias point to another collection, in one step: there is no moment at which it points nowhere."""
    ddl(connection, f"move alias {alias} to {collection}", connection.client.alter_alias, collection, alias)


def rename(connection: Connection, collection: str, name: str) -> None:
    """Gives a collection another name; aliases follow it. It answers under its new name at once, under the old one no more.

    Raises:
        SchemaError: The server refuses it.
        AuthError: The user may not.
    """
    client, database = connection.client, connection.settings.database

    def make(timeout: float) -> None:
        if not client.has_collection(name, timeout=timeout):
            client.rename_collection(collection, name, target_db=database, timeout=timeout)

    ddl(connection, f"rename {collection} to {name}", make)


def drop_unused(connection: Connection, collection: str) -> None:
    """Deletes a collection that no alias points to; one that is gone already is no error.

    Raises:
        Refused: An alias points to it.
    """
    client, database = connection.client, connection.settings.database

    def make(timeout: float) -> None:
        if not client.has_collection(collection, timeout=timeout):
            return
        aliases = client.list_aliases(collection, timeout=timeout, db_name=database)["aliases"]
        if aliases:
            raise Refused(f"{collection} is in use: the alias {aliases[0]} points to it", hint="move that alias first")
        client.drop_collection(collection, timeout=timeout)

    ddl(connection, f"drop {collection}", make)


def _rebuild(connection: Connection, collection: str, field: str, spec: CollectionSpec) -> None:
    wanted, live = indexes_of(spec.normalised())[field], live_indexes(connection, collection).get(field)
    if live is None or not _same(live, wanted):
        _drop_index(connection, collection, field)
        faults.hit("alter.dropped")
        create_index(connection, collection, field, spec)


def _same(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the live index is the wanted one for certain: where the server does not tell parameters, it never is."""
    return all(key in live and str(live[key]) == str(value) for key, value in wanted.items())


def _drop_index(connection: Connection, collection: str, field: str) -> None:
    from pymilvus.exceptions import MilvusException

    client = connection.client
    handler = client._get_connection()  # noqa: SLF001 - the client's own `drop_index` leaves the field out, and Milvus Lite drops them all

    def make(timeout: float) -> None:
        names = [name for name in client.list_indexes(collection, field_name=field, timeout=timeout) if name]
        if not names:
            return
        client.release_collection(collection, timeout=timeout)
        faults.hit("alter.released")
        try:
            handler.drop_index(collection, field, names[0], timeout=timeout, context=client._generate_call_context())  # noqa: SLF001
        except MilvusException as error:
            if "release" in str(error):
                raise Transient(f"{collection} was loaded by a search in this moment", hint="run the same command again") from error
            raise

    ddl(connection, f"drop index on {collection}.{field}", make)


def _set(connection: Connection, collection: str, key: str, value: str | None) -> None:
    client, server = connection.client, connection.server
    what = f"set {key} of {collection}"
    if value is None and (server.lite or server.version >= _REMOVES_PROPERTIES):
        ddl(connection, what, client.drop_collection_properties, collection, [key])
    else:
        ddl(connection, what, client.alter_collection_properties, collection, {key: _OFF.get(key, "") if value is None else value})


def _add_field(connection: Connection, collection: str, field: str, spec: CollectionSpec) -> None:
    client, options = connection.client, describe.field_options(next(one for one in spec.fields if one.name == field))

    def make(timeout: float) -> None:
        there = client.describe_collection(collection, timeout=timeout)["fields"]
        if field not in {one["name"] for one in there}:
            client.add_collection_field(collection, field, timeout=timeout, **options)

    ddl(connection, f"add field {collection}.{field}", make)
