"""The page of ``spyglass serve`` in a browser: go to a view, wait for what it shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from selenium.common.exceptions import WebDriverException

from tests.browser import Browser
from tests.serving import TOKEN

__all__ = ["enter", "fits", "go", "has_quiet_console", "press", "shows", "until"]

_T = TypeVar("_T")

#: What a busy host may take for one reading and one drawing.
PATIENCE_SECONDS = 60.0


def until(condition: Callable[[], _T]) -> _T:
    """What `condition` gives as soon as it is true; an element that was drawn anew meanwhile is looked for again."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = condition()
        except WebDriverException:
            if time.monotonic() > end:
                raise
            continue
        if found or time.monotonic() > end:
            assert found, "the page does not show it"
            return found
        time.sleep(0.05)


def enter(window: Browser, address: str, place: str = "") -> None:
    """Open the page at `address` with the token, and go to `place`."""
    window.driver.delete_all_cookies()
    window.visit(f"{address}?token={TOKEN}#/{place}")


def go(window: Browser, place: str) -> None:
    window.run("location.hash = arguments[0]", f"#/{place}")


def shows(window: Browser, selector: str, text: str = "") -> None:
    """Wait until an element that `selector` finds has `text`."""
    until(lambda: any(text in each for each in window.texts(selector)))


def press(window: Browser, selector: str) -> None:
    """Click the first element that `selector` finds, wherever the page is scrolled."""
    until(lambda: window.all(selector))
    window.run("document.querySelector(arguments[0]).click()", selector)


def fits(window: Browser) -> bool:
    """Whether the page needs no scrolling to the side."""
    widths = window.run("return [document.documentElement.scrollWidth, innerWidth]")
    return bool(widths[0] <= widths[1])


def has_quiet_console(window: Browser, *expected: str) -> bool:
    """Whether the browser had nothing to say, but for lines that have one of `expected`."""
    said = window.complaints()
    left = [line for line in said if not any(each in line for each in expected)]
    assert left == []
    return True
