"""``spyglass memory --retain``: what keeps objects of the heap alive."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from spyglass.escape import visible
from spyglass.heap_objects import Chain, Link, Retention, Root
from spyglass.render.sections import fact, section
from spyglass.render.view_options import View
from spyglass.words.units import count, plural, size

__all__ = ["retention_lines"]

#: Groups that are shown without --all.
_FEW = 5
#: What a link has of a line at least, beside its size and address.
_LEAST_CELLS = 20
_KINDS = {
    "variable": "variable", "goroutine": "goroutine", "finalizer": "finalizer, cleanup or weak pointer",
    "thread": "registers of a thread",
}  # fmt: skip


def retention_lines(retention: Retention, view: View) -> Iterator[Text]:
    """How many objects there are, and a chain for each group of them."""
    facts = [
        fact("objects", count(retention.objects), "bold"),
        fact("size", size(retention.bytes)),
        fact("kept alive", count(retention.reached)),
    ]
    if retention.possible:
        facts.append(fact("not counted, may be of that type", count(retention.possible), "yellow"))
    yield from section("retained", [Text(visible(retention.wanted), "bold"), *facts], view.width)
    if remark := _rest(retention):
        yield from section("", [Text(remark, "yellow")], view.width)
    shown = retention.chains[: None if view.everything else _FEW]
    for chain in shown:
        yield Text()
        yield from _chain(chain, view)
    if left := retention.chain_count - len(shown):
        yield Text()
        more = ", --all shows them" if len(shown) < len(retention.chains) else ""
        yield Text(f"{count(left)} more roots{more}", "dim")


def _rest(retention: Retention) -> str:
    """What is to be said of objects without a chain."""
    left = retention.objects - retention.reached
    if not retention.complete:
        return "not all of the heap was looked at: give more --seconds, or a larger --heap-limit"
    if not left:
        return ""
    if retention.calls_back:
        return f"{count(left)}: garbage, or queued finalizers or cleanups refer to them"
    if retention.exact:
        return f"{count(left)}: garbage, nothing that is alive refers to them"
    return f"{count(left)}: garbage, or references to them moved meanwhile"


def _chain(chain: Chain, view: View) -> Iterator[Text]:
    yield Text.assemble(
        f"{plural(chain.objects, 'object')}, {size(chain.bytes)}: ", (_root(chain.root), "bold")
    )
    middle = len(chain.links) // 2
    for number, link in enumerate(chain.links):
        if chain.left_out and number == middle:
            yield Text(f"    … {count(chain.left_out)} more", "dim")
        yield _link(link, view)


def _root(root: Root) -> str:
    """Such as "variable main.table" or "goroutine 18 in main.serve"."""
    text = _KINDS[root.kind]
    if root.goroutine is not None:
        text += f" {root.goroutine}"
    name = visible(root.name) if root.name is not None else None
    if root.kind == "variable":
        return f"{text} {name or 'without a name'} at {root.address:#x}"
    return f"{text} in {name}" if name is not None else text


def _link(link: Link, view: View) -> Text:
    """Such as "    .next → main.node 48 B 0xc000010000"."""
    line = Text(f"    {_where(link)}→ {visible(_type(link))}")
    end = f"  {size(link.object_bytes)}  {link.address:#x}"
    if view.width is not None:
        line.truncate(max(view.width - len(end), _LEAST_CELLS), overflow="ellipsis")
    return line.append(end, "dim")


def _where(link: Link) -> str:
    if link.field is not None:
        return visible(link.field) + (" " if link.sure else "? ")
    return f"+{link.offset} " if link.offset is not None else ""


def _type(link: Link) -> str:
    if link.type is not None:
        return link.type
    return "one of " + ", ".join(link.candidates) if link.candidates else "?"
