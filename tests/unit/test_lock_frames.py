"""Which functions and variables are looked at for locks, and for how long."""

from __future__ import annotations

from typing import Any, cast

import pytest

from spyglass.runtime.waiting.lock_code import LockCode
from spyglass.runtime.waiting.lock_frames import _memory_beside
from tests.image import ImageMemory

PAGE = 1 << 12


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 100, 12345])
def test_memory_is_found_as_far_as_it_goes(pages: int) -> None:
    begin = 1 << 32
    memory = ImageMemory({begin: bytes((1 + pages) * PAGE)})
    assert _memory_beside(memory, begin, PAGE) == pages * PAGE
    assert _memory_beside(memory, begin + pages * PAGE, -PAGE) == pages * PAGE


def test_no_more_memory_is_looked_for_than_is_examined() -> None:
    memory = ImageMemory({0: bytes(1 << 27)})
    assert _memory_beside(memory, 0, PAGE) == (1 << 26) - PAGE
    assert _memory_beside(memory, PAGE, -PAGE) == PAGE


def test_names_have_a_part_of_the_work_of_holders() -> None:
    code = LockCode(cast(Any, None), cast(Any, None), "amd64", in_registers=True)
    code.allow_work(1.0)
    assert code.work_left()
    code._work = 90_000
    assert not code.work_left()
    assert code.work_left(1.0)
    code._work = 100_000
    assert not code.work_left(1.0)
    code.allow_work(1.0)
    assert code.work_left()
