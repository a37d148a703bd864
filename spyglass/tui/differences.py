"""What tells apart the rows of stacks that end in the same functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

from spyglass.analysis.code_lines import CodeLine
from spyglass.model import Snapshot
from spyglass.tui.group_rows import GroupRow
from spyglass.words.units import UNKNOWN

__all__ = ["differences", "splits"]

Line = CodeLine | None


def differences(snapshot: Snapshot, rows: Sequence[GroupRow]) -> dict[Hashable, str]:
    """For `rows` grouped by stack: by the key of each row whose function and call another row has too, the
    frames, counted from the innermost, at which its stack parts from the others. If that takes several
    frames, one of its goroutines follows, so that rows differ even if there is no room for all of it."""
    alike: defaultdict[Hashable, list[tuple[Hashable, int]]] = defaultdict(list)
    g = snapshot.goroutines
    for row in rows:
        first = row.rows[0]
        where, call = (snapshot.frame(int(column[first])) for column in (g.where, g.call))
        alike[where and where.function, call and call.function].append((row.key, int(g.id[first])))
    found: dict[Hashable, str] = {}
    for members in alike.values():
        if len(members) > 1:
            texts = _texts([_lines(key) for key, _ in members], [goid for _, goid in members])
            found |= dict(zip((key for key, _ in members), texts, strict=True))
    return found


def splits(stacks: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """For each of `stacks`, all different: the numbers of the frames at which it parts from others."""
    found: list[list[int]] = [[] for _ in stacks]
    pending = [(0, list(range(len(stacks))))]
    while pending:
        depth, members = pending.pop()
        parts: defaultdict[Hashable, list[int]] = defaultdict(list)
        for member in members:
            stack = stacks[member]
            parts[stack[depth] if depth < len(stack) else _ENDED].append(member)
        if len(parts) > 1:
            for member in members:
                found[member].append(depth)
        pending += [(depth + 1, part) for line, part in parts.items() if _parts_further(line, part)]
    return found


_ENDED = object()


def _parts_further(line: Hashable, members: Sequence[int]) -> bool:
    return len(members) > 1 and line is not _ENDED


def _lines(key: Hashable) -> Sequence[Line]:
    """The lines of a stack from the key of its group (`spyglass.analysis.group_by`)."""
    assert isinstance(key, tuple)
    return key[1:] if key[:1] == ("start",) else key


def _texts(stacks: Sequence[Sequence[Line]], goids: Sequence[int]) -> Iterator[str]:
    """For each stack the last frame at which it parts from others; or if that of another is the same, all of
    them and its goroutine."""
    parting = splits(stacks)
    last = [_frames(stack, depths[-1:]) for stack, depths in zip(stacks, parting, strict=True)]
    number = Counter(last)
    for stack, depths, text, goid in zip(stacks, parting, last, goids, strict=True):
        yield text if number[text] == 1 else f"{_frames(stack, depths)}, goroutine {goid}"


def _frames(stack: Sequence[Line], depths: Iterable[int]) -> str:
    return ", ".join(_frame(stack, depth) for depth in depths)


def _frame(stack: Sequence[Line], depth: int) -> str:
    """``#3 main.route:41``: number, function and line of a frame."""
    if depth >= len(stack):
        return f"#{depth} (end)"
    line = stack[depth]
    if line is None:
        return f"#{depth} ..."
    function, _, number = line
    return f"#{depth} {function}:{UNKNOWN if number is None else number}"
