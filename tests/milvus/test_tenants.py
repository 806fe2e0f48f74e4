"""Tenants in one collection: what is written, swept, repaired, forgotten or searched for one of them never touches or shows another's."""

from __future__ import annotations

from typing import Any

import pytest

import connector
from connector.commands import searching
from connector.commands.building import Parts
from connector.commands.retrieval.options import Search
from connector.commands.searching import search_job
from connector.commands.verifying import verify_job
from connector.encoding.queries import Key
from connector.errors import ConfigError, ConnectorError, Refused
from connector.job import Job
from connector.milvus.catalog import Catalog
from connector.milvus.client import connect
from connector.milvus.describe import schema_of
from connector.milvus.settings import MilvusSettings
from connector.milvus.sink import MilvusSink
from connector.plan.actions import CreateCollection
from connector.schema import Collection, Field, Vector, VectorField, spec_of
from connector.sources.rows import RowsSource
from connector.stations import Options
from connector.testing.encoders import fake_vector
from tests.milvus.tiers import LITE_ONLY, SERVER_ONLY

Rows = list[dict[str, Any]]


class Wares(Collection, partitions=4):
    """Shared by tenants: keys are generated, what a shop calls its goods is a field like any other."""

    id: str = Field(primary_key=True, generated=True)
    shop: str = Field(partition_key=True, max_length=80)
    sku: str = Field(max_length=8)
    title: str = Field(max_length=40)
    price: float = 1.0
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


ACME, EVIL = "acme", 'globex" or shop != "'
"""Two tenants; the second one's name is an attack by itself."""


def rows_of(tenant: str, *numbers: int) -> Rows:
    """Goods with the same names in every shop."""
    return [{"sku": f"s{number}", "title": f"{tenant} {number}", "price": number / 2} for number in numbers]


def job_of(settings: MilvusSettings, tenant: Any, rows: Rows | None = None, **keys: Any) -> Job:
    """One job file for all tenants: only the tenant differs."""
    given = {"job": "wares", "into": Wares, "milvus": settings, "source": RowsSource(rows or [], key="sku"), "sync": "mirror", "workers": 0}
    return Job.check({**given, **({"tenant": tenant} if tenant else {}), **keys}, "job.yaml")


def stored(settings: MilvusSettings, tenant: str) -> list[str]:
    """The titles of a tenant's rows, looked for by their field, not by their namespace."""
    spec = spec_of(Wares)
    with connect(settings) as connection:
        rows = MilvusSink(connection, "wares__g1", spec).scan(None, ["shop", "title"])
        return sorted(row["title"] for row in rows if row["shop"] == tenant)


def titles(rows: Rows) -> list[str]:
    """What `stored` must give."""
    return sorted(row["title"] for row in rows)


def test_the_same_names_in_every_shop(settings: MilvusSettings) -> None:
    """One job file, the same documents, every operation for one tenant: the rows of the other stay, and it has nothing to do."""
    theirs = rows_of("globex", 0, 1, 2)
    connector.run(job_of(settings, EVIL, theirs))
    for numbers in ((0, 1, 2, 3), (2, 5), (5,)):
        ours = rows_of("acme", *numbers)
        report = connector.run(job_of(settings, ACME, ours), options=Options(allow_mass_delete=True))
        assert (report.exit_code, report.verified and report.verified.rows) == (0, len(ours))
        assert (stored(settings, ACME), stored(settings, EVIL)) == (titles(ours), titles(theirs))
    job = job_of(settings, ACME, ours)
    connector.run(job, options=Options(full_refresh=True))
    assert verify_job(job, full=True, repair=True).exit_code == 0
    job.state_path.unlink()
    assert connector.run(job).encoded == 0
    assert connector.forget(job, "s5").rows_deleted == 1  # type: ignore[union-attr]  # it says what it did
    assert (stored(settings, ACME), stored(settings, EVIL)) == ([], titles(theirs))
    connector.run(job_of(settings, ACME, rows_of("acme", 0)))
    assert connector.purge(job).rows_deleted == 1
    assert (stored(settings, ACME), stored(settings, EVIL)) == ([], titles(theirs))
    untouched = connector.run(job_of(settings, EVIL, theirs))
    assert (untouched.counts.unchanged, untouched.rows.upserted, untouched.rows.deleted, untouched.exit_code) == (3, 0, 0, 0)


@LITE_ONLY
def test_a_row_that_says_another_tenant_is_rejected(settings: MilvusSettings) -> None:
    """A row that says nothing gets the job's tenant, one that says it keeps it, one that says another lands nowhere."""
    rows: Rows = [
        {"sku": "a", "title": "says nothing"},
        {"sku": "b", "title": "says it", "shop": ACME},
        {"sku": "c", "title": "says another", "shop": EVIL},
        {"sku": "d", "title": "says a number", "shop": 5},
    ]
    report = connector.run(job_of(settings, ACME, rows))
    assert (report.exit_code, report.counts.written, report.counts.rejected) == (3, 2, 2)
    reasons = "\n".join(report.rejects)
    assert "but this job writes for 'acme' only" in reasons
    assert "field `shop`: int 5" in reasons
    assert (stored(settings, ACME), stored(settings, EVIL)) == (["says it", "says nothing"], [])


ESCAPES = [
    'shop != "acme"',
    'price >= 0 or shop != "acme"',
    'price >= 0 || shop != "acme"',
    'not (shop == "acme")',
    "price >= 0) or (price >= 0",
    'price >= 0) or (shop != "acme")',
    ') or (shop != "acme"',
    'title == "x") or (shop != "acme") or (title == "x"',
    'title == "\\") or (price >= 0',
    "title == 'it\\'s' or shop != \"acme\"",
    'title == "x\n" or (price >= 0',
    "price >= 0 # ",
    "price >= 0 -- ",
    "price >= 0 /* ",
    '"a" == "a") or ("a" == "a"',
    "[price >= 0) or (price >= 0]",
]


def test_no_filter_leads_to_another_tenant(settings: MilvusSettings) -> None:
    """Whatever the filter says, a bound job finds its tenant's rows or an error; the same filters show others without the binding."""
    connector.run(job_of(settings, ACME, rows_of("acme", 0, 1, 2)))
    connector.run(job_of(settings, EVIL, rows_of("globex", 0, 1, 2)))
    led_elsewhere = 0
    for escape in ESCAPES:
        for tenant in (ACME, EVIL):
            try:
                hits = search_job(job_of(settings, tenant), "acme 1", Search(limit=50, filter=escape))
            except ConfigError:
                continue
            assert {hit.fields["shop"] for hit in hits} <= {tenant}, escape
        try:
            hits = search_job(job_of(settings, None), "acme 1", Search(limit=50, filter=escape))
        except ConfigError:
            continue
        led_elsewhere += any(hit.fields["shop"] != ACME for hit in hits)
    assert led_elsewhere >= 4
    assert len(search_job(job_of(settings, ACME), "acme 1", Search(limit=50, filter=ESCAPES[1]))) == 3
    by_value = Search(limit=50, filter="title == {title}", params={"title": 'x" or shop != "acme'})
    assert search_job(job_of(settings, ACME), "acme 1", by_value) == []
    all_of = search_job(job_of(settings, ACME), "acme 1", Search(limit=50, output=("title",)))
    assert sorted(str(hit.fields) for hit in all_of) == [f"{{'title': 'acme {number}'}}" for number in range(3)]
    [stranger] = search_job(job_of(settings, EVIL), "globex 1", Search(limit=1))
    with pytest.raises(ConfigError, match="no row has the key"):
        search_job(job_of(settings, ACME), Key(stranger.id))
    assert len(search_job(job_of(settings, EVIL), Key(stranger.id))) == 3


@LITE_ONLY
def test_every_hit_is_looked_at_again(settings: MilvusSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a server understand a filter otherwise than we do, the answer is refused instead of shown."""
    connector.run(job_of(settings, ACME, rows_of("acme", 0)))
    connector.run(job_of(settings, EVIL, rows_of("globex", 0)))
    monkeypatch.setattr(searching, "within", lambda _, expression: expression)
    with pytest.raises(Refused, match="reached rows of another tenant"):
        connector.search(Wares, "acme 0", milvus=settings, tenant=ACME)


@SERVER_ONLY
def test_where_upserts_lose_the_partition_key_it_is_a_plain_column(settings: MilvusSettings, caplog: pytest.LogCaptureFixture) -> None:
    """Milvus 2.3.5 puts an upserted row into another partition than a filter looks in: there nothing is partitioned, and all is found."""
    connector.run(job_of(settings, ACME, rows_of("acme", 0, 1, 2)))
    assert "wares__g1: shop is a plain column, since upserts of Milvus 2.3.5 lose a partition key" in caplog.text
    with connect(settings) as connection:
        client = connection.client
        described = client.describe_collection("wares__g1")
        assert [one["name"] for one in described["fields"] if one.get("is_partition_key")] == []
        assert client.list_partitions("wares__g1") == ["_default"]
        schema = schema_of(spec_of(Wares))
        client.create_collection("routed", schema=schema, num_partitions=4, consistency_level="Strong")
        assert len(client.list_partitions("routed")) == 4
        client.drop_collection("routed")
    assert len(connector.search(Wares, "acme 0", milvus=settings, filter='shop == "acme"')) == 3
    assert connector.plan_changes(Wares, milvus=settings).actions == ()


@LITE_ONLY
def test_the_partition_key_reaches_the_server(settings: MilvusSettings) -> None:
    """Elsewhere rows are routed by the tenant, and a newer server is told into how many partitions."""
    connector.run(job_of(settings, ACME, rows_of("acme", 0)))
    with connect(settings) as connection:
        described = connection.client.describe_collection("wares__g1")
        assert [one["name"] for one in described["fields"] if one.get("is_partition_key")] == ["shop"]
        sent: list[dict[str, Any]] = []
        connection.client.create_collection = lambda *_, **options: sent.append(options)
        with pytest.raises(ConnectorError):  # nothing was created
            Catalog(connection).apply([CreateCollection("wares__g2")], Parts.of(job_of(settings, None)).want)
        assert sent[0]["num_partitions"] == 4


class Numbers(Collection):
    """Tenants by number."""

    id: str = Field(primary_key=True, generated=True)
    customer: int = Field(partition_key=True)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


class Natural(Collection):
    """Goods by their own key."""

    sku: str = Field(primary_key=True, max_length=8)
    shop: str = Field(partition_key=True, max_length=80)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="sku")


class Alone(Collection):
    """For one owner."""

    id: str = Field(primary_key=True, generated=True)
    title: str = Field(max_length=20)
    vector: Vector = VectorField(dim=8, encoder="fake:fake", source="title")


def test_named_partitions_are_read_and_left_alone(settings: MilvusSettings) -> None:
    """What somebody else keeps in a partition of our collection is found like any row, and no run of ours touches it."""
    ours = [{"sku": "a", "title": "ours"}]
    source = RowsSource(ours, key="sku")
    job = Job.check({"job": "alone", "into": Alone, "milvus": settings, "source": source, "sync": "mirror", "workers": 0}, "job.yaml")
    connector.run(job)
    with connect(settings) as connection:
        connection.client.create_partition("alone__g1", "extra")
        lineage = {"connector_namespace": "theirs", "connector_key": "b", "connector_content": "c.f.1"}
        theirs = {"id": "f" * 32, "title": "theirs", "vector": fake_vector("theirs"), **lineage}
        connection.client.upsert("alone__g1", [theirs], partition_name="extra")
    assert [hit.fields["title"] for hit in connector.search(Alone, "theirs", milvus=settings)] == ["theirs", "ours"]
    report = connector.run(job, options=Options(full_refresh=True))
    assert (report.exit_code, report.rows.deleted) == (0, 0)
    assert len(connector.search(Alone, "theirs", milvus=settings)) == 2


@LITE_ONLY
def test_tenants_by_number(settings: MilvusSettings) -> None:
    """A number stands for itself, also as text, as an environment variable gives it."""
    for tenant in (7, "8"):
        connector.run([{"title": f"of {tenant}"}], into=Numbers, milvus=settings, tenant=tenant)
    [hit] = connector.search(Numbers, "of 7", milvus=settings, tenant="7")
    assert (hit.fields["title"], hit.fields["customer"]) == ("of 7", 7)
    for wrong in ("x", "007", "-0", "7.0"):
        with pytest.raises(ConfigError, match=f"tenant: str '{wrong}', but the field wants an int"):
            connector.search(Numbers, "of 7", milvus=settings, tenant=wrong)


@LITE_ONLY
def test_what_cannot_be_kept_apart_is_refused(settings: MilvusSettings) -> None:
    """Natural keys, no partition key, a forged namespace, a value that does not fit: each is told before anything is opened."""
    for into, said in ((Natural, "two tenants may share a natural key, `sku`"), (Alone, "alone has no partition key")):
        with pytest.raises(ConfigError, match=said):
            connector.run([{"sku": "a", "title": "x"}], into=into, milvus=settings, tenant=ACME, key="sku")
    with pytest.raises(ConfigError, match="tenant"):
        connector.run([], into=Wares, milvus=settings, tenant="")
    with pytest.raises(ConfigError, match="81 bytes of UTF-8"):
        connector.search(Wares, "x", milvus=settings, tenant="x" * 81)
    job = job_of(settings, None)
    for call in (lambda: connector.search(job, "x", tenant=ACME), lambda: connector.run(job, tenant=ACME)):
        with pytest.raises(ConfigError, match="a job says itself what `tenant` is"):
            call()
    for keys, said in (
        ({"namespace": "tenant:acme/wares"}, "begins with tenant:"),
        ({"tenant": True}, "tenant"),
        ({"tenant": "é" * 100}, "more than 255 bytes"),
        ({"partition": "acme"}, "named partition"),
        ({"partition_name": "acme"}, "named partition"),
    ):
        with pytest.raises(ConfigError, match=said):
            job_of(settings, keys.pop("tenant", None), **keys)


@LITE_ONLY
def test_what_touches_every_tenant_is_refused(settings: MilvusSettings) -> None:
    """A job of one tenant does not change the collection for the others; planning looks only."""
    job = job_of(settings, ACME, rows_of("acme", 0))
    connector.run(job)
    for change in (connector.apply_changes, connector.copy, connector.promote, connector.rollback, connector.prune):
        with pytest.raises(Refused, match="touches every tenant's rows"):
            change(job)
    assert connector.plan_changes(job).actions == ()


def test_names_make_namespaces_of_their_own() -> None:
    """No two tenants have one namespace or, where their names are short, one ledger; whatever signs are in them."""
    names = ["a", "A", "a/b", "a%2Fb", "b", "tenant:a", "a@b", "å", "a\0", " "]
    settings = MilvusSettings(uri="x.db")
    jobs = [job_of(settings, name, namespace=space) for name in names for space in ("n", "b/n", "a/n")]
    assert len({job.scope for job in jobs}) == len(jobs)
    assert len({job.state_path for job in jobs}) == len(names)
    assert job_of(settings, "a").scope == "tenant:a/wares"
