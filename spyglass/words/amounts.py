"""Amounts of profiles of sites as text: bytes, counts, times."""

from __future__ import annotations

from spyglass.site_profile import SiteProfile, ValueKind
from spyglass.words.profile_account import program_text
from spyglass.words.units import count, moment, size

__all__ = ["KIND_WORDS", "amount_text", "change_text", "kind_title", "sites_line", "sites_title"]

KIND_WORDS = {
    "heap": "Heap profile",
    "block": "Block profile",
    "mutex": "Mutex profile",
    "contention": "Contention profile",
}
_TITLES = {
    "inuse_space": "in use", "inuse_objects": "objects", "alloc_space": "allocated",
    "alloc_objects": "objects allocated", "delay": "delay", "contentions": "times",
}  # fmt: skip


def kind_title(kind: ValueKind) -> str:
    """What numbers of `kind` are, in a word: ``in use``."""
    return _TITLES.get(kind.name, kind.name)


def amount_text(kind: ValueKind, amount: int) -> str:
    """``1.5 MiB``, ``1,234``, ``12.3 ms``, or ticks of a clock whose length is not known."""
    if kind.unit == "bytes":
        return size(amount) if amount >= 0 else f"-{size(-amount)}"
    if kind.unit == "nanoseconds":
        return _time_text(amount)
    return f"{count(amount)} ticks" if kind.unit == "ticks" else count(amount)


def change_text(kind: ValueKind, change: int) -> str:
    """A change with its sign: ``+1.5 MiB``."""
    if not change:
        return "0"
    return ("+" if change > 0 else "") + amount_text(kind, change)


def sites_title(profile: SiteProfile) -> str:
    """``Heap profile of etcd (pid 4711)``."""
    return f"{KIND_WORDS[profile.kind]} of {program_text(profile.process)}"


def sites_line(profile: SiteProfile) -> str:
    """When, how sampled, and what there is in all."""
    kind = profile.kinds[profile.main_kind]
    total = sum(profile.amounts[:, profile.main_kind].tolist())
    parts = [moment(profile.taken_at), f"{kind_title(kind)} {amount_text(kind, total)}"]
    if profile.period > 1:
        parts.append(f"one sample in {amount_text(profile.period_kind, profile.period)}")
    return ", ".join([*parts, *filter(None, [profile.process.go_version])])


def _time_text(time_ns: int) -> str:
    """A time in seconds, milliseconds or microseconds."""
    sign, time_ns = "-" if time_ns < 0 else "", abs(time_ns)
    for unit_ns, unit in ((10**9, "s"), (10**6, "ms"), (10**3, "us")):
        if time_ns >= unit_ns:
            return f"{sign}{time_ns / unit_ns:,.1f} {unit}"
    return f"{sign}{time_ns} ns"
