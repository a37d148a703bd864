"""A flame graph as a picture without script: SVG with a title for each frame, which browsers show on hover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from spyglass.analysis.call_tree import CallTree
from spyglass.analysis.code_origin import ORIGINS
from spyglass.escape import visible
from spyglass.export.profile_stacks import profile_stacks, stack_functions
from spyglass.profile import Profile
from spyglass.report.profile_data import function_origins, function_tree
from spyglass.version import __version__
from spyglass.words.calls import call_text
from spyglass.words.profile_account import (
    account_lines,
    account_warnings,
    profile_title,
    recording_line,
    seconds_text,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_svg"]

_WIDTH, _MARGIN, _ROW, _GAP = 1200, 10, 18, 1
_LINE = 18
_CHARACTER = 6.65  # the width of a character of the font below, 11 px high
_MIN_WIDTH = 0.4  # narrower frames are not drawn
_MAX_LEVELS = 500
#: Colours of `ORIGINS`, as in the light theme of the report, and their words.
_COLOURS = ("#ffcf99", "#bfe5c3", "#f2e2a0", "#c5dbfb", "#dde1e7", "#f3d3dd")
_WORDS = (
    "this program", "dependencies", "this program or dependencies", "standard library", "Go runtime", "not a function",
)  # fmt: skip
_STYLE = """\
rect{stroke:#fff;stroke-width:.5}
text{font:11px ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;fill:#18202b}
.title{font:600 17px system-ui,"Segoe UI","DejaVu Sans",sans-serif}
.note{font:12px system-ui,"Segoe UI","DejaVu Sans",sans-serif;fill:#566172}
.warning{font:600 12px system-ui,"Segoe UI","DejaVu Sans",sans-serif;fill:#8a5a00}
"""


@dataclass(frozen=True)
class _Box:
    """A frame of the picture: node of the tree, level from the outermost call, begin and width in px."""

    node: int
    level: int
    x: float
    width: float


def write_svg(profile: Profile, stream: BinaryIO, *, by: Sequence[str] = ()) -> None:
    """Write the picture of `profile`; each stack has a root frame for each of `by`."""
    whole = profile_stacks(profile, by)
    functions = stack_functions(whole)
    tree = function_tree(whole, functions)
    totals = _totals(profile, tree, whole.of_rows)
    boxes = _boxes(tree, totals)
    colours = function_origins(profile.process.module, whole, functions)
    names = [visible(call_text(frame)) for frame in functions.firsts]
    for piece in _pieces(profile, tree, boxes, _Look(names, colours, totals)):
        stream.write(piece.encode())


@dataclass(frozen=True)
class _Look:
    """The names and colours of functions, and the time below each node, in ns."""

    names: list[str]
    colours: list[int]
    totals: list[int]


def _totals(profile: Profile, tree: CallTree, of_rows: NDArray[np.int64]) -> list[int]:
    """The time below each node."""
    totals = np.zeros(len(tree.parents), np.int64)
    np.add.at(totals, tree.leaves[of_rows], profile.samples.value_ns)
    found: list[int] = totals.tolist()
    parents = tree.parents.tolist()
    for node in range(len(found) - 1, 0, -1):
        found[parents[node]] += found[node]
    return found


def _boxes(tree: CallTree, totals: list[int]) -> list[_Box]:
    """What is wide enough to be drawn, callers first; callees are in order of their times."""
    children: list[list[int]] = [[] for _ in totals]
    for node, parent in enumerate(tree.parents.tolist()[1:], 1):
        children[parent].append(node)
    scale = (_WIDTH - 2 * _MARGIN) / totals[0] if totals[0] else 0.0
    boxes = [_Box(0, 0, _MARGIN, totals[0] * scale)]
    for box in boxes:  # which grows
        x = box.x
        for node in sorted(children[box.node], key=lambda each: -totals[each]):
            width = totals[node] * scale
            if width < _MIN_WIDTH or box.level + 1 >= _MAX_LEVELS:
                break
            boxes.append(_Box(node, box.level + 1, x, width))
            x += width
    return boxes


def _pieces(profile: Profile, tree: CallTree, boxes: list[_Box], look: _Look) -> Iterator[str]:
    """The text of the picture."""
    title = visible(profile_title(profile))
    heads = _heads(profile)
    top = 30 + _LINE * len(heads) + 8
    bottom = top + _ROW * (max(box.level for box in boxes) + 1)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{bottom + 40}" '
        f'viewBox="0 0 {_WIDTH} {bottom + 40}" role="img">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text class="title" x="{_MARGIN}" y="24">{escape(title)}</text>\n'
    )
    for number, (kind, line) in enumerate(heads):
        y = 30 + _LINE * (number + 1) - 4
        yield f'<text class="{kind}" x="{_MARGIN}" y="{y}">{escape(visible(line))}</text>\n'
    calls = tree.calls.tolist()
    for box in boxes:
        yield _drawn(box, top, calls[box.node], look)
    yield _legend(bottom + 24, {look.colours[calls[box.node]] for box in boxes if box.node})
    yield "</svg>\n"


def _heads(profile: Profile) -> list[tuple[str, str]]:
    """The lines under the title: what was recorded, the account, warnings."""
    time_line, *others = account_lines(profile)
    lines = [f"{recording_line(profile)}: {time_line}", "; ".join(others)]
    warnings = [("warning", f"Warning: {each}") for each in account_warnings(profile)]
    return [*(("note", line) for line in lines), *warnings]


def _drawn(box: _Box, top: int, call: int, look: _Look) -> str:
    name = look.names[call] if box.node else "all samples"
    colour = _COLOURS[look.colours[call]] if box.node else "#f0f3f7"
    total_ns, whole_ns = look.totals[box.node], look.totals[0]
    share = 100 * total_ns / whole_ns if whole_ns else 0.0
    tip = f"{name}: {seconds_text(total_ns)}, {share:.1f} %"
    y = top + _ROW * box.level
    room = int((box.width - 6) / _CHARACTER)
    label = _short(name, room)
    text = f'<text x="{box.x + 3:.1f}" y="{y + 13}">{escape(label)}</text>' if label else ""
    return (
        f'<g><title>{escape(tip)}</title><rect x="{box.x:.2f}" y="{y}" width="{box.width:.2f}" '
        f'height="{_ROW - _GAP}" rx="1.5" fill="{colour}"/>{text}</g>\n'
    )


def _short(name: str, room: int) -> str:
    """`name` in at most `room` characters: without its directories, then cut."""
    short = name[name.partition("[")[0].rfind("/") + 1 :]
    if len(short) <= room:
        return short
    return short[: room - 1] + "…" if room >= 4 else ""


def _legend(y: int, colours: set[int]) -> str:
    """The meaning of `colours`, in a row."""
    parts, x = [], _MARGIN
    for number in range(len(ORIGINS)):
        if number not in colours:
            continue
        parts.append(
            f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLOURS[number]}"/>'
            f'<text class="note" x="{x + 17}" y="{y}">{_WORDS[number]}</text>'
        )
        x += 40 + 7 * len(_WORDS[number])
    version = f'<text class="note" text-anchor="end" x="{_WIDTH - _MARGIN}" y="{y}">spyglass {__version__}</text>'
    return "".join(parts) + version + "\n"
