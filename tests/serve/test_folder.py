"""Job files as they come, change and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import ConfigError
from connector.serve.folder import Folder, fresh
from tests.serve.workplace import Workplace


def seen(folder: Folder, *, first: bool = False) -> dict[str, str]:
    """File to job name, or to "!"."""
    return {one.path.name: one.job.job if one.job else "!" for one in folder.look(first=first)}


def test_a_file_that_is_being_written_is_left_alone(workplace: Workplace) -> None:
    """A new or changed file is taken when two looks found it the same; until then what was there counts."""
    path = workplace.job("one")
    folder = Folder([workplace.root / "jobs"])
    assert seen(folder, first=True) == {"one.yaml": "one"}
    whole = path.read_text()
    with path.open("w") as file:
        file.write(whole[:20])
        file.flush()
        assert seen(folder) == {"one.yaml": "one"}
        file.write(whole[20:].replace("1h", "2h"))
    assert [str(one.job.schedule) for one in folder.look() if one.job] == ["every 1 h 0 min"]
    assert [str(one.job.schedule) for one in folder.look() if one.job] == ["every 2 h 0 min"]


def test_only_job_files_count(workplace: Workplace) -> None:
    """YAML that is not hidden; a file that is named itself may be called anything; one named twice counts once."""
    for name in ("a.yaml", "b.yml", ".c.yaml", "d.yaml~", "e.txt"):
        workplace.put(f"jobs/{name}", (workplace.job("x")).read_text())
    (workplace.root / "jobs/x.yaml").unlink()
    (workplace.root / "jobs/sub.yaml").mkdir()
    folder = Folder([workplace.root / "jobs", workplace.root / "jobs/e.txt", workplace.root / "jobs/a.yaml"])
    assert sorted(seen(folder, first=True)) == ["a.yaml", "b.yml", "e.txt", "sub.yaml"]
    assert seen(folder)["sub.yaml"] == "!"


def test_mounted_configuration(workplace: Workplace) -> None:
    """Kubernetes exchanges a folder behind a link; the files' own names and links never change."""
    path = workplace.job("one")
    versions = workplace.root / "versions"
    for number in (1, 2):
        (versions / str(number)).mkdir(parents=True)
        (versions / str(number) / "one.yaml").write_text(path.read_text().replace("1h", f"{number}h"))
    data = workplace.root / "jobs" / "..data"
    data.symlink_to(versions / "1")
    path.unlink()
    path.symlink_to("..data/one.yaml")
    folder = Folder([workplace.root / "jobs"])
    assert seen(folder, first=True) == {"one.yaml": "one"}
    data.unlink()
    data.symlink_to(versions / "2")
    folder.look()
    [found] = folder.look()
    assert str(found.job and found.job.schedule) == "every 2 h 0 min"


def test_what_a_file_lacks_may_come(workplace: Workplace) -> None:
    """A broken file is tried again although it does not change; secrets that change are read with each run."""
    secured = workplace.job("one").read_text().replace("{uri: notes.db}", '{uri: "https://db", token: "${file:secret}"}')
    workplace.put("jobs/one.yaml", secured)
    folder = Folder([workplace.root / "jobs"])
    [found] = folder.look(first=True)
    assert "secret" in found.problem
    workplace.put("secret", "a:1")
    folder.look()
    [found] = folder.look()
    assert found.job is not None
    workplace.put("secret", "a:2")
    token = fresh(found).milvus.token
    assert token is not None
    assert token.get_secret_value() == "a:2"


def test_nothing_to_serve(tmp_path: Path) -> None:
    """A path that does not exist is a mistake, not an empty folder."""
    with pytest.raises(ConfigError, match="nowhere: no such file or folder"):
        Folder([tmp_path / "nowhere"])
    assert Folder([tmp_path]).look(first=True) == []
