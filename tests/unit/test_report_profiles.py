"""The parts of a report that profiles add."""

from __future__ import annotations

import io

from spyglass.export.snapshot_reader import load
from spyglass.report.page import report
from tests.made_profiles import SHOP
from tests.saved import differences, text_of, with_everything


def test_without_profiles_a_page_has_nothing_of_them() -> None:
    page = "".join(report(with_everything()))
    assert "ProfileView" not in page
    assert "data-prefix=" not in page
    assert 'href="#cpu"' not in page


def test_a_page_with_profiles_holds_the_snapshot_too() -> None:
    snapshot = with_everything()
    page = "".join(report(snapshot, [SHOP]))
    assert page.count("data-prefix=") == 1
    assert 'id="cpu-flame-graph"' in page
    read = load(io.BytesIO(page.encode()))
    assert differences(read, load(io.BytesIO(text_of(snapshot)))) == []
