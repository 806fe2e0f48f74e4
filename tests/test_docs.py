"""The documentation is run and compared with the code."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import connector
from connector import registry
from connector.cli import app
from connector.interfaces import DeviceSpec
from connector.job import Job, RejectSettings, SplitSettings
from connector.job.schedule import ScheduleSettings
from connector.milvus.settings import MilvusSettings
from connector.observe.metrics import COUNTERS, NAMES
from connector.observe.settings import MetricsSettings, NotifySettings
from connector.schema import __all__ as schema_names
from tests.encoders.vision_models import build_pair
from tests.pictures import varied

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = [
    pytest.param(block, page.name, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
]


def draw(folder: Path) -> None:
    """Three pictures."""
    folder.mkdir()
    for seed, name in enumerate(("beach", "forest", "street")):
        varied(60, 40, seed).save(folder / f"{name}.png")


NAMED: dict[str, Callable[[Path], Any]] = {"small-clip": build_pair, "photos": draw}
"""What blocks name in their working folder, and what makes it; models are of random numbers, as the text beside them says."""


@pytest.mark.parametrize(("block", "page"), BLOCKS)
def test_python_blocks_run(block: str, page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the documentation shows works as it stands."""
    for name, make in NAMED.items():
        if f"./{name}" in block or f"{name}/" in block:
            make(Path(name))
    capsys.readouterr()
    code = compile(block, page, "exec", dont_inherit=True)
    exec(code, {"__name__": "block"})  # noqa: S102 - our own documentation
    if "print(" in block:
        assert capsys.readouterr().out == "2 a2\n"


def test_yaml_block_is_a_job_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job in the README, with the schema that it names, writes a file of each kind that it lists."""
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    Path("job.yaml").write_text(block)
    shutil.copytree(ROOT / "connector" / "templates" / "text" / "schemas", "schemas")
    Path("handbook").mkdir()
    for name, text in {"a.md": "# Leave\n\nThirty days.", "b.txt": "Ask at the desk.", "c.html": "<p>Fire: go outside.</p>"}.items():
        Path("handbook", name).write_text(text)
    report = connector.run("job.yaml")
    assert (report.exit_code, report.counts.written, report.counts.rejected) == (0, 3, 0)
    monkeypatch.setenv("MILVUS_URI", "http://localhost:19530")
    monkeypatch.setenv("MILVUS_TOKEN", "secret")
    assert Job.from_yaml(Path("job.yaml")).sync == "mirror"


@pytest.mark.parametrize("path", sorted((ROOT / "docker" / "jobs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_jobs_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job that we ship reads."""
    monkeypatch.setenv("SITE_PACKAGES", "/nowhere")
    assert Job.from_yaml(path).job == path.stem


def commands(group: typer.Typer, above: str = "") -> set[str]:
    """The commands of a group and of the groups in it, as they are typed."""
    own = {f"{above}{command.name or getattr(command.callback, '__name__', '')}" for command in group.registered_commands}
    inner = [(one.typer_instance, f"{above}{one.typer_instance.info.name} ") for one in group.registered_groups if one.typer_instance]
    return own.union(*(commands(one, name) for one, name in inner))


def test_every_command_is_documented() -> None:
    """A command that is not in the documentation does not exist for its users."""
    names = commands(app)
    assert names == {
        *("init", "check", "plan", "apply", "run", "search", "status", "serve", "bench", "plugins", "models pull", "schema json"),
        *("schema pull", "schema docs", "adopt"),
        *("verify", "forget", "purge"),
        *("state show", "state export", "state import", "state rebuild", "state reset"),
        *("copy", "promote", "rollback", "prune"),
        *("rejects list", "rejects show", "rejects retry", "rejects export"),
    }
    page = (ROOT / "docs" / "jobs.md").read_text()
    assert [name for name in sorted(names) if f"`connector {name}" not in TEXT and f"`{name}" not in page] == []


def test_options_that_are_documented_exist() -> None:
    """Every option that the page about changes names belongs to a command."""
    import inspect

    from connector.cli import changing

    made = {
        f"--{name.replace('_', '-')}"
        for command in vars(changing).values()
        if inspect.isfunction(command)
        for name in inspect.signature(command).parameters
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "docs" / "changes.md").read_text()))
    assert named - made <= {"--json", "--plan"}


def test_every_plugin_is_documented() -> None:
    """Each registered name stands in the documentation."""
    missing = [f"{group}: {name}" for group in registry.GROUPS for name in registry.names(group) if f"`{name}`" not in TEXT]
    assert missing == []


def test_every_key_is_documented() -> None:
    """Each key of a job file, and each name of a schema, stands in the documentation."""
    models = (Job, SplitSettings, RejectSettings, MilvusSettings, ScheduleSettings, MetricsSettings, NotifySettings)
    keys = {key for model in models for key in model.model_fields} - {"where"}
    keys |= set(DeviceSpec.__dataclass_fields__)
    assert [key for key in sorted(keys) if f"`{key}`" not in TEXT] == []
    assert [name for name in schema_names if name not in TEXT and not name.endswith("Spec") and name != "spec_of"] == []


def test_every_metric_is_documented() -> None:
    """Each metric has its line in the table, with its labels; the alert rules beside it name no others, and are YAML of the right keys."""
    page = (ROOT / "docs" / "observability.md").read_text()
    table = dict(re.findall(r"^\| `(connector_\w+)` \| (.+?) \|", page, flags=re.MULTILINE))
    labels = {name: f"`job`, `{COUNTERS[name][0]}`" if name in COUNTERS and COUNTERS[name][0] else "`job`" for name in NAMES}
    assert table == labels
    [rules] = [block for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if block.startswith("groups:")]
    [group] = yaml.safe_load(rules)["groups"]
    named = {name for rule in group["rules"] for name in re.findall(r"connector_\w+", rule["expr"])}
    assert named <= NAMES
    assert all(set(rule) <= {"alert", "expr", "for", "annotations"} for rule in group["rules"])


def test_pages_linked_exist() -> None:
    """A relative link leads somewhere."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
