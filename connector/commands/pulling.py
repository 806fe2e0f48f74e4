"""Fetches, ahead of a run, the files of the models that a job's schema names, and says which commit each of them is.

A hub name without a revision means whatever its main branch is on the day of a run; a pinned commit means the same vectors for good.
"""

from __future__ import annotations

from dataclasses import dataclass

from connector.encoding.binding import make_encoder
from connector.job import Job
from connector.job.loading import load_collection
from connector.schema.spec import VectorFieldSpec


@dataclass(frozen=True, slots=True)
class Pulled:
    """One model of a job.

    Attributes:
        fields: The vector fields that it fills.
        encoder: As the schema names it.
        commit: Of a hub model, else "": a package or a folder is what it is.
        pin: The name to write into the schema so that this commit stays, else "".
        pinned: Whether the schema says the commit already.
    """

    fields: list[str]
    encoder: str
    commit: str = ""
    pin: str = ""
    pinned: bool = False


def pull_models(job: Job) -> list[Pulled]:
    """Fetches what every encoder of the job's collection needs; nothing is loaded and Milvus is not asked.

    Raises:
        ConfigError: A model does not exist, or it is not in the local cache and the hub cannot be reached.
    """
    named: dict[str, list[VectorFieldSpec]] = {}
    for field in load_collection(job.into).vectors:
        if field.encoder is not None:
            named.setdefault(f"{field.encoder} {field.options}", []).append(field)
    return [_pull(fields) for fields in named.values()]


def _pull(fields: list[VectorFieldSpec]) -> Pulled:
    reference, names = fields[0].encoder or "", [field.name for field in fields]
    encoder = make_encoder(fields[0])
    commit = encoder.model.revision
    fetch = getattr(encoder, "pull", None)
    if not commit or fetch is None:
        return Pulled(names, reference)
    fetch()
    stated = fields[0].options.get("revision") or reference.partition("@")[2]
    pin = f"{reference.partition(':')[0]}:{encoder.model.model}@{commit}"
    return Pulled(names, reference, commit, pin, pinned=stated == commit)
