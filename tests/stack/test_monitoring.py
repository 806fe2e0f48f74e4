"""Every query of the dashboard and of the alerts parses, and asks for metrics that exist, by labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from connector.observe.metrics import NAMES

FOLDER = Path(__file__).parents[2] / "docker" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "connector.json").read_text())

PANELS = [(f"{panel['title']}: {target['refId']}", target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
ALERTS = [(rule["alert"], rule["expr"]) for rule in RULES]
QUERIES = [pytest.param(query, id=name) for name, query in [*PANELS, *ALERTS]]


def selected(query: str) -> set[str]:
    """The metrics that a query asks for; a histogram's by its own name."""
    found: set[str] = set()
    todo: list[Any] = [promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$job", ".+"))]
    while todo:
        node = todo.pop()
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            found.add(re.sub(r"_bucket$", "", str(node.name)))
        todo += [inner for name in ("expr", "lhs", "rhs") if (inner := getattr(node, name, None)) is not None]
        todo += list(getattr(node, "args", None) or [])
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_there(query: str) -> None:
    """A misspelt metric is an empty panel, and an alert that never fires."""
    asked = selected(query)
    assert asked
    assert asked - {"up"} <= NAMES


def test_everything_measured_is_shown() -> None:
    """Each metric is on the dashboard."""
    assert set().union(*(selected(query) for _, query in PANELS)) == NAMES


def test_a_wrong_name_would_be_found() -> None:
    """The reader of queries sees through functions, operators, offsets, sums and histograms."""
    query = (
        'sum by (job) (clamp_min(a{job=~"$job"} - (b offset 24h or c * 0), 0)) / histogram_quantile(0.5, rate(d_bucket[$__rate_interval]))'
    )
    assert selected(query) == {"a", "b", "c", "d"}


def test_panels_do_not_overlap() -> None:
    """Each panel has its own place, its own number and a title; every query has a name for its lines."""
    places = [(x, y) for panel in DASHBOARD["panels"] for x, y in covered(panel["gridPos"])]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))
    assert all(target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"])


def covered(place: dict[str, int]) -> set[tuple[int, int]]:
    """The cells of a panel."""
    return {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}


def test_the_dashboard_finds_its_source() -> None:
    """What the panels ask is what is provisioned, from the Prometheus that compose starts."""
    [source] = yaml.safe_load((FOLDER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}


def test_the_label_job_is_ours() -> None:
    """Without honor_labels Prometheus renames the label `job` of every metric of ours, and nothing here finds anything."""
    scraped = {one["job_name"]: one for one in yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]}
    assert scraped["connector"]["honor_labels"] is True


def test_an_alert_says_what_to_do() -> None:
    """Each has a severity, a sentence, and the next step; and a case in which it fires, in what promtool runs."""
    tested = (FOLDER / "alerts.test.yaml").read_text()
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "do"}
        assert f'alertname="{rule["alert"]}"' in tested
