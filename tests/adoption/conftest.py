"""A working folder beside a Milvus in which somebody else made collections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connector.milvus.client import Connection, connect
from connector.milvus.settings import MilvusSettings
from tests.commands.test_switching import Place
from tests.milvus.tiers import TIERS


class Site(Place):
    """A working folder, and a Milvus that is looked into by hand."""

    @property
    def lite(self) -> bool:
        """Whether this is Milvus Lite."""
        return self.settings.lite

    def by_hand(self, act: Any, *args: Any, **options: Any) -> Any:
        """Somebody at work with plain pymilvus."""
        with connect(self.settings) as connection:
            return act(connection.client, *args, **options)

    def job_into(self, schema: str, source: str = "{kind: jsonl, path: rows.jsonl}", more: str = "") -> None:
        """A job for a schema."""
        self.put("schema.py", schema)
        own = self.job.replace("{kind: files, root: notes}", source).replace("job: notes", "job: shop")
        self.put("job.yaml", own.replace("schema.py:Notes", "schema.py:Texts") + more)

    def snapshot(self) -> Any:
        """All that can be seen of a Milvus."""
        with connect(self.settings) as connection:
            return {name: _described(connection, name) for name in connection.client.list_collections()}

    def unchanged(self, code: int, *words: str) -> str:
        """What a command says that ends with this exit code and changes nothing."""
        before = self.snapshot()
        found, out, err = self.call(*words)
        assert found == code, out + err
        assert self.snapshot() == before
        return err


def _described(connection: Connection, name: str) -> Any:
    client = connection.client
    aliases = client.list_aliases(name, db_name=connection.settings.database)["aliases"]
    return (
        str(client.describe_collection(name)),
        sorted(aliases),
        sorted(str(client.describe_index(name, one)) for one in client.list_indexes(name)),
    )


@pytest.fixture(params=TIERS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """Milvus Lite, or the server."""
    lite = request.param == "lite"
    settings = MilvusSettings(uri=str(tmp_path / "notes.db")) if lite else request.getfixturevalue("database")
    return Site(tmp_path, settings)
