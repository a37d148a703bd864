"""The page at /: style, script and the elements that are always there, in one HTML file without data."""

from __future__ import annotations

from functools import lru_cache

from starlette.responses import Response

from spyglass.report.template import asset, filled, policy
from spyglass.version import __version__

__all__ = ["page"]

_HERE = "spyglass.serve"
#: The parts of its script that reports have, too; each depends on those before it.
_SHARED = (
    "words.js", "data.js", "selection.js", "table.js", "charts.js", "waits.js", "groups.js", "details.js", "flame.js",
    "goroutines.js", "lists.js", "theme.js", "profile.js", "sites.js",
)  # fmt: skip
_OWN = (
    "requests.js", "build.js", "figures.js", "feed.js", "jobs.js", "hosts.js", "live.js", "parts.js", "profiles.js",
    "keys.js", "page.js",
)  # fmt: skip


def page(status: int = 200) -> Response:
    """The page. It has nothing of any process: its script asks for that, with the cookie."""
    text, rules = _page()
    headers = {"content-security-policy": rules}
    return Response(text, status, headers, "text/html; charset=utf-8")


@lru_cache(1)
def _page() -> tuple[bytes, str]:
    """The page, and its Content-Security-Policy: it asks this server alone, and nothing else runs than its own script."""
    style = asset("page.css") + asset("serve.css", _HERE)
    script = "".join([*map(asset, _SHARED), *(asset(name, _HERE) for name in _OWN)])
    contents = {"style": lambda: style, "script": lambda: script, "version": lambda: __version__}
    text = "".join(filled("page.html", contents, _HERE))
    return text.encode(), policy(style, script, "'self'") + "; frame-ancestors 'none'"
