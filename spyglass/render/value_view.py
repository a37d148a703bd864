"""``spyglass var``: values of variables, a field or an element a line, as Go writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from spyglass.escape import visible
from spyglass.go_value import Value, Variable, VariableName
from spyglass.render.cropping import cropped
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.render.view_options import View
from spyglass.words.units import count

__all__ = ["render_names", "render_variables"]

_INDENT = "  "
#: Values in one line: so many elements, of so many characters.
_INLINE_ELEMENTS, _INLINE_CHARACTERS = 16, 60
_PLAIN = ("struct", "array", "slice", "map", "pointer", "interface")


def render_variables(variables: Sequence[Variable], view: View) -> Iterator[Text]:
    """The lines of `variables`."""
    for each in variables:
        label = visible(each.name) if each.name else hex(each.address)
        for line in _lines(label, each.value, 0):
            yield Text(line if view.width is None else cropped(line, view.width))


def render_names(names: Sequence[VariableName], view: View) -> Iterator[Text]:
    """A table of `names`."""
    shown = names[: view.rows_shown(2)]
    yield from table(
        [
            Column("address", [hex(each.address) for each in shown], right=True),
            Column("bytes", [count(each.size_bytes) for each in shown], right=True),
            Column("variable", [visible(each.name) for each in shown], weight=2),
            Column("type", [visible(each.type or "?") for each in shown], weight=1),
        ],
        view.width,
        styled=view.styled,
    )
    if left := len(names) - len(shown):
        yield Text(f"{count(left)} more, --all shows them", "dim")


def _lines(label: str, value: Value, level: int) -> Iterator[str]:
    """`value` under `label`, and below it what is in it."""
    head = _head(value)
    yield f"{_INDENT * level}{label} {visible(value.type)}" + (f" = {head}" if head else "")
    inside = _inside(value)
    for name, inner in inside:
        yield from _lines(name, inner, level + 1)
    if value.cut and inside and value.kind in ("slice", "array", "map"):
        yield f"{_INDENT * (level + 1)}… {_left(value)} more"


def _left(value: Value) -> str:
    known = len(value.elements) or len(value.entries)
    return "?" if value.length is None else count(value.length - known)


def _inside(value: Value) -> list[tuple[str, Value]]:
    """What has lines of its own below the line of `value`; of a pointer and an interface, what is in the value there."""
    if value.target is not None:
        return _inside(value.target)
    if value.fields:
        return [(visible(name), inner) for name, inner in value.fields]
    if value.entries:
        return [(f"[{_inline(key)}]", inner) for key, inner in value.entries]
    if _is_inline(value):
        return []
    return [(f"[{at}]", inner) for at, inner in enumerate(value.elements)]


def _head(value: Value) -> str:
    """What is said of `value` in its own line."""
    if value.problem is not None:
        return f"? ({value.problem})"
    if value.target is not None:
        return _referring(value, value.target)
    if value.kind in ("slice", "array") and value.elements and not _is_inline(value):
        return _reference(value) if value.kind == "slice" else f"len {count(value.length)}"
    if value.kind == "struct" and not value.cut:
        return "" if value.fields else "{}"
    return _inline(value)


def _referring(value: Value, target: Value) -> str:
    """What a pointer or an interface says of its target."""
    words = visible(target.type) if value.kind == "interface" else hex(value.address or 0)
    return f"{words} {_head(target)}".rstrip()


def _is_inline(value: Value) -> bool:
    """Whether the elements of an array or a slice are on one line."""
    plain = all(each.kind not in _PLAIN and each.problem is None for each in value.elements)
    return (
        plain
        and len(value.elements) <= _INLINE_ELEMENTS
        and len(_joined(value)) <= _INLINE_CHARACTERS
    )


def _joined(value: Value) -> str:
    return " ".join(map(_inline, value.elements))


def _inline(value: Value) -> str:
    """`value` in a few words."""
    if value.problem is not None:
        return "?"
    if value.number is not None:
        return _number_text(value)
    if value.kind == "string" or value.text is not None:
        return _quoted(value)
    return _composed(value)


def _composed(value: Value) -> str:
    """What `value` is of, in a few words, or what it refers to."""
    if value.kind == "interface" and value.target is not None:
        return f"{visible(value.target.type)} {_inline(value.target)}"
    if value.fields or (value.kind == "struct" and not value.cut):
        return "{" + ", ".join(f"{name}: {_inline(each)}" for name, each in value.fields) + "}"
    if value.elements or (value.kind == "array" and not value.cut):
        return f"[{_joined(value)}{f' … {_left(value)} more' if value.cut else ''}]"
    return _reference(value)


def _reference(value: Value) -> str:
    if value.address is None:
        return "…"
    if value.kind in ("pointer", "interface", "func", "chan", "map", "slice") and not value.address:
        return "nil"
    words = visible(value.function) if value.function else hex(value.address or 0)
    sizes = (("len", value.length), ("cap", value.capacity))
    return " ".join([words, *(f"{name} {count(size)}" for name, size in sizes if size is not None)])


def _quoted(value: Value) -> str:
    size = f"({count(value.length)} bytes)"
    if value.text is None:
        return size
    text = value.text if value.escaped else value.text.replace("\\", "\\\\")
    text = text.replace('"', '\\"').replace("\n", "\\n")
    return f'"{visible(text)}"' + (f"… {size}" if value.cut else "")


def _number_text(value: Value) -> str:
    number = value.number
    if isinstance(number, bool):
        return "true" if number else "false"
    if isinstance(number, tuple):
        return f"({number[0]!r}{number[1]:+}i)"
    return repr(number)
