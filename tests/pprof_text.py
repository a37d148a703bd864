"""What ``go tool pprof -raw`` prints of a profile, in a form that can be compared."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.go_tool_pprof import go_tool_pprof
from tests.support import MATRIX

__all__ = ["Sites", "sites_of"]

#: The numbers of each stack, by names, and the size of its objects, 0 if it has none.
Sites = Counter[tuple[tuple[str, ...], int, tuple[int, ...]]]

_SAMPLE = re.compile(r"^ *(-?\d+(?: +-?\d+)*): ([\d ]*)$")
_LOCATION = re.compile(
    r"^ *(?:(\d+): 0x[0-9a-f]+(?: M=\d+)? )?(.+) \S+:\d+(?::\d+)? s=\d+(?:\(.*\))?$"
)
#: What a generic function was made for, which Go's profiles have in its name, and its tracebacks have not.
_MADE_FOR = re.compile(r"\[.*\]")
_BYTES = re.compile(r"^ +bytes:\[(\d+)\]$")


def sites_of(path: Path, home: Path) -> Sites:
    """What ``go tool pprof`` finds in the file, without sites that are zero."""
    text = go_tool_pprof(MATRIX[-1], home, "-raw", path)
    samples, _, rest = text.partition("\nLocations\n")
    locations: dict[str, list[str]] = {}
    last = ""
    for line in rest.partition("\nMappings\n")[0].splitlines():
        match = _LOCATION.match(line)
        assert match, line
        last = match[1] or last  # none: a call that the one before is inlined in
        locations.setdefault(last, []).append(_MADE_FOR.sub("[...]", match[2].strip()))
    found: list[tuple[tuple[str, ...], int, tuple[int, ...]]] = []
    for line in samples.splitlines():
        if match := _SAMPLE.match(line):
            names = [name for each in match[2].split() for name in locations[each]]
            found.append((tuple(names), 0, tuple(int(each) for each in match[1].split())))
        elif match := _BYTES.match(line):
            found[-1] = (found[-1][0], int(match[1]), found[-1][2])
    # Sites whose first samples are of a later cycle are zero: writing a heap profile makes some.
    return Counter(each for each in found if any(each[2]))
