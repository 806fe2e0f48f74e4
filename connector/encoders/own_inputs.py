"""Prepares inputs by a function of the user's own; what it gives is checked, for a network takes any shape that happens to fit."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from connector.encoders.images import load_image
from connector.errors import ConnectorError, RowError
from connector.interfaces import Prepared
from connector.usercode import named_function


@dataclass(frozen=True, slots=True)
class OwnPreparer:
    """Prepares one input; picklable, because the function is held by its name.

    Attributes:
        reference: `package.file:function`.
        shape: What it has to give.
        pictures: Whether it is given an upright RGB image of PIL, or else the value as it is.
        max_pixels: Most pixels of a picture.
    """

    reference: str
    shape: tuple[int, ...]
    pictures: bool
    max_pixels: int

    def __call__(self, value: object) -> Prepared:
        """An array of float32 of this shape.

        Raises:
            RowError: The function raised an error, or gave something else.
        """
        given = load_image(value, self.max_pixels) if self.pictures else value
        try:
            array = np.ascontiguousarray(np.asarray(_function(self.reference)(given)), dtype=np.float32)
        except ConnectorError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's own code may raise anything
            problem = f"prepare {self.reference}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise RowError(problem, hint="correct the function, or exclude the input") from None
        if array.shape != self.shape:
            raise RowError(f"prepare {self.reference} gave shape {list(array.shape)}, wanted {list(self.shape)}", hint="correct `shape`")
        return Prepared(array, max(1, math.prod(self.shape)), array.nbytes)


@functools.cache
def _function(reference: str) -> Callable[[Any], Any]:
    return named_function(reference, "prepare", "write package.file:function")
