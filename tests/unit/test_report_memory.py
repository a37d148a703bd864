"""Memory in a report: the account as bars, and the heap profile."""

from __future__ import annotations

from dataclasses import replace

from spyglass.analysis.redaction import redacted_sites
from spyglass.memory_account import GoMemory, MemoryAccount, ResidentPart
from spyglass.report.page import report
from tests.made_sites import HEAP
from tests.open_report import SHOP
from tests.snapshots import PROCESS, TAKEN_AT

MIB = 1 << 20
ACCOUNT = MemoryAccount(
    PROCESS, TAKEN_AT, 1, 40 * MIB,
    (ResidentPart("go_heap_objects", 10 * MIB, "pages"), ResidentPart("c", 30 * MIB, "mappings", 2 * MIB)),
    GoMemory({}),
)  # fmt: skip


def test_the_account_is_shown_as_bars_the_largest_first() -> None:
    page = "".join(report(replace(SHOP, account=ACCOUNT)))
    assert "Resident memory: 40.0 MiB" in page
    c, heap = page.index("C and other anonymous memory"), page.index("Go heap: objects")
    assert c < heap
    assert "30.0 MiB, 2.0 MiB of it doubtful" in page
    assert 'width="33.33%"' in page[heap:]
    assert "25.0 %" in page[heap:]


def test_without_an_account_and_a_heap_profile_there_is_nothing_of_them() -> None:
    page = "".join(report(replace(SHOP, account=replace(ACCOUNT, rss_bytes=None))))
    assert "Resident memory:" not in page
    assert 'href="#heap"' not in page


def test_the_heap_profile_has_a_section() -> None:
    page = "".join(report(SHOP, heap=HEAP))
    assert 'href="#heap"' in page
    assert 'data-prefix="heap-"' in page
    assert "class SitesView" in page
    assert "in use 3.5 MiB" in page


def test_names_in_a_heap_profile_are_text() -> None:
    frames = tuple(replace(each, function="</script>\x1b[31m") for each in HEAP.frames)
    page = "".join(report(SHOP, heap=replace(HEAP, frames=frames)))
    assert "\x1b" not in page
    assert page.count("</script>") == "".join(report(SHOP, heap=HEAP)).count("</script>")


def test_redacted_heap_profiles_have_no_directories() -> None:
    found = redacted_sites(HEAP)
    assert {each.file for each in HEAP.frames} == {"/src/main.go"}
    assert not any((each.file or "/").startswith("/") for each in found.frames)
    assert found.process.cmdline == ()
