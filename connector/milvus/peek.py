"""Looks at what Milvus has under a name and changes nothing: opening a Lite file that does not exist would make it, so that is not done."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from connector.errors import ConfigError
from connector.milvus.catalog import Catalog
from connector.milvus.client import Server, connect, parse_version
from connector.milvus.settings import MilvusSettings
from connector.plan.generations import Have


def look(settings: MilvusSettings, name: str) -> tuple[Server, Have]:
    """The server, and what it has under a declared collection's name.

    Raises:
        ConnectorError: As `client.connect`.
    """
    if settings.lite and not Path(settings.path).exists():
        folder = Path(settings.path).parent
        if not folder.is_dir():
            raise ConfigError(f"{settings.uri}: the folder {folder} does not exist", hint="create it, or correct `milvus.uri`")
        return parse_version(f"milvus_lite-{version('milvus-lite')}"), Have()
    with connect(settings) as connection:
        return connection.server, Catalog(connection).have(name)
