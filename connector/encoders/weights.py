"""Finds the files that hold a model's weights and gives them a name that does not depend on where they are: their hash.

Hashing reads every byte (about a second a gigabyte), so hashes are remembered by path, size and modification time in a small
JSON file under the user's cache folder. A lost or broken cache costs a second reading, never a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from connector.encoders.memory import recall, remember
from connector.errors import ConfigError

_CACHE = "weights.json"
_SAFE = "model.safetensors"
_PICKLED = "pytorch_model.bin"
_UNUSED = frozenset({"_name_or_path", "architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version"})


def weight_files(folder: Path) -> list[Path]:
    """The files that `from_pretrained` would read, sorted: safetensors if there are any, else pickled ones, else [].

    Raises:
        ConfigError: An index names a file that is not there.
    """
    for name in (_SAFE, _PICKLED):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            return _shards(index)
    return []


def _shards(index: Path) -> list[Path]:
    files = sorted({index.parent / shard for shard in read_json(index).get("weight_map", {}).values()})
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        problem = f"{index} names weights that are not there: {', '.join(missing[:3]) or 'none at all'}"
        raise ConfigError(problem, hint="download the model again")
    return files


def check_weights(folder: Path, model: str) -> list[Path]:
    """The weight files of a folder.

    Raises:
        ConfigError: There are none.
    """
    files = weight_files(folder)
    if not files:
        hint = "name the folder that save_pretrained wrote"
        raise ConfigError(f"model {model}: no weights in folder {folder}, wanted {_SAFE}", hint=hint)
    return files


def check_loadable(files: list[Path], model: str, *, pickle: bool) -> None:
    """Refuses pickled weights unless they are allowed.

    Raises:
        ConfigError: The weights are pickled and `pickle` is False.
    """
    pickled = [file.name for file in files if file.suffix != ".safetensors"]
    if pickled and not pickle:
        raise ConfigError(
            f"model {model}: {pickled[0]} is pickled: unpickling can run code",
            hint="convert the weights to safetensors, or, for files you trust, set allow_pickle_weights: true under encode",
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: It cannot be read or holds no object.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({type(error).__name__})", hint="download the model again") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds a {type(value).__name__}, wanted a JSON object", hint="download the model again")
    return value


def read_config(folder: Path, model: str) -> dict[str, Any]:
    """The config.json of a model that transformers can run without foreign code.

    Raises:
        ConfigError: There is none, it is broken, or asks for program code of its own.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {model}: {folder} holds no config.json", hint="name the folder that save_pretrained wrote")
    config = read_json(folder / "config.json")
    if config.get("auto_map"):
        problem = f"model {model} brings its own program code (auto_map in config.json), which is never run"
        raise ConfigError(problem, hint="choose a model of an architecture that transformers has")
    return config


def file_hash(path: Path) -> str:
    """Hash of a file's bytes: 32 hex digits (blake2b-128)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def weights_hash(files: list[Path]) -> str:
    """Hash of a model's weights: 32 hex digits, from the name and the bytes of every file, wherever they are."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(f"{file.name}\0{content_hash(file)}\0".encode())
    return digest.hexdigest()


def network_hash(files: list[Path], config: dict[str, Any]) -> str:
    """Hash of weights and of what config.json says of their use, 32 hex digits; who wrote the file, and when, is left out."""
    used = {name: value for name, value in config.items() if name not in _UNUSED}
    return hashlib.blake2b(f"{weights_hash(files)}\0{json.dumps(used, sort_keys=True)}".encode(), digest_size=16).hexdigest()


def tensor_names(files: list[Path]) -> frozenset[str] | None:
    """Names of the tensors in weight files, from their headers; None if there are no files, or any whose names cannot be read."""
    import safetensors

    names: set[str] = set()
    for file in files:
        try:
            with safetensors.safe_open(file, framework="numpy") as header:
                names.update(header.keys())
        except (OSError, safetensors.SafetensorError):
            return None
    return frozenset(names) or None


def content_hash(file: Path) -> str:
    """Hash of one file's bytes, whatever it is called and wherever it is; remembered."""
    path = file.resolve()
    stat = path.stat()
    state = [stat.st_size, stat.st_mtime_ns]
    entry = recall(_CACHE).get(str(path))
    if isinstance(entry, list) and entry[:2] == state and isinstance(entry[-1], str):
        return entry[-1]
    digest = file_hash(path)
    remember(_CACHE, str(path), [*state, digest])
    return digest


def own_weights(weights: str, model: str) -> Path:
    """The file that a user names as weights: itself, or the one in a folder. What can be seen without reading it all is checked.

    Raises:
        ConfigError: There is no such file, or it is no whole safetensors file.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        files = check_weights(path, model)
        if len(files) > 1:
            raise ConfigError(f"model {model}: the weights in {path} are in {len(files)} files", hint="save them as one safetensors file")
        path = files[0]
    if not path.is_file():
        raise ConfigError(
            f"model {model}: there is no file {path}", hint="correct `weights`: a .safetensors file, or a folder that holds one"
        )
    if path.suffix == ".safetensors":
        shapes(path, model)
    return path


def shapes(file: Path, model: str) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a safetensors file, from its header; that the file is as long as the header says is checked.

    Raises:
        ConfigError: It is broken.
    """
    import safetensors

    try:
        with safetensors.safe_open(file, framework="numpy") as header:
            return {name: tuple(header.get_slice(name).get_shape()) for name in header.keys()}  # noqa: SIM118 - it is no dict
    except (OSError, safetensors.SafetensorError) as error:
        problem = f"model {model}: {file} is broken or cut off ({type(error).__name__})"
        raise ConfigError(problem, hint="copy or export the weights again") from None
