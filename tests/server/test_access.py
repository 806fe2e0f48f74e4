"""Who may not in, and where nobody is: each mistake has its own exit code and words, and no secret is ever shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from connector.milvus.client import connect
from connector.milvus.settings import MilvusSettings
from tests.faults.workshop import Workshop
from tests.server.conftest import SECRET, refused


@pytest.fixture
def stranger(shared: MilvusSettings) -> Iterator[str]:
    """A user without any privilege."""
    name = f"u{uuid.uuid4().hex[:20]}"
    with connect(shared) as connection:
        connection.call("create user", connection.client.create_user, name, SECRET)
        yield name
        connection.call("drop user", connection.client.drop_user, name)


def test_a_wrong_password(shop: Workshop) -> None:
    """Exit 7 at once: trying again would lock the account."""
    shop.configure(token=f"root:{SECRET}")
    refused(shop, 7, "wrong user, password or token")


def test_a_user_and_a_wrong_password(shop: Workshop) -> None:
    """The same with `user` and `password` instead of a token."""
    del shop.milvus["token"]
    shop.configure(user="root", password=SECRET)
    refused(shop, 7, "wrong user, password or token")


def test_no_token(shop: Workshop) -> None:
    """A server with authorization and a job without credentials: exit 7, not "not reachable"."""
    del shop.milvus["token"]
    shop.configure()
    refused(shop, 7, "wrong user, password or token")


def test_a_missing_privilege(shop: Workshop, stranger: str) -> None:
    """A user who may log in and may not write: exit 7, and the privilege is named."""
    shop.configure(token=f"{stranger}:{SECRET}")
    refused(shop, 7, "lacks a privilege: Privilege")


def test_nobody_listens(shop: Workshop) -> None:
    """Exit 4: a server that is down may come back."""
    shop.uri = "http://127.0.0.1:1"
    shop.configure(retry_deadline=1)
    refused(shop, 4, "nobody listens on that host and port")


def test_tls_where_there_is_none(shop: Workshop) -> None:
    """Exit 2: https to a plain port is a mistake in the job."""
    shop.uri = shop.uri.replace("http://", "https://")
    shop.configure()
    refused(shop, 2, "TLS was tried, but this port does not speak it")


def test_a_database_that_is_not_there(shop: Workshop) -> None:
    """Exit 2, and the database is named."""
    shop.configure(database="nowhere")
    refused(shop, 2, "nowhere")


def test_user_and_password(shop: Workshop) -> None:
    """The right ones work in both ways of writing them."""
    del shop.milvus["token"]
    shop.configure(user="root", password="Milvus")  # noqa: S106 - what every new server has
    shop.write("note", 1)
    shop.expect_ok()
