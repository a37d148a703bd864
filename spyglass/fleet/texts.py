"""Texts of a target as Parquet holds them: UTF-8."""

from __future__ import annotations

from typing import overload

__all__ = ["clean"]


@overload
def clean(text: str) -> str: ...
@overload
def clean(text: None) -> None: ...
@overload
def clean(text: str | None) -> str | None: ...
def clean(text: str | None) -> str | None:
    """`text` with what is no UTF-8 written as ``\\udcff``; control characters stay, views escape them."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
