"""Values of the model as JSON knows them."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

__all__ = ["plain", "record"]

_SURROGATE = re.compile("[\ud800-\udfff]")


def record(part: Any) -> dict[str, Any]:
    """A dataclass of the model: its fields have the names that they have in the document."""
    return {field.name: plain(getattr(part, field.name)) for field in fields(part)}


def plain(value: Any) -> Any:
    """`value` as JSON knows it: moments in UTC, text without surrogates, tuples as lists."""
    if isinstance(value, str):
        return _unicode(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _unicode(text: str) -> str:
    r"""`text` without surrogates, which other parsers of JSON refuse: a stray byte becomes ``\xff``."""
    return text if text.isascii() else _SURROGATE.sub(_escaped, text)


def _escaped(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    # `os.fsdecode` hides the byte 0xff, where it is not UTF-8, in U+DCFF.
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
