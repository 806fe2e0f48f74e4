"""A new server's root gets its own password, once, and nobody gets in with the first one any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.errors import AuthError, ConfigError
from connector.milvus.client import connect
from connector.milvus.root_password import main, secure
from connector.milvus.settings import MilvusSettings
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.testing.server import MilvusServer
from tests.milvus.recorder import recording
from tests.server.conftest import SECRET


class Anything(Collection):
    """What the recorder pretends to hold."""

    id: str = Field(primary_key=True, max_length=8)
    vector: Vector = VectorField(dim=2, source="vector")


SPEC = spec_of(Anything)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, milvus_program: Path) -> Iterator[MilvusServer]:
    """One of its own, since its root changes."""
    with MilvusServer(tmp_path_factory.mktemp("milvus") / "server-own", authorization=True, program=milvus_program) as running:
        yield running


def with_token(server: MilvusServer, password: str) -> MilvusSettings:
    """As root with that password."""
    return MilvusSettings(uri=server.uri, token=f"root:{password}")  # type: ignore[arg-type]  # pydantic makes it a secret


def test_the_first_password_is_changed_once(
    server: MilvusServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changed at the first start, found at every later one; then the first password opens nothing, and a third one is refused by name."""
    own = with_token(server, SECRET)
    assert secure(own) is True
    with connect(own) as connection:
        assert connection.call("list", connection.client.list_collections) == []
    with pytest.raises(AuthError):
        connect(server.settings())
    assert secure(own) is False
    with pytest.raises(AuthError, match="neither the password of MILVUS_TOKEN nor the first one"):
        secure(with_token(server, f"{SECRET}2"))
    monkeypatch.setenv("MILVUS_URI", server.uri)
    for password, code, words in ((SECRET, 0, "root has its own password\n"), (f"{SECRET}2", 7, "")):
        monkeypatch.setenv("MILVUS_TOKEN", f"root:{password}")
        assert (main(), capsys.readouterr().out) == (code, words)


def test_a_server_that_lets_in_anybody_is_refused() -> None:
    """Authorization that is off protects nothing, whatever the password: that is an error, not a password that is right."""
    with recording(SPEC) as (_, uri), pytest.raises(ConfigError, match="takes any password"):
        secure(MilvusSettings(uri=uri, token=f"root:{SECRET}"))  # type: ignore[arg-type]  # pydantic makes it a secret


@pytest.mark.parametrize("token", ["", "root:", "root:Milvus", f"reader:{SECRET}", SECRET])
def test_a_token_that_protects_nothing_is_refused(token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No password, the first one, or that of another user: exit 2 before anything is dialled, with the command that makes a password."""
    monkeypatch.setenv("MILVUS_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MILVUS_TOKEN", token)
    assert main() == ConfigError.exit_code
    assert "connector init DIR --template stack" in capsys.readouterr().err
