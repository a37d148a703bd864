"""A browser for all tests of pages, and a program and a server for those of `spyglass serve`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from tests.browser import Browser
    from tests.support import GoProcess


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


@pytest.fixture(scope="module")
def knots() -> Iterator[GoProcess]:
    """A program at rest: two goroutines in a deadlock, and `LEAKED` that nobody will ever wake."""
    from tests.serving import LEAKED
    from tests.support import NEWEST, Flavour, start

    with start("knots", NEWEST, Flavour.STRIPPED, "-deadlock", "-leak", str(LEAKED)) as process:
        yield process


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of a server in this process."""
    from tests.serving import serving

    with serving() as client:
        yield client


@pytest.fixture(scope="module")
def base(knots: GoProcess) -> str:
    """Where the server has `knots`."""
    return f"/v1/processes/{knots.pid}"
