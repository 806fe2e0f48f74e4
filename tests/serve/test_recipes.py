"""The files that people copy: checked by what will read them, and the examples run with the real orchestrators where that is asked for."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml

from connector.errors import ConfigError
from connector.ledger.file import LedgerFile
from tests.workfolder import Folder

DOCKER = Path(__file__).parent.parent.parent / "docker"
EXAMPLES = {
    "airflow_dag": (
        "apache-airflow>=3.3,<4",
        "import airflow_dag; [task] = airflow_dag.handbook().tasks; assert task.retries == 6; task.python_callable()",
    ),
    "dagster_assets": ("dagster>=1.13,<2", "import dagster, dagster_assets; assert dagster.materialize([dagster_assets.handbook]).success"),
    "prefect_flow": ("prefect>=3.9,<4", "import prefect_flow; print(prefect_flow.handbook()['counts'])"),
}
"""Example to what it needs, and how it is run once; of Airflow without its database and its scheduler."""


@pytest.mark.parametrize("version", ["1.31.0", "1.37.0"])
@pytest.mark.parametrize("name", ["cronjob", "deployment"])
def test_kubernetes_takes_the_manifests(name: str, version: str) -> None:
    """Every key is one that Kubernetes knows, of the right type; a misspelt one would be found."""
    document = yaml.safe_load((DOCKER / "kubernetes" / f"{name}.yaml").read_text())
    kubernetes_validate.validate(document, version, strict=True)
    document["spec"]["sheduler"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, version, strict=True)


def test_exit_codes_of_the_cron_job() -> None:
    """Every exit code of ours is either worth another try or ends the job, and none is both."""
    document = yaml.safe_load((DOCKER / "kubernetes" / "cronjob.yaml").read_text())
    rules = document["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: set(rule["onExitCodes"]["values"]) for rule in rules if "onExitCodes" in rule}
    assert codes == {"FailJob": {1, 2, 3, 6, 7}, "Count": {4, 5, 130, 143}}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze reads the units, and only Linux has it")
@pytest.mark.parametrize("name", ["connector@handbook.service", "connector@handbook.timer", "connector-serve.service"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    """Without a word of warning, and it would warn of a misspelt key."""
    for path in (DOCKER / "systemd").iterdir():
        text = path.read_text().replace("/opt/connector/bin/connector", sys.executable).replace("User=connector\n", "")
        (tmp_path / path.name.replace("@", "@handbook")).write_text(text)

    def said() -> str:
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False)
        return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if str(tmp_path) in line or "connector" in line)

    assert said() == ""
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\nRestrt=always\n")
    assert "Restrt" in said()


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that the examples wrap."""
    monkeypatch.syspath_prepend(str(DOCKER / "orchestrators"))
    import importlib

    return importlib.import_module("ingest")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A job called as the examples call theirs."""
    folder = Folder(tmp_path)
    (tmp_path / "jobs").mkdir()
    (tmp_path / "job.yaml").rename(tmp_path / "jobs/handbook.yaml")
    folder.put("notes/a.txt", "about tea")
    return folder


def test_what_the_examples_wrap(folder: Folder, ingest: Any) -> None:
    """A report as JSON; a held lock is worth a retry; rejects and mistakes are not."""
    report = ingest.ingest("jobs/handbook.yaml")
    assert (json.loads(json.dumps(report))["counts"]["written"], report["exit_code"]) == (1, 0)
    with LedgerFile(Path(".connector/notes.db")), pytest.raises(ingest.TryLater, match="another run is under way"):
        ingest.ingest("jobs/handbook.yaml")
    folder.put("notes/bad.txt", b"\x00")
    with pytest.raises(RuntimeError, match="1 of 2 documents were rejected"):
        ingest.ingest("jobs/handbook.yaml")
    with pytest.raises(ConfigError):
        ingest.ingest("jobs/other.yaml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_call_it(name: str) -> None:
    """Each compiles, and does its work through `ingest`, on the job that the documentation names."""
    tree = ast.parse((DOCKER / "orchestrators" / f"{name}.py").read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    values = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {"ingest", "TryLater"} <= names
    assert {"jobs/handbook.yaml", "30 2 * * *"} <= values


if os.environ.get("CONNECTOR_ORCHESTRATORS"):  # make orchestrators: installs each of them

    @pytest.mark.timeout(3000)
    @pytest.mark.parametrize("name", EXAMPLES)
    def test_examples_run(name: str, folder: Folder) -> None:
        """With the real orchestrator, beside the packages of this environment: the collection is filled."""
        package, code = EXAMPLES[name]
        home = Path(os.environ.get("CONNECTOR_ORCHESTRATORS_HOME", str(folder.root))) / name
        if not (home / "bin/python").exists():
            venv.create(home, with_pip=True)
        python = str(home / "bin/python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
        ours = [str(DOCKER / "orchestrators"), str(DOCKER.parent), *(path for path in sys.path if "site-packages" in path)]
        code = f"import sys; sys.path += {ours!r}; {code}"  # behind its own packages, so that each finds its versions
        homes = {f"{one}_HOME": str(folder.root / one.lower()) for one in ("AIRFLOW", "PREFECT")}
        environment = {**os.environ, **homes, "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300", "DO_NOT_TRACK": "1"}
        done = subprocess.run([python, "-c", code], cwd=folder.root, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        with LedgerFile(Path(".connector/notes.db"), lock=False) as ledger:
            assert [run["exit_code"] for run in ledger.runs()] == [0]
