"""Makes a query for a search by picture: a picture cropped, made smaller and compressed again, as copies on the web are.

Called with the paths of both: `query_picture.py tests/data/pictures/guitars/guitar-4.png .connector/query.jpg`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image


def altered(source: Path, target: Path) -> None:
    """Writes the middle nine tenths of a picture, at three quarters of its size, as a strongly compressed JPEG."""
    with Image.open(source) as opened:
        picture = opened.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    width, height = picture.size
    cut = picture.crop((width // 20, height // 20, width - width // 20, height - height // 20))
    target.parent.mkdir(parents=True, exist_ok=True)
    cut.resize((cut.width * 3 // 4, cut.height * 3 // 4)).save(target, quality=40)


if __name__ == "__main__":
    altered(Path(sys.argv[1]), Path(sys.argv[2]))
