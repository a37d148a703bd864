"""A report that is open in a browser: what it shows, and how to use it."""

from __future__ import annotations

from pathlib import Path

from selenium.webdriver.remote.webelement import WebElement

from spyglass.model import Frame, Snapshot
from spyglass.report.page import report
from tests.browser import Browser
from tests.snapshots import Row, frame, make_snapshot

__all__ = [
    "LOCK", "MAIN", "SHOP", "assert_quiet", "bars", "fill", "focused", "focused_name", "frames", "group_counts",
    "matching", "number", "open_filters", "settle", "show",
]  # fmt: skip

MAIN, SERVE, QUERY, LOCK = (frame(f"main.{name}") for name in ("main", "serve", "query", "lock"))
PARK = Frame("runtime.gopark", "/go/src/runtime/proc.go", 402, 0x43210, hidden=True)
MINUTE_NS = 60 * 10**9

#: Three groups of one stack; two states; two labels; waits of 1 to 60 minutes.
SHOP = make_snapshot(
    [
        *(
            Row(
                100 + i, wait_reason="select", waiting_ns=(i + 1) * MINUTE_NS, where=QUERY,
                stack=(PARK, QUERY, SERVE, MAIN), creator=MAIN, creator_id=1,
                labels={"tenant": "blue" if i % 2 else "red"},
            )
            for i in range(60)
        ),
        *(
            Row(200 + i, wait_reason="sync.Mutex.Lock", where=LOCK, stack=(PARK, LOCK, SERVE, MAIN))
            for i in range(30)
        ),
        *(Row(300 + i, "runnable", where=SERVE, stack=(SERVE, MAIN)) for i in range(10)),
        Row(2, wait_reason="force gc (idle)", system=True, stack=(PARK,)),
    ]
)  # fmt: skip


def show(window: Browser, folder: Path, snapshot: Snapshot) -> Path:
    page = folder / "incident.html"
    page.write_text("".join(report(snapshot)), "utf-8")
    window.open(page)
    return page


def assert_quiet(window: Browser) -> None:
    """The page made no request, and the browser reports no error."""
    assert window.complaints() == []
    assert [url for url in window.requests() if not url.startswith("blob:")] == [
        window.driver.current_url.partition("#")[0]
    ]


def fill(window: Browser, name: str, value: str) -> None:
    """Type into a field of the filters."""
    open_filters(window)
    field = window.find(f"#filters [name={name}]")
    field.clear()
    field.send_keys(value)
    settle(window)


def open_filters(window: Browser) -> None:
    if not window.find("#filter-box").get_attribute("open"):
        window.find("#filter-box summary").click()


def settle(window: Browser) -> None:
    """Wait until the page has drawn what was last chosen."""
    window.driver.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
    )


def matching(window: Browser) -> int:
    """The number of user goroutines that match."""
    return int(window.find("#matching").text.split(" ")[0].replace(",", ""))


def bars(window: Browser, chart: str) -> dict[str, int]:
    names = window.texts(f"#{chart} tbody th")
    counts = window.texts(f"#{chart} tbody td:nth-of-type(1)")
    return {name: number(count) for name, count in zip(names, counts, strict=True)}


def number(text: str) -> int:
    return int(text.replace(",", ""))


def group_counts(window: Browser) -> list[int]:
    return [number(text) for text in window.texts("#group-table tbody tr > td:first-child.number")]


def frames(window: Browser) -> dict[str, WebElement]:
    """The frames of the flame graph by what a screen reader says of them."""
    found = window.all("#flame-graph [role=treeitem]")
    return {(each.get_attribute("aria-label") or "").split(",")[0]: each for each in found}


def focused(window: Browser) -> WebElement:
    return window.driver.switch_to.active_element


def focused_name(window: Browser) -> str:
    return (focused(window).get_attribute("aria-label") or focused(window).text).split(",")[0]
