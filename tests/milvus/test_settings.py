"""The `milvus:` block of a job."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector.errors import Transient
from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings


def test_a_local_path_that_ends_in_db_is_milvus_lite() -> None:
    """Rule: the embedded default is a file; everything else is a server."""
    assert MilvusSettings(uri="./shop.db").lite
    assert MilvusSettings(uri="./shop.db").path == str(Path("shop.db").absolute())
    assert not MilvusSettings(uri="http://localhost:19530").lite
    assert not MilvusSettings(uri="unix:/run/milvus.sock").lite


@pytest.mark.parametrize(
    "wrong",
    [
        {"uri": "localhost:19530"},
        {"uri": "ftp://localhost"},
        {"uri": "http://"},
        {"uri": "http://host/shop.db"},
        {"uri": "http://root:Geheim1@host:19530"},
        {"uri": "http://host", "token": "Geheim1", "user": "u", "password": "p"},
        {"uri": "http://host", "user": "u"},
        {"uri": "http://host", "password": "Geheim1"},
        {"uri": "./shop.db", "token": "Geheim1"},
        {"uri": "https://host", "client_pem_path": "c.pem"},
        {"uri": "https://host", "client_pem_path": "c.pem", "client_key_path": "c.key"},
        {"uri": "https://host", "server_pem_path": "s.pem", "ca_pem_path": "ca.pem"},
        {"uri": "http://host", "server_pem_path": "s.pem"},
        {"uri": "https://host", "secure": False, "ca_pem_path": "ca.pem"},
        {"uri": "http://host", "server_name": "milvus"},
        {"uri": "http://host", "timeout": 0},
        {"uri": "http://host", "tokn": "Geheim1"},
    ],
)
def test_wrong_settings_are_refused_without_repeating_a_secret(wrong: dict[str, str]) -> None:
    """Rule: what cannot work is refused before anything is dialled, and no secret is in the message."""
    with pytest.raises(ValidationError) as caught:
        MilvusSettings.model_validate(wrong)
    assert "Geheim1" not in str(caught.value)


def test_secrets_do_not_show() -> None:
    """Rule: no secret ever reaches a log or a report."""
    settings = MilvusSettings.model_validate({"uri": "http://host", "user": "u", "password": "Geheim1"})
    assert "Geheim1" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_the_first_contact_is_short() -> None:
    """Rule: a wrong host is told in seconds, although a running job waits five minutes."""
    settings = MilvusSettings(uri="http://host")
    assert settings.first_contact.deadline <= 10
    assert settings.policy.deadline == 300


def test_reading_settings_and_plans_does_not_import_pymilvus() -> None:
    """Rule: `plan` and job checks stay quick: importing pymilvus takes a second."""
    modules = "connector.plan, connector.milvus.settings, connector.milvus.translate, connector.milvus.features"
    code = f"import sys, {modules}; print('pymilvus' in sys.modules, 'grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("uri", "exposed"),
    [
        ("http://milvus.example.org:19530", True),
        ("tcp://10.0.0.5:19530", True),
        ("http://[2001:db8::1]:19530", True),
        ("http://localhost:19530", False),
        ("http://milvus.localhost:19530", False),
        ("http://127.0.0.2:19530", False),
        ("http://[::1]:19530", False),
        ("https://milvus.example.org", False),
        ("unix:/run/milvus.sock", False),
    ],
)
def test_credentials_over_plain_http(uri: str, exposed: bool) -> None:  # noqa: FBT001 - a column of the table above
    """Rule: credentials that leave the machine unencrypted are known as such; without credentials there is nothing to expose."""
    assert MilvusSettings.model_validate({"uri": uri, "token": "Geheim1"}).exposed is exposed
    assert MilvusSettings.model_validate({"uri": uri, "user": "u", "password": "Geheim1"}).exposed is exposed
    assert not MilvusSettings(uri=uri).exposed
    assert not MilvusSettings.model_validate({"uri": uri, "token": "Geheim1", "secure": True}).exposed


def test_what_is_empty_is_none() -> None:
    """Rule: `${env:MILVUS_TOKEN:-}` with nothing set means no token, with Milvus Lite too, and likewise a path."""
    assert MilvusSettings.model_validate({"uri": "x.db", "token": ""}).token is None
    paths = ("server_pem_path", "ca_pem_path", "client_pem_path", "client_key_path", "server_name")
    assert MilvusSettings.model_validate({"uri": "http://host", **dict.fromkeys(paths, "")}) == MilvusSettings(uri="http://host")


def test_exposed_credentials_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Rule: the warning names the address, not the secret, and comes once however often a job connects."""
    settings = MilvusSettings.model_validate({"uri": "http://192.0.2.1:1", "token": "Geheim1", "retry_deadline": 0, "timeout": 0.1})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(Transient):
                connect(settings)
    said = [record.getMessage() for record in caplog.records if "unencrypted" in record.getMessage()]
    assert len(said) == 1
    assert "192.0.2.1" in said[0]
    assert "Geheim1" not in caplog.text
