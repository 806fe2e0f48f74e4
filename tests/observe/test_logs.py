"""Log lines of the command line: one form for everybody's, whose run it was on each, no secret in any."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workfolder import Folder

ROOT = Path(__file__).parent.parent.parent
MARK = "Verborgen"
"""Begins the secrets of this file: pytest's own capture, which is looked through for all others, sees records before they are masked."""

LOUD = '''
"""Logs as a library would, from a thread that reads."""
import logging
import warnings

def speak(row):
    logging.getLogger("connector.mine").info("a line of ours")
    logging.getLogger("connector.mine").warning("sent to http://me:%s@host with token=%s", "Verborgen-1", "Verborgen-2")
    logging.getLogger("someone.else").warning("a line of theirs, {'password': 'Verborgen-3'}")
    logging.getLogger("someone.else").info("too quiet")
    try:
        raise ValueError("secret=Verborgen-4")
    except ValueError:
        logging.getLogger("connector.mine").exception("it broke")
    return row
'''
LIBRARIES = '''
"""Logs and draws by the libraries' own means, as they do when they are imported and used."""
import warnings

def speak(row):
    import pymilvus
    from huggingface_hub.utils import logging as hub
    from huggingface_hub.utils import tqdm as hub_bar
    from tqdm import tqdm

    hub.get_logger("huggingface_hub.file_download").warning("from the hub")
    import logging
    logging.getLogger("pymilvus.milvus_client").error("from pymilvus")
    list(tqdm(range(3)))
    list(hub_bar(range(3)))
    warnings.warn("a warning", stacklevel=1)
    return row
'''


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A job of one document whose transform is loud; its token is a secret."""
    made = Folder(tmp_path)
    made.put("notes/a.txt", "words")
    made.put("loud.py", LOUD)
    made.put("job.yaml", f"{(tmp_path / 'job.yaml').read_text()}transform: loud:speak\n")
    return made


def lines(stderr: str) -> list[dict[str, Any]]:
    """Every line, each a JSON object."""
    return [json.loads(one) for one in stderr.splitlines()]


def test_json(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is one object with time, level, logger and message, and whose run it was, also from a thread that reads."""
    monkeypatch.syspath_prepend(str(folder.root))
    code, out, err = folder.call("--log-format", "json", "--log-level", "info", "run", "job.yaml", "--json")
    found = lines(err)
    assert code == 0
    assert {(one["job"], one["run"]) for one in found} == {("notes", json.loads(out)["run_id"])}
    said = {(one["level"], one["logger"], one["message"]) for one in found}
    assert ("info", "connector.run", "the run begins") in said
    assert ("info", "connector.mine", "a line of ours") in said
    assert ("warning", "connector.mine", "sent to http://***@host with token=***") in said
    assert ("warning", "someone.else", "a line of theirs, {'password': '***'}") in said
    assert "too quiet" not in err
    [broken] = [one for one in found if "exception" in one]
    assert broken["exception"].endswith("ValueError: secret=***")
    assert all(one["time"].endswith("Z") for one in found)
    assert MARK not in err


def test_human(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Level, logger, job and run in front of the words; without options only what is a warning."""
    monkeypatch.syspath_prepend(str(folder.root))
    _, out, err = folder.call("run", "job.yaml", "--json")
    run = json.loads(out)["run_id"]
    assert f"WARNING connector.mine [notes {run}]: sent to http://***@host with token=***\n" in err
    assert f"WARNING someone.else [notes {run}]: a line of theirs, {{'password': '***'}}\n" in err
    assert "a line of ours" not in err
    assert MARK not in err


def test_levels(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-v` is info; debug shows libraries' info too; error shows neither; the environment says it where there is no option."""
    monkeypatch.syspath_prepend(str(folder.root))
    assert "a line of ours" in folder.call("-v", "run", "job.yaml", "--full-refresh")[2]
    assert "too quiet" in folder.call("--log-level", "debug", "run", "job.yaml", "--full-refresh")[2]
    assert "sent to" not in folder.call("--log-level", "error", "run", "job.yaml", "--full-refresh")[2]
    monkeypatch.setenv("CONNECTOR_LOG_FORMAT", "json")
    monkeypatch.setenv("CONNECTOR_LOG_LEVEL", "info")
    assert "a line of ours" in {one["message"] for one in lines(folder.call("run", "job.yaml", "--full-refresh")[2])}


def test_errors_are_lines_too(folder: Folder) -> None:
    """What ends a command is one object with its level; a secret that the job holds is not in it."""
    job = (
        (folder.root / "job.yaml").read_text().replace("milvus: {uri: notes.db}", 'milvus: {uri: "http://127.0.0.1:9", token: Verborgen-5}')
    )
    folder.put("job.yaml", job.replace("loud:speak", '"nothing:Verborgen-5"'))
    code, _, err = folder.call("--log-format", "json", "run", "job.yaml")
    [line] = lines(err)
    assert (code, line["level"], line["job"]) == (2, "error", "notes")
    assert "***" in line["message"]


def test_a_bug_is_a_line_too(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw does not break the form, and what it quotes is masked; without JSON it is a traceback as ever."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("password=Verborgen-6")

    monkeypatch.setattr("connector.commands.running.run_job", broken)
    code, out, err = folder.call("--log-format", "json", "run", "job.yaml")
    [line] = lines(err)
    assert (code, out, line["level"]) == (1, "", "critical")
    assert line["exception"].endswith("ValueError: password=***")
    with pytest.raises(ValueError, match="password"):
        folder.call("run", "job.yaml")


def test_libraries_are_brought_in_line(folder: Folder) -> None:
    """In a process of its own: libraries that handle their records themselves, bars, and warnings come as JSON or not at all."""
    folder.put("loud.py", LIBRARIES)
    code = "from connector.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, "--log-format", "json", "--log-level", "debug", "run", "job.yaml"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder.root}"},
        cwd=folder.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = {(one["logger"], one["message"].split(":")[-1].strip().partition("\n")[0]) for one in lines(done.stderr)}
    assert ("huggingface_hub.file_download", "from the hub") in said
    assert ("pymilvus.milvus_client", "from pymilvus") in said
    assert any(logger == "py.warnings" and "a warning" in message for logger, message in said)


def test_what_a_command_set_up_is_gone_afterwards(folder: Folder) -> None:
    """A command that runs inside of a program, as here, leaves its logging and environment as they were."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("pymilvus", "transformers", "huggingface_hub"))]
    before = [(logger.level, logger.handlers[:], type(logger), logger.propagate) for logger in loggers], os.environ.get("TQDM_DISABLE")
    folder.call("--log-format", "json", "--log-level", "debug", "status", "job.yaml")
    after = [(logger.level, logger.handlers[:], type(logger), logger.propagate) for logger in loggers], os.environ.get("TQDM_DISABLE")
    assert before == after
