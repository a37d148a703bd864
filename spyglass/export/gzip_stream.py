"""Documents compressed by gzip."""

from __future__ import annotations

import gzip
from typing import BinaryIO, cast

__all__ = ["GZIP_LEVEL", "gzipped"]

#: More costs much time and saves little: the text of a hundred thousand goroutines becomes a thirtieth.
GZIP_LEVEL = 3


def gzipped(stream: BinaryIO, level: int = GZIP_LEVEL) -> BinaryIO:
    """A stream whose content goes to `stream`, compressed; closing it leaves `stream` open. It notes no time, so
    that equal content is equal compressed."""
    return cast("BinaryIO", gzip.GzipFile("", "wb", level, stream, mtime=0))
