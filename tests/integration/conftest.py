"""A browser for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser import Browser


@pytest.fixture(scope="session")
def window() -> Iterator[Browser]:
    """A window of a browser."""
    from tests.browser import browser

    with browser() as window:
        yield window


@pytest.fixture
def opened(window: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The report of `SHOP` in it, of which the browser must have nothing to complain."""
    from tests.open_report import SHOP, assert_quiet, show

    show(window, tmp_path, SHOP)
    yield window
    assert_quiet(window)
