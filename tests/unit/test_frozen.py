"""Frozen classes are dataclasses, although dataclasses do not make their methods."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace

import pytest

from spyglass.frozen import Frozen


class Point(Frozen):
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)


class Same(Frozen, eq=False):
    x: int


@dataclass(frozen=True)
class Ordinary:
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)


def test_it_does_what_a_dataclass_does() -> None:
    ours, theirs = Point(1, tags=["a"]), Ordinary(1, tags=["a"])
    assert [each.name for each in fields(Point)] == [each.name for each in fields(Ordinary)]
    assert asdict(ours) == asdict(theirs) == {"x": 1, "y": 2, "tags": ["a"]}
    assert repr(ours) == repr(theirs).replace("Ordinary", "Point")
    assert replace(ours, y=5) == Point(1, 5, ["a"])
    assert ours != Point(1)
    assert ours != theirs
    assert Point(1).tags is not Point(1).tags
    assert hash(Same(1)) != hash(Same(1))
    assert len({Point(1, 2, ()), Point(1, 2, ())}) == 1  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(ours)) == ours
    match ours:
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_it_cannot_be_changed() -> None:
    point = Point(1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del point.x


def test_equal_to_itself_only() -> None:
    one, other = Same(1), Same(1)
    assert one == one
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize(
    ("values", "named"), [((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})]
)
def test_wrong_arguments(values: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point takes x, y, tags"):
        Point(*values, **named)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Ordinary(*values, **named)  # type: ignore[arg-type]
