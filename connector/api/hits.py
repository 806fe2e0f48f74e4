"""Hits that show themselves in a notebook: a table, with a small picture where a hit names a picture file.

Only files below the job's own folders are opened: what a field holds came with the data, and may name anything.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from connector.display import Cell, picture, table, text
from connector.errors import DocumentError
from connector.files.pictures import open_image
from connector.job import Job, SourceSettings
from connector.milvus.search import Hit

_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_SIDE = 96
_LARGEST = 64 << 20


class Hits(list[Hit]):
    """A list of hits, nearest first.

    Args:
        hits: The hits.
        folders: Where the files are that they may name.
    """

    def __init__(self, hits: Iterable[Hit] = (), folders: Sequence[Path] = ()) -> None:
        super().__init__(hits)
        self._folders = [folder.resolve() for folder in folders]

    @classmethod
    def of(cls, job: Job, hits: Iterable[Hit]) -> Hits:
        """The hits of a job's collection; its files are below its source's root, its own root, or the working directory."""
        source = job.source.options.get("root") if isinstance(job.source, SourceSettings) else None
        named = [Path(one) for one in (source, job.root) if isinstance(one, str | Path)]
        return cls(hits, [*named, Path()])

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for hit in self for name in hit.fields))
        rows = [[text(f"{hit.distance:.3f}"), text(hit.id), *(self._cell(hit.fields.get(name)) for name in names)] for hit in self]
        return table(["distance", "id", *names], rows)

    def _cell(self, value: Any) -> Cell:
        thumbnail = self._thumbnail(value) if isinstance(value, str) else None
        return text("" if value is None else value) if thumbnail is None else picture(thumbnail, value)

    def _thumbnail(self, value: str) -> str | None:
        name = unquote(urlsplit(value).path) if value.startswith("file:") else value
        if Path(name).suffix.lower() not in _ENDINGS:
            return None
        for folder in self._folders:
            try:
                path = (folder / name).resolve()
                if path.is_relative_to(folder) and path.is_file() and path.stat().st_size <= _LARGEST:
                    return _small(path.read_bytes())
            except (OSError, ValueError, DocumentError):
                continue
        return None


def _small(data: bytes) -> str:
    """A picture as a `data:` URI of a small JPEG.

    Raises:
        DocumentError: It is no picture, or damaged.
    """
    image = open_image(data)
    try:
        image.draft("RGB", (_SIDE, _SIDE))
        small = image.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
    except Exception as error:
        raise DocumentError(f"a damaged image ({type(error).__name__})") from error
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
