"""Runs an image as it would be run for real: not root, on a read-only root, against a Milvus server whose root has its own password.

    python docker/try_image.py IMAGE [--model]

The server is the one of the tests (Milvus 2.3.5). With podman, not docker, so that no engine has to run. The jobs: vectors that the
source brings, which take no torch; with `--model` also the READMEs of the image's own packages through the model of the demo. Each is run,
run again, and searched. Then `connector serve` runs them on short schedules, with `--model` also the pictures of the demo, from before
Milvus is there until it is asked to end; its pages and the image's health check are asked meanwhile. Every step prints what it saw; the
first that is not as it should be ends the script with 1.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from connector.testing.server import MilvusServer

ROOT = Path(__file__).parent.parent
PARTS = ("jobs", "served", "schemas", "data")
PICTURES = ROOT / "tests" / "data" / "pictures"
PASSWORD = secrets.token_urlsafe(24)
ROWS = 500
MORE = 100
"""Points that come later, for the scheduled runs."""
READMES = "/opt/venv/lib/python3.11/site-packages"
"""Of the image."""
DEMO = ("readmes", "pictures")
"""Jobs of docker/jobs, which take the models of the demo."""
SERVE = "connector-try-serve"
"""The container with `connector serve`."""
PAGE = "http://127.0.0.1:9480"
"""Where it answers, and where the image's health check asks."""
WORK = ("connector_documents_total written", "connector_rows_total encoded", "connector_rows_total upserted")
"""What a run without changes adds nothing to."""
SAYS = "every: 15m"
"""The schedule of every job, which is shorter here where they are served."""

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
schedule: {every: 15m}
"""


class Image:
    """An image to run.

    Args:
        name: As podman knows it.
        folder: With the folders of `PARTS`, seen by the container and not written by it.
        server: What MILVUS_URI names.
    """

    def __init__(self, name: str, folder: Path, server: MilvusServer) -> None:
        self._name = name
        mounts = [f"--volume={folder / part}:/app/{part}:ro" for part in PARTS]
        mounts.append(f"--volume={PICTURES}:/app/documents:ro")
        volumes = [f"--volume=connector-try-{part}:/{part}" for part in ("state", "models")]
        environment = {
            "MILVUS_URI": server.uri,
            "MILVUS_TOKEN": f"root:{PASSWORD}",
            "SITE_PACKAGES": READMES,
            "PICTURES": "/app/documents",
        }
        self._options = [
            *("--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp"),
            *("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", *mounts, *volumes),
            *(f"--env={key}={value}" for key, value in environment.items()),
        ]

    def run(self, *words: str, entrypoint: str = "connector", code: int = 0) -> str:
        """What a container prints on stdout; anything but that exit code ends the script."""
        done = podman("run", "--rm", "--no-healthcheck", *self._options, f"--entrypoint={entrypoint}", self._name, *words)
        expect(done.returncode == code, f"{entrypoint} {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        expect(PASSWORD not in done.stdout + done.stderr, "the password was shown")
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A container with `connector serve`, which must end with 0 when it is asked to; its log is printed, however it ends.

        Its health check is there to be asked and has no timer, which would take systemd.
        """
        begun = podman("run", "--detach", f"--name={SERVE}", "--health-interval=disable", *self._options, self._name, "serve", "served")
        try:
            expect(begun.returncode == 0, f"connector serve does not start\n{begun.stderr}")
            yield
            podman("stop", "--time=60", SERVE)
            code = podman("wait", SERVE).stdout.strip()
            expect(code == "0", f"SIGTERM: exit {code}")
            say("SIGTERM: exit 0")
        finally:
            log = podman("logs", SERVE)
            podman("rm", "--force", SERVE)
            say("\n".join(f"    {line}" for line in (log.stdout + log.stderr).replace(PASSWORD, "(THE PASSWORD)").splitlines()))
        expect(PASSWORD not in log.stdout + log.stderr, "the password was shown")


def podman(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of podman, whatever comes of it."""
    return subprocess.run(["podman", "--runtime=runc", *words], check=False, capture_output=True, text=True)  # noqa: S603, S607


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


def page(path: str) -> tuple[int, str]:
    """Status and text of a page of `connector serve`; 0 if nobody answers."""
    try:
        with urllib.request.urlopen(PAGE + path, timeout=10) as answer:  # noqa: S310 - our own container
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode().strip()
    except OSError as error:
        return 0, str(error)


def numbers(job: str) -> dict[str, float]:
    """What /metrics says of a job: samples by their name and second label, such as `connector_runs_total ok`."""
    status, text = page("/metrics")
    expect(status == HTTPStatus.OK, f"/metrics: {status} {text}")
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.labels.get("job") == job)
    return {" ".join([one.name, *(value for key, value in one.labels.items() if key != "job")]): one.value for one in samples}


def until(right: Callable[[], bool], words: str, seconds: float = 240.0) -> None:
    """Waits for something; ends the script if it does not come."""
    end = time.monotonic() + seconds
    while not right():
        expect(time.monotonic() < end, f"after {seconds:g} s {words}")
        time.sleep(0.5)


def good_runs(job: str, count: float) -> dict[str, float]:
    """The numbers of a job, once it had so many good runs."""
    until(lambda: numbers(job).get("connector_runs_total ok", 0) >= count, f"{job} has not had {count:g} good runs")
    return numbers(job)


def on_schedule(job: str, began: float, *, new: bool) -> None:
    """The first good run of a job by its schedule, which finds something new or not, and a later one, which has nothing to do."""
    first = good_runs(job, 1)
    again = good_runs(job, first["connector_runs_total ok"] + 1)
    success = again["connector_last_success_timestamp_seconds"]
    for key in WORK:
        say(f"served {job}: {key} {first[key]:g}, a later run adds {again[key] - first[key]:g}")
        works = new and (job in DEMO or "encoded" not in key)
        expect((first[key] > 0) is works, f"{job}: not what the first scheduled run should find")
        expect(again[key] == first[key], f"{job}: a later scheduled run found changes")
    say(f"served {job}: connector_last_success_timestamp_seconds {success:.0f}, {success - began:.0f} s after the start")
    expect(success > began, f"{job}: its last success is from before")


def health() -> int:
    """What the health check of the image says: its exit code."""
    return podman("healthcheck", "run", SERVE).returncode


def frozen() -> None:
    """A process that does not serve is unhealthy, and healthy again when it goes on."""
    podman("kill", "--signal=STOP", SERVE)
    stopped = health()
    podman("kill", "--signal=CONT", SERVE)
    gone_on = health()
    say(f"health check: {stopped} while the process is frozen, {gone_on} afterwards")
    expect((stopped, gone_on) == (1, 0), "the health check is wrong")


def pages(when: str, ready: HTTPStatus) -> None:
    """Both pages and the health check: the process lives in any case, and is ready or not."""
    lives, readiness, code = page("/healthz"), page("/readyz"), health()
    say(f"{when}: /healthz {lives}, /readyz {readiness}, health check {code}")
    expect((lives[0], readiness[0], code) == (HTTPStatus.OK, ready, 0), "not as it should be")


def served(image: Image, server: MilvusServer, files: Path, jobs: dict[str, bool]) -> None:
    """`connector serve`, from before Milvus is there until it is asked to end; of each job, whether it finds something new."""
    points(files, ROWS + MORE)
    server.kill()
    began = time.time()
    with image.serving():
        until(lambda: "Milvus" in page("/readyz")[1], "/readyz does not miss Milvus")
        pages("without Milvus", HTTPStatus.SERVICE_UNAVAILABLE)
        server.restart()
        until(lambda: page("/readyz")[0] == HTTPStatus.OK, "/readyz does not see Milvus")
        pages("with Milvus", HTTPStatus.OK)
        for job, new in jobs.items():
            on_schedule(job, began, new=new)
        frozen()
    say(image.run("status", "served", "--max-age", "10m").strip())


def points(folder: Path, count: int) -> None:
    """Writes so many vectors as the data of the job."""
    lines = (json.dumps({"id": f"p{n}", "vector": [float((n * k) % 97) + 1 for k in range(1, 9)]}) for n in range(count))
    (folder / "data" / "points.jsonl").write_text("\n".join(lines))


@contextmanager
def project(folder: Path, names: list[str]) -> Iterator[Path]:
    """A job of vectors that come ready-made, and the jobs of the demo; those that are served once more, with a short schedule."""
    for part in PARTS:
        (folder / part).mkdir()
    points(folder, ROWS)
    (folder / "schemas" / "points.py").write_text(SCHEMA)
    (folder / "jobs" / "points.yaml").write_text(JOB)
    for name in DEMO:
        (folder / "schemas" / f"{name}.py").write_text((ROOT / "schemas" / f"{name}.py").read_text())
        (folder / "jobs" / f"{name}.yaml").write_text((ROOT / "docker" / "jobs" / f"{name}.yaml").read_text())
    for name in names:
        job = (folder / "jobs" / f"{name}.yaml").read_text()
        expect(SAYS in job, f"{name}: not `{SAYS}`")
        (folder / "served" / f"{name}.yaml").write_text(job.replace(SAYS, "every: 5s"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for part in ("state", "models"):
            podman("volume", "rm", "--force", f"connector-try-{part}")


def main() -> None:
    """Everything, in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--model", action="store_true", help="the image has torch and the model of the demo")
    arguments = parser.parse_args()
    jobs = {"points": True, **({"readmes": False, "pictures": True} if arguments.model else {})}
    with (
        tempfile.TemporaryDirectory() as folder,
        project(Path(folder), [*jobs]) as files,
        MilvusServer(files / "milvus", authorization=True) as server,
    ):
        image = Image(arguments.image, files, server)
        closed(image)
        for _ in range(2):
            say(image.run("-m", "connector.milvus.root_password", entrypoint="python3").strip())
        server.token = f"root:{PASSWORD}"
        twice(image, "jobs/points.yaml", "--like", "p7")
        if arguments.model:
            twice(image, "jobs/readmes.yaml", "retry a function when it fails")
        served(image, server, files, jobs)
        if arguments.model:
            say(image.run("search", "jobs/pictures.yaml", "--image", "documents/guitars/guitar-4.png", "--limit", "2"))
        say(f"{arguments.image}: works")


if __name__ == "__main__":
    main()
