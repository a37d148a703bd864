"""The page of `spyglass serve`: what it may do, who gets it, and what is sent to it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from spyglass.errors import PermissionDenied
from spyglass.process_list import GoProcess
from spyglass.report.markup import element
from spyglass.serve.elements import elements
from spyglass.serve.overviews import Overview, Overviews
from spyglass.serve.page_streams import _row, _written
from spyglass.serve.settings import Settings
from tests.serving import TOKEN, serving

STARTED = datetime(2026, 11, 20, 5, tzinfo=UTC)
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x1b[2J"


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_the_page_runs_its_own_script_alone_and_asks_this_server_alone() -> None:
    with serving() as client:
        answer = client.get("/")
    (script,) = re.findall(r'<script type="module">(.*?)</script>', answer.text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    rules = dict(
        each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; ")
    )
    assert rules == {
        "default-src": "'none'", "script-src": hash_of(script), "style-src": hash_of(style), "connect-src": "'self'",
        "img-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'", "trusted-types": "'none'",
    }  # fmt: skip
    for name, value in (
        ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store"),
    ):  # fmt: skip
        assert answer.headers[name] == value
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|innerHTML|\beval\(|\bstyle=", answer.text
    )
    assert len(answer.content) < 150_000


def test_without_the_token_the_page_is_refused_and_can_ask_for_it() -> None:
    with serving(None) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.headers["content-type"]) == (
            401,
            "text/html; charset=utf-8",
        )
        assert "set-cookie" not in answer.headers
        assert TOKEN not in answer.text
        assert client.get("/", headers={"host": "rebound.example"}).status_code == 421
        assert client.post("/").headers["content-type"] == "application/problem+json"
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        assert client.get("/").status_code == 200  # with the cookie
        assert client.get("/v1/kept").status_code == 200


def test_markup_becomes_a_tree_whose_texts_are_what_they_were() -> None:
    markup = element("p", HOSTILE, element("b", "&lt;"), title=f'"{HOSTILE}')
    assert elements(markup) == [["p", {"title": f'"{HOSTILE}'}, HOSTILE, ["b", {}, "&lt;"]]]
    drawing = element("svg", element("path", d="M0 0"), viewBox="0 0 1 1")
    assert elements(f'<div hidden>\n{drawing}\n<input name="a"> x</div>') == [
        ["div", {"hidden": ""}, ["svg", {"viewBox": "0 0 1 1"}, ["path", {"d": "M0 0"}]],
         ["input", {"name": "a"}], " x"]
    ]  # fmt: skip
    with pytest.raises(ValueError, match="ends no element"):
        elements("<p><b></p>")


def test_what_is_sent_again_and_again_is_short_and_has_no_control_characters() -> None:
    sent = json.loads(
        _written({"name": HOSTILE, "rows": [{HOSTILE: "x" * 100_000}], "n": (1, None)})
    )
    safe = HOSTILE.replace("\u202e", r"\u202e").replace("\x1b", r"\x1b")
    assert sent == {"name": safe, "rows": [{safe: "x" * 400 + "…"}], "n": [1, None]}


def process(pid: int = 7, started: datetime = STARTED) -> GoProcess:
    return GoProcess(
        pid=pid, user="app", go_version="go1.27", package=None, module=None, module_version=None, started_at=started,
        age_seconds=60, rss_bytes=4096, threads=3, cmdline=(), exe="/srv/shop", exe_deleted=False, stripped=True,
        container=None,
    )  # fmt: skip


class Readings:
    """Stands for the pool: each reading of a pid gives what `found` says, or waits for ever."""

    def __init__(self, found: dict[int, Overview | Exception | None]) -> None:
        self.found = found
        self.asked: list[int] = []

    async def read(self, pid: int, _key: object, _work: object) -> Overview:
        self.asked.append(pid)
        found = self.found[pid]
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return found


def overviews(found: dict[int, Overview | Exception | None]) -> tuple[Overviews, Readings]:
    pool = Readings(found)
    made: Any = Overviews(Settings(TOKEN), pool)  # type: ignore[arg-type]
    return made, pool


def test_an_overview_is_read_once_for_all_and_again_when_it_is_old() -> None:
    async def run() -> None:
        known, pool = overviews(
            {7: Overview(None, goroutines=5), 8: PermissionDenied("no", "sudo")}
        )
        both = (process(7), process(8))
        await asyncio.gather(known.want_some(both), known.want_some(both))
        await known.want_some(both)
        assert sorted(pool.asked) == [7, 8]
        first, second = (known.of(each.pid, each.started_at) for each in both)
        assert first is not None
        assert first.goroutines == 5
        assert second is not None
        assert second.refused == "no"
        assert known.of(7, STARTED + timedelta(seconds=1)) is None  # another process with its pid
        assert _row(both[1], second)["overview"]["refused"] == "no"
        pool.found[7] = Overview(None, goroutines=6)
        known._known[7] = replace(first, read_at=time.monotonic() - 31)
        known.want(7, STARTED)
        await asyncio.sleep(0)
        await known.want_some(both)
        again = known.of(7, STARTED)
        assert again is not None
        assert again.goroutines == 6
        await known.want_some((process(8),))
        assert known.of(7, STARTED) is None  # it is listed no more

    asyncio.run(run())


def test_a_process_that_takes_long_does_not_keep_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spyglass.serve.overviews._MOMENT_SECONDS", 0.01)

    async def run() -> None:
        some = {pid: Overview(None, goroutines=pid) for pid in range(2, 9)}
        known, pool = overviews({1: None, **some})
        listed = [process(pid) for pid in range(1, 9)]
        for _ in range(3):
            await known.want_some(listed)
        assert [known.of(pid, STARTED) is not None for pid in range(1, 9)] == [False] + [True] * 7
        assert pool.asked.count(1) == 1
        known.close()

    asyncio.run(run())
