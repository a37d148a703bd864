"""What is made of a runtime that nothing fits."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from spyglass.errors import TargetError
from spyglass.runtime.resolve import _require_goroutines
from tests.image import ImageMemory

PLACE, OTHER = 0x1000, 0x2000


def require(*lists: tuple[int, int, int]) -> None:
    """Look at pointer, length and capacity of what may be the list of goroutines."""
    places = [PLACE, OTHER][: len(lists)]
    memory = ImageMemory(
        {at: np.array(words, "<u8").tobytes() for at, words in zip(places, lists, strict=True)}
    )
    _require_goroutines(SimpleNamespace(pid=7, memory=memory), {"allgs": places})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words", [(0, 0, 0), (0, 1, 0), (0, 1, 1), (0xC000, 0, 1), (0xC000, 1, 1), (0xC000, 2, 2)]
)
def test_a_list_that_is_not_there_half_written_or_too_short_belongs_to_a_program_that_starts(
    words: tuple[int, int, int],
) -> None:
    with pytest.raises(TargetError, match="process 7 is still starting"):
        require(words)


def test_a_list_that_is_there_does_not() -> None:
    require((0xC000, 3, 8))
    require((0, 1, 1), (0xC000, 3, 8))  # where it may be one of several, another variable is half 0
    with pytest.raises(TargetError):
        require((0xC000, 3, 8), (0, 0, 0))
