"""The check for secrets that every test passes through finds them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.secrets import CANARY, left_in, shown

ROOT = Path(__file__).parent.parent
CASES = {
    "print": "print(CANARY)",
    "stderr": "import sys; sys.stderr.write(CANARY)",
    "log": "import logging; logging.getLogger('connector.x').warning('%s', CANARY)",
    "file": "(tmp_path / 'state').mkdir(); (tmp_path / 'state' / 'a.db').write_bytes(b'x' + CANARY.encode())",
    "nothing": "(tmp_path / 'job.yaml').write_text(CANARY)",
}


def test_a_secret_in_a_file_or_a_text_is_found(tmp_path: Path) -> None:
    """Anywhere below the folder, in the middle of bytes; a job file holds what its author wrote."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.db").write_bytes(b"\xff\x00" + CANARY.encode() + b"\x00")
    (tmp_path / "job.yaml").write_text(CANARY)
    found = left_in(tmp_path)
    (tmp_path / "deep" / "a.db").unlink()
    assert found == ["deep/a.db: Geheim"]
    assert left_in(tmp_path) == []
    assert shown("token root:Milvus") == ["root:Milvus"]
    assert shown("nothing to see") == []


def test_a_test_that_shows_one_fails(tmp_path: Path) -> None:
    """Printed, logged or left in a file: the suite goes red."""
    tests = "".join(f"def test_{name}(tmp_path):\n    {code}\n" for name, code in CASES.items())
    (tmp_path / "test_it.py").write_text(f"from tests.secrets import CANARY\n{tests}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    done = subprocess.run(
        [*command, "test_it.py"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    (tmp_path / "test_it.py").unlink()
    for name in CASES:
        bad = f"test_it.py::test_{name}" in done.stdout.partition("short test summary")[2]
        assert bad == (name != "nothing"), done.stdout
    with pytest.raises(AssertionError):
        assert shown(CANARY) == []
