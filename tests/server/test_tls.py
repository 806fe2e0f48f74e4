"""TLS and mutual TLS to a live server: what is right works from run to search; what never can is told at once, by what is wrong with it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from connector.milvus.client import connect
from connector.testing.server import MilvusServer
from tests.faults.workshop import SCHEMA, Workshop
from tests.server.certificates import make
from tests.server.conftest import SECRET, during, fill, refused, workshop

ONE_WAY = pytest.mark.parametrize("server", [1], indirect=True)
MUTUAL = pytest.mark.parametrize("server", [2], indirect=True)
EITHER = pytest.mark.parametrize("server", [1, 2], indirect=True)

Shop: TypeAlias = Callable[..., Workshop]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates."""
    return make(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, certificates: Path, tmp_path_factory: pytest.TempPathFactory, milvus_program: Path
) -> Iterator[MilvusServer]:
    """A server with that `tlsMode`: 1 shows a certificate, 2 wants one from us too."""
    paths = {"serverPemPath": "server.pem", "serverKeyPath": "server.key", "caPemPath": "ca.pem"}
    changes = {
        "common": {"security": {"tlsMode": request.param}},
        "tls": {name: str(certificates / file) for name, file in paths.items()},
    }
    reach = {"secure": True, "ca_pem_path": str(certificates / "ca.pem"), **own(certificates, "client")}
    folder = tmp_path_factory.mktemp("server") / "milvus"
    with MilvusServer(folder, authorization=True, changes=changes, reach=reach, program=milvus_program) as started:
        yield started


def own(certificates: Path, name: str, key: str = "") -> dict[str, Any]:
    """The keys of a `milvus:` block that show this certificate."""
    return {"client_pem_path": str(certificates / f"{name}.pem"), "client_key_path": str(certificates / f"{key or name}.key")}


@pytest.fixture
def shop_with(server: MilvusServer, tmp_path: Path) -> Shop:
    """A workshop in a database of its own, which reaches the server by https with these keys."""
    settings = server.settings(database=f"t{uuid.uuid4().hex}")
    with connect(server.settings()) as connection:
        connection.call("create", connection.client.create_database, settings.database)

    def shop(**tls: Any) -> Workshop:
        made = workshop(tmp_path, settings, **tls)
        made.uri = server.uri.replace("http://", "https://")
        made.configure()
        return made

    return shop


def never_tried_again(shop: Workshop, words: str) -> None:
    """Exit 2 with those words, at the first attempt, although it has five minutes; credentials are not shown."""
    shop.configure(token=f"root:{SECRET}", retry_deadline=300)
    assert "trying again" not in refused(shop, 2, words)


@ONE_WAY
@pytest.mark.parametrize("name", ["server_pem_path", "ca_pem_path"])
def test_a_run_over_tls(shop_with: Shop, certificates: Path, name: str) -> None:
    """The authority's certificate under either name: written, read back, unchanged the second time."""
    shop = shop_with(**{name: str(certificates / "ca.pem")})
    shop.write("note", 20)
    shop.write("other", 3)
    shop.expect_ok()
    assert shop.converged(f"server: nothing, over TLS with {name}")
    assert shop.expect_ok()["counts"]["unchanged"] == 2


@ONE_WAY
def test_https_and_secure_mean_the_same(shop_with: Shop, certificates: Path, server: MilvusServer) -> None:
    """`secure: true` on an http URI is TLS; the server's own certificate is as good as its authority's."""
    shop = shop_with(server_pem_path=str(certificates / "server.pem"), secure=True)
    shop.uri = server.uri
    shop.configure()
    shop.write("note", 1)
    shop.expect_ok()


@ONE_WAY
def test_a_name_of_the_certificate(shop_with: Shop, certificates: Path) -> None:
    """A server behind another address is reached by a name that stands in its certificate; any other name is told."""
    shop = shop_with(ca_pem_path=str(certificates / "ca.pem"), server_name="milvus.test")
    shop.write("note", 1)
    shop.expect_ok()
    shop.configure(server_name="elsewhere.test")
    never_tried_again(shop, "the server's certificate is for another name")


@EITHER
def test_a_wrong_authority(shop_with: Shop, certificates: Path) -> None:
    """A server whose certificate another authority signed is not trusted, whether or not we show one."""
    shop = shop_with(ca_pem_path=str(certificates / "other.pem"))
    never_tried_again(shop, "the server's certificate is not trusted")
    shop.configure(**own(certificates, "client"))
    never_tried_again(shop, "the server's certificate is not trusted")


@ONE_WAY
def test_no_authority(shop_with: Shop) -> None:
    """A private authority that nobody named is not trusted either."""
    never_tried_again(shop_with(), "the server's certificate is not trusted")


@EITHER
def test_a_plain_client(shop_with: Shop, server: MilvusServer) -> None:
    """`http://` to a TLS port says so, instead of waiting for a server that seems to be starting."""
    shop = shop_with()
    shop.uri = server.uri
    never_tried_again(shop, "this port speaks TLS, and no TLS was tried")


@MUTUAL
@pytest.mark.parametrize("name", ["server_pem_path", "ca_pem_path"])
def test_a_run_over_mutual_tls(shop_with: Shop, certificates: Path, name: str) -> None:
    """Our certificate is shown under whichever name the authority's came; the whole job works, wrong passwords are still told."""
    shop = shop_with(**{name: str(certificates / "ca.pem")}, **own(certificates, "client"))
    shop.write("note", 20)
    shop.expect_ok()
    assert shop.converged(f"server: nothing, over mutual TLS with {name}")
    shop.configure(token=f"root:{SECRET}")
    refused(shop, 7, "wrong user, password or token")


@MUTUAL
def test_the_server_dies_and_comes_back(shop_with: Shop, certificates: Path, server: MilvusServer) -> None:
    """What a dying TLS connection says is no mistake of the job's: the run pauses, goes on, and exits 0."""
    shop = shop_with(ca_pem_path=str(certificates / "ca.pem"), **own(certificates, "client"))
    shop.configure(retry_deadline=120, timeout=10)
    (shop.folder / "notes_schema.py").write_text(SCHEMA.replace('encoder="fake:fake"', 'encoder="fake:fake", delay=0.0005'))
    fill(shop)

    def outage() -> None:
        server.kill()
        time.sleep(10)
        server.restart()

    code, told = during(shop, outage)
    assert code == 0, told
    assert "trying again" in told
    assert shop.converged("server: SIGKILL in the middle of a run over mutual TLS, back after 10 s")


@MUTUAL
def test_no_certificate_of_ours(shop_with: Shop, certificates: Path) -> None:
    """A server that wants a certificate and gets none."""
    never_tried_again(shop_with(ca_pem_path=str(certificates / "ca.pem")), "wants a client certificate that it trusts")


@MUTUAL
def test_a_certificate_of_another_authority(shop_with: Shop, certificates: Path) -> None:
    """A certificate that the server does not trust."""
    shop = shop_with(ca_pem_path=str(certificates / "ca.pem"), **own(certificates, "stranger"))
    never_tried_again(shop, "wants a client certificate that it trusts")


@MUTUAL
def test_a_key_of_another_certificate(shop_with: Shop, certificates: Path) -> None:
    """Files that do not belong together are told, and nothing of the key is shown."""
    shop = shop_with(ca_pem_path=str(certificates / "ca.pem"), **own(certificates, "client", "stranger"))
    never_tried_again(shop, "the certificates cannot be used")
    shop.configure(client_key_path=str(certificates / "client.pem"))
    never_tried_again(shop, "the certificates cannot be used")
