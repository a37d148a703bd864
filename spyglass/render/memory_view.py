"""``spyglass memory``: what is unusual, what resident memory is of, and what the Go runtime accounts for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from spyglass.analysis.memory_parts import shown_parts, stack_groups
from spyglass.escape import visible
from spyglass.render.cropping import tail_in
from spyglass.render.findings import finding_lines
from spyglass.render.limit_lines import limit_lines
from spyglass.render.process_sections import memory_lines, program_lines, saved_lines
from spyglass.render.sections import fact, section
from spyglass.render.table_columns import Column
from spyglass.render.text_table import table
from spyglass.words.units import UNKNOWN, count, duration, size

if TYPE_CHECKING:
    from spyglass.analysis.memory_view import MemoryView
    from spyglass.memory_account import GoMemory, MemoryAccount, ResidentMapping
    from spyglass.render.view_options import View

__all__ = ["render"]

#: Rows that are shown unless the user wants all.
_MAPPINGS, _GROUPS = 5, 3
#: The least share of resident memory that a mapping or group of goroutines must have to be shown.
_LEAST_SHARE = 0.02
#: Parts whose mappings are listed: of the others their sum says enough.
_LISTED = ("c", "files", "shared", "thread_stacks")


def render(shown: MemoryView, view: View) -> Iterator[Text]:
    """The lines of `shown`."""
    account = shown.account
    yield from saved_lines(shown.snapshot, view.width)
    yield from finding_lines(shown.findings, view.width)
    yield from program_lines(shown.snapshot.process, view.width, verbose=view.verbose)
    yield from _resident_lines(shown, view)
    if account.limits is not None:
        yield from limit_lines(account.limits, account.forecast, view)
    yield from memory_lines(shown.snapshot, view.width, verbose=True)
    yield from _go_lines(account.go, view.width)
    yield from _class_lines(account.go, view.width)
    if shown.profile is not None:
        from spyglass.render.heap_view import profile_lines

        yield from profile_lines(shown.profile, view)


def _resident_lines(shown: MemoryView, view: View) -> Iterator[Text]:
    account = shown.account
    rss = account.rss_bytes
    if rss is None:
        yield from section("resident", [Text("not known")], view.width)
        return
    facts = [fact("sum", size(rss), "bold")]
    more = {
        "swapped": account.swap_bytes, "in huge pages": account.huge_bytes,
        "hugetlb, beside": account.hugetlb_bytes, "LazyFree": account.lazy_free_bytes,
    }  # fmt: skip
    facts += [fact(name, size(value)) for name, value in more.items() if value]
    yield from section("resident", facts, view.width)
    yield Text()
    yield from table(_part_columns(account, rss), view.width, styled=view.styled)
    rows = [*_stack_rows(shown, rss, view), *_mapping_rows(account, rss, view)]
    if rows:
        yield Text()
        yield from table(_detail_columns(rows), view.width, styled=view.styled)
    yield Text()


def _part_columns(account: MemoryAccount, rss: int) -> list[Column]:
    parts = shown_parts(account)
    return [
        Column("resident", [size(each.bytes) for each in parts], right=True),
        Column("share", [_percent(each.bytes, rss) for each in parts], right=True),
        Column("of", [each.words for each in parts], weight=2),
        Column(
            "doubtful", [size(each.doubtful_bytes) if each.doubtful_bytes else "" for each in parts]
        ),
    ]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else UNKNOWN


#: Bytes, and what has them.
_Row = tuple[int, str, str]


def _stack_rows(shown: MemoryView, rss: int, view: View) -> list[_Row]:
    groups = stack_groups(shown.snapshot)
    groups = groups if view.everything else groups[:_GROUPS]
    return [
        (
            each.stack_bytes,
            "goroutine stacks",
            f"{count(each.goroutines)} in {each.state} at "
            f"{each.where.function if each.where is not None else UNKNOWN}",
        )
        for each in groups
        if view.everything or each.stack_bytes >= _LEAST_SHARE * rss
    ]


def _mapping_rows(account: MemoryAccount, rss: int, view: View) -> list[_Row]:
    found = [each for each in account.mappings if view.everything or each.part in _LISTED]
    found = [each for each in found if view.everything or each.resident_bytes >= _LEAST_SHARE * rss]
    found = found if view.everything else found[:_MAPPINGS]
    return [(each.resident_bytes, each.part.replace("_", " "), _name(each)) for each in found]


def _name(each: ResidentMapping) -> str:
    name = each.name or f"anonymous at {each.address:#x}"
    more = f" ({each.count} mappings)" if each.count > 1 else ""
    return f"{name}{more} of {size(each.size_bytes)}"


def _detail_columns(rows: Sequence[_Row]) -> list[Column]:
    return [
        Column("bytes", [size(each[0]) for each in rows], right=True),
        Column("of", [each[1] for each in rows]),
        Column("largest", [visible(each[2]) for each in rows], weight=3, fit=tail_in),
    ]


def _go_lines(go: GoMemory, width: int | None) -> Iterator[Text]:
    """What there is of collections beside what every view shows."""
    rate, gc = go.gc.allocation_rate, go.gc
    facts = [fact("live", size(go.heap_live_bytes), "bold")]
    if go.heap_live_bytes is not None and go.heap_now_bytes is not None:
        facts.append(fact("allocated since", size(max(go.heap_now_bytes - go.heap_live_bytes, 0))))
    if rate is not None:
        facts.append(fact("allocating", f"{size(round(rate))}/s"))
    if gc.cpu_fraction is not None:
        facts.append(fact("collecting", f"{100 * gc.cpu_fraction:.1f} % of processor time"))
    if gc.pauses_ns:
        facts.append(
            fact(f"longest of the last {len(gc.pauses_ns)} pauses", duration(max(gc.pauses_ns)))
        )
    yield from section("heap", facts, width)


def _class_lines(go: GoMemory, width: int | None) -> Iterator[Text]:
    known = [fact(name, size(value)) for name, value in go.classes.items() if value]
    yield from section("classes", known, width)
