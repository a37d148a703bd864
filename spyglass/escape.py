"""Strings from a target made safe to show.

Names, paths, command lines and labels are chosen by the inspected program. A view passes each of them
through `visible` before it writes it; messages of errors and problems have passed through `one_line`.
"""

from __future__ import annotations

__all__ = ["MAX_LINE", "one_line", "visible"]

#: The most characters of a message. What is longer loses its middle: the end often says what is wrong.
MAX_LINE = 2000
_HEAD, _TAIL = 1400, 500

#: Characters that `str.isprintable` accepts and that nevertheless show nothing: fillers, joiners,
#: variation selectors (``DerivedCoreProperties.txt``, Default_Ignorable_Code_Point).
_INVISIBLE = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    )
)


def visible(text: str) -> str:
    r"""`text` with every character escaped that a terminal would obey, reorder or hide.

    Control characters, escape sequences, bidirectional overrides, zero-width characters, odd spaces
    and unassigned code points become ``\x1b`` or ``\u202e``; a byte that was not UTF-8 (a surrogate
    that `os.fsdecode` made) becomes that byte, ``\xff``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible_character, text))


def one_line(text: str) -> str:
    """`text` as `visible`, in one line of at most `MAX_LINE` characters. Applied again it changes nothing."""
    if len(text) <= MAX_LINE:
        shown = visible(text)
        if len(shown) <= MAX_LINE:
            return shown
    head, tail = visible(text[:_HEAD])[:_HEAD], visible(text[-_TAIL:])[-_TAIL:]
    return f"{head} … {tail}"


def _visible_character(character: str) -> str:
    code = ord(character)
    if character.isprintable() and code not in _INVISIBLE:
        return character
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
