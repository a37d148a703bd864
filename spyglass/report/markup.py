"""Builds HTML from strings; a string is escaped unless it is HTML already."""

from __future__ import annotations

import html

__all__ = ["Content", "Markup", "element", "joined"]


class Markup(str):
    """Text that is HTML and is not escaped again. Only this module and our templates make it."""

    __slots__ = ()


#: The content of an element: any text, HTML, or nothing.
Content = str | None


def joined(*contents: Content) -> Markup:
    """`contents`, concatenated."""
    return Markup("".join(map(_escaped, contents)))


def element(name: str, /, *contents: Content, **attributes: str | None) -> Markup:
    """``<name attributes>contents</name>``; an attribute's ``_`` is a ``-``, ``class_`` is class."""
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    written = "".join(
        f' {names[key]}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*contents)}</{name}>")


def _escaped(content: Content) -> str:
    if content is None:
        return ""
    return content if isinstance(content, Markup) else html.escape(content)
