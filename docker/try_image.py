"""Runs an image as it would be run for real: not root, on a read-only root, against a Milvus server whose root has its own password.

    python docker/try_image.py IMAGE [--model]

The server is the one of the tests (Milvus 2.3.5). With podman, not docker, so that no engine has to run. The jobs: vectors that the
source brings, which take no torch; with `--model` also the READMEs of the image's own packages through the model of the demo. Each is run,
run again, and searched. Every step prints what it saw; the first that is not as it should be ends the script with 1.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector.testing.server import MilvusServer

ROOT = Path(__file__).parent.parent
PASSWORD = secrets.token_urlsafe(24)
ROWS = 500
READMES = "/opt/venv/lib/python3.11/site-packages"
"""Of the image."""

SCHEMA = '''
from connector.schema import Collection, Field, Vector, VectorField


class Points(Collection):
    """Vectors that come as they are."""

    id: str = Field(primary_key=True, max_length=16)
    vector: Vector = VectorField(dim=8, source="vector")
'''
JOB = """
version: 1
job: points
source: {kind: jsonl, path: data/points.jsonl, key: id}
into: schemas/points.py:Points
milvus: {uri: "${env:MILVUS_URI}", token: "${env:MILVUS_TOKEN}"}
sync: mirror
"""


class Image:
    """An image to run.

    Args:
        name: As podman knows it.
        folder: With the folders jobs, schemas and data, seen by the container and not written by it.
        server: What MILVUS_URI names.
    """

    def __init__(self, name: str, folder: Path, server: MilvusServer) -> None:
        self._name = name
        mounts = [f"--volume={folder / part}:/app/{part}:ro" for part in ("jobs", "schemas", "data")]
        volumes = [f"--volume=connector-try-{part}:/{part}" for part in ("state", "models")]
        environment = {"MILVUS_URI": server.uri, "MILVUS_TOKEN": f"root:{PASSWORD}", "SITE_PACKAGES": READMES}
        self._options = [
            *("--rm", "--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp"),
            *("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--no-healthcheck", *mounts, *volumes),
            *(f"--env={key}={value}" for key, value in environment.items()),
        ]

    def run(self, *words: str, entrypoint: str = "connector", code: int = 0) -> str:
        """What a container prints on stdout; anything but that exit code ends the script."""
        command = ["podman", "--runtime=runc", "run", *self._options, f"--entrypoint={entrypoint}", self._name, *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own words
        expect(done.returncode == code, f"{entrypoint} {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        expect(PASSWORD not in done.stdout + done.stderr, "the password was shown")
        return done.stdout


def expect(right: bool, words: str) -> None:  # noqa: FBT001 - as assert
    """Ends the script if it is not right."""
    if not right:
        raise SystemExit(words)


def say(words: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def report(image: Image, job: str) -> dict[str, Any]:
    """Runs a job; its report."""
    document: dict[str, Any] = json.loads(image.run("run", job, "--json"))
    say(f"{job}: {json.dumps(document['counts'])}, {document['seconds']:.1f} s")
    return document


def twice(image: Image, job: str, *query: str) -> None:
    """Runs a job, runs it again, searches."""
    first, again = report(image, job), report(image, job)
    expect(first["counts"]["written"] > 0, "nothing was written")
    expect(again["counts"]["unchanged"] + again["counts"]["empty"] == again["counts"]["listed"], "the second run found changes")
    say(image.run("search", job, *query, "--limit", "1"))


def closed(image: Image) -> None:
    """Who the container is, and what it may not."""
    say(image.run("-c", "id -u; grep CapEff /proc/self/status", entrypoint="sh").replace("\n", " "))
    image.run("-c", "test $(id -u) != 0 && ! touch /x /app/x /opt/x 2>/dev/null && touch /state/x /models/x /tmp/x", entrypoint="sh")


@contextmanager
def project(folder: Path) -> Iterator[Path]:
    """A job of vectors that come ready-made, and the job of the demo."""
    for part in ("jobs", "schemas", "data"):
        (folder / part).mkdir()
    lines = (json.dumps({"id": f"p{n}", "vector": [float((n * k) % 97) + 1 for k in range(1, 9)]}) for n in range(ROWS))
    (folder / "data" / "points.jsonl").write_text("\n".join(lines))
    (folder / "schemas" / "points.py").write_text(SCHEMA)
    (folder / "schemas" / "readmes.py").write_text((ROOT / "schemas" / "readmes.py").read_text())
    (folder / "jobs" / "points.yaml").write_text(JOB)
    (folder / "jobs" / "readmes.yaml").write_text((ROOT / "docker" / "jobs" / "readmes.yaml").read_text())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for part in ("state", "models"):
            subprocess.run(["podman", "volume", "rm", "--force", f"connector-try-{part}"], check=False, capture_output=True)  # noqa: S603, S607


def main() -> None:
    """Everything, in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--model", action="store_true", help="the image has torch and the model of the demo")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        project(Path(folder)) as files,
        MilvusServer(files / "milvus", authorization=True) as server,
    ):
        image = Image(arguments.image, files, server)
        closed(image)
        for _ in range(2):
            say(image.run("-m", "connector.milvus.root_password", entrypoint="python3").strip())
        twice(image, "jobs/points.yaml", "--like", "p7")
        if arguments.model:
            twice(image, "jobs/readmes.yaml", "retry a function when it fails")
        say(f"{arguments.image}: works")


if __name__ == "__main__":
    main()
