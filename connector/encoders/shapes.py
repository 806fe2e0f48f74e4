"""Keeps a network from being given ever new numbers of positions, for each of which a library first makes kernels.

oneDNN compiles a matrix product anew for every number of rows: 18 milliseconds for the three kinds in a MiniLM at 1,000 rows, where the
whole pass takes 45. 5,000 passages of mixed length came in 73 numbers of rows, which made a first run a sixth slower than the next ones.
A few more positions give a number that was there before: with whole parts (`TextModel.whole`) 28 for 0.4 % more positions.
"""

from __future__ import annotations

SPARE = 0.05
"""Largest share of a part's positions that may be added."""


class Shapes:
    """Remembers how many positions a network was given at once."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._longest = 0

    def positions(self, count: int, longest: int) -> int:
        """To how many positions `count` inputs are padded, of which the longest has `longest`: never to more than an input had before."""
        known, self._longest = self._known, max(self._longest, longest)
        if count * longest not in known:
            most = min(int(longest * (1 + SPARE)), self._longest)
            longest = next((more for more in range(longest + 1, most + 1) if count * more in known), longest)
            known.add(count * longest)
        return longest
