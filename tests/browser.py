"""A real browser without a screen, for tests of pages: Debian's chromium, driven by selenium."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support import missing

__all__ = ["Browser", "browser"]

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip


class Browser:
    """One window, and what happened in it since it was last asked."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self.driver = driver
        self.downloads = folder / "downloads"

    def open(self, page: Path) -> None:
        """Open `page` from disk, in a light theme and a window of 1280 x 900."""
        self.visit(page.as_uri())

    def visit(self, address: str) -> None:
        """Open what is at `address`, in a light theme and a window of 1280 x 900."""
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.resize(1280, 900)
        self.prefer("light")
        self.driver.get(address)

    def seconds_to_load(self) -> float:
        """From when the page was asked for until its script had shown all of it."""
        milliseconds: int = self.run(
            "const t = performance.timing; return t.loadEventEnd - t.navigationStart"
        )
        return milliseconds / 1e3

    def resize(self, width: int, height: int) -> None:
        """Give the page so many pixels: windows themselves are never narrower than 500."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def prefer(self, theme: str, *, media: str = "") -> None:
        """Let the system want a "light" or "dark" theme, and the page be on "screen" or in "print"."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self._command("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def complaints(self) -> list[str]:
        """What the browser has said on its console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that have been asked for."""
        entries = (json.loads(entry["message"]) for entry in self.driver.get_log("performance"))
        messages = (entry["message"] for entry in entries)
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def run(self, script: str, *arguments: Any) -> Any:
        """What `script` returns when the page runs it."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        """The first element that a CSS `selector` finds."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Every element that a CSS `selector` finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The text of each element that `selector` finds, seen or not."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        texts: list[str] = self.run(script, selector)
        return texts

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page, all of it or what the window shows of it."""
        if whole:
            height = self.run("return document.documentElement.scrollHeight")
            width = self.run("return document.documentElement.clientWidth")
            self.resize(width, min(height, 12000))
        self.driver.save_screenshot(str(path))

    def _command(self, name: str, parameters: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(name, parameters)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with nothing of a user's in it; it ends with the context."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not chromedriver:
        missing("no browser: install Debian's chromium and chromium-driver")
    with tempfile.TemporaryDirectory(
        prefix="spyglass-browser-", ignore_cleanup_errors=True
    ) as folder:
        driver = Chrome(_options(chromium, Path(folder)), ChromeService(chromedriver))
        try:
            yield Browser(driver, Path(folder))
        finally:
            driver.quit()


def _options(chromium: str, folder: Path) -> ChromeOptions:
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.add_experimental_option(
        "prefs",
        {"download.default_directory": str(folder / "downloads"), "download.prompt_for_download": False},
    )  # fmt: skip
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return options
