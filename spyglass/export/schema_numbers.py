"""Numbers and addresses as documents may have them, with their bounds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

__all__ = [
    "Address",
    "Cores",
    "Count",
    "Descriptor",
    "KnownCount",
    "Mean",
    "Number",
    "Percent",
    "Rate",
    "Seconds",
    "Share",
]

#: What a column of numbers can hold.
_MOST = (1 << 63) - 1

Count = Annotated[int, Meta(ge=0, le=_MOST)]
KnownCount = Count | None
#: A number that may be negative; the least one of its column is left for what is not known.
Number = Annotated[int, Meta(ge=-_MOST, le=_MOST)]
Descriptor = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Address = Annotated[str, Meta(pattern="^0x[0-9a-f]{1,16}$")]
Rate = Annotated[float, Meta(ge=0, le=1e6)]
Seconds = Annotated[float, Meta(ge=0, le=1e11)]
Cores = Annotated[float, Meta(ge=0, le=1e6)]
Mean = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=100)]
Percent = Annotated[int, Meta(ge=-1, le=(1 << 31) - 1)]
