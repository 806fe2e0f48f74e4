"""Turns the name of a model into the folder that holds its files, without loading anything of it.

Three kinds of name are understood, tried in this order:

    package://import_name/sub/folder    a folder inside an installed package, which is found but not imported
    ./folder, ~/folder, /folder         a folder; so is any other name of a folder that exists
    org/name, org/name@revision         a model of the Hugging Face Hub, through its local cache

Files of the Hub come in two steps, both of one commit: the few that describe the model when an encoder is made, the weights when it is
opened. So a run with nothing to encode downloads no weights.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from connector.errors import ConfigError

DESCRIPTION = ["*.json", "*.txt", "*.model"]
"""Patterns of the files that describe a model."""

WEIGHTS = ["*.safetensors"]
"""Patterns of its weights: nothing that is unpickled."""

IGNORED = ["onnx/*", "openvino/*", "original/*", "coreml/*", "consolidated*"]
"""Copies of the same weights for other programs."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where a model's files are.

    Attributes:
        folder: Holds config.json, or modules.json that says where it is.
        name: The public name: the hub id, `package/sub/folder`, or the folder's own name; never a path.
        revision: The commit of a hub model, else "".
    """

    folder: Path
    name: str
    revision: str = ""


def locate(model: str, revision: str | None = None) -> Located:
    """The folder of a model; what describes a hub model is downloaded if the local cache does not have it.

    Raises:
        ConfigError: There is no such package, folder or hub model, or the Hub cannot be reached.
    """
    if model.startswith("package://"):
        return _package(model.removeprefix("package://"), revision)
    if model.startswith(("/", "./", "../", "~")) or Path(model).is_dir():
        return _folder(Path(model).expanduser(), revision)
    name, _, inline = model.partition("@")
    if inline and revision and inline != revision:
        raise ConfigError(f"model {model} and revision {revision} disagree", hint="say the revision once")
    return _hub(name, inline or revision, DESCRIPTION)


def with_weights(located: Located) -> Path:
    """The folder, once the weights of a hub model are in it too.

    Raises:
        ConfigError: The Hub cannot be reached and the local cache does not have them.
    """
    return _hub(located.name, located.revision, [*DESCRIPTION, *WEIGHTS]).folder if located.revision else located.folder


def _package(path: str, revision: str | None) -> Located:
    package, *parts = path.strip("/").split("/")
    if revision or not package.isidentifier() or ".." in parts:
        raise ConfigError(f"model package://{path} is not `package://import_name/sub/folder` (without a revision)", hint="correct the name")
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    if not roots:
        hint = f"pip install the package that holds {package}"
        raise ConfigError(f"model package://{path}: no package `{package}` is installed", hint=hint)
    folder = Path(roots[0], *parts)
    if not folder.is_dir():
        raise ConfigError(f"model package://{path}: the package `{package}` has no folder {'/'.join(parts)}", hint="correct the name")
    return Located(folder, "/".join([package, *parts]))


def _folder(folder: Path, revision: str | None) -> Located:
    if revision:
        hint = "leave it out: the weights' hash takes its place"
        raise ConfigError(f"model folder {folder} cannot have a revision ({revision})", hint=hint)
    if not folder.is_dir():
        raise ConfigError(f"there is no model folder {folder}", hint="correct the path, or name a hub model as org/name")
    return Located(folder, folder.resolve().name)


def _hub(name: str, revision: str | None, patterns: list[str]) -> Located:
    import huggingface_hub

    try:
        path = huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=IGNORED)
    except Exception as error:  # noqa: BLE001 - http, cache, name and disk errors alike end here; the next line sorts them
        problem, hint = _explain(error, name)
    else:
        return Located(Path(path), name, Path(path).name)
    raise ConfigError(f"model {name}{f'@{revision}' if revision else ''}: {problem}", hint=hint)


def _explain(error: Exception, name: str) -> tuple[str, str]:
    """What went wrong and what to do; of the error itself only its type is used, for its text may hold addresses with tokens."""
    from huggingface_hub import errors

    if isinstance(error, errors.HFValidationError):
        return "is no folder, and no name that the Hugging Face Hub allows", "write org/name, ./folder or package://import_name/folder"
    if isinstance(error, errors.GatedRepoError):
        return "access on the Hugging Face Hub has to be granted first", f"accept its terms at huggingface.co/{name} and set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the Hugging Face Hub has the model, but not this revision", "correct the revision (a commit, a tag or a branch)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the Hugging Face Hub has no such model, or it is private", "correct the name, or set HF_TOKEN"
    advice = f"connect, or fill the cache elsewhere with `hf download {name}`, or name a local folder; HF_HUB_OFFLINE=1 forbids downloads"
    if isinstance(error, errors.IncompleteSnapshotError | errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return "is not (or not wholly) in the local cache, and the Hugging Face Hub cannot be reached", advice
    return f"could not be fetched from the Hugging Face Hub ({type(error).__name__})", advice
