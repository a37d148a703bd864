"""Alerts and the dashboard that come along, looked at with Debian's promtool and as files."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.prometheus import promtool

PLACE = Path(__file__).parents[2] / "docs" / "prometheus"


def test_alerts_fire_for_trouble_and_not_for_calm_programs() -> None:
    for command in (("check", "rules", "rules.yml"), ("test", "rules", "rules.test.yml")):
        done = subprocess.run([promtool(), *command], cwd=PLACE, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    alerts = re.findall(r"- alert: (\w+)", (PLACE / "rules.yml").read_text())
    tried = re.findall(r"alertname: (\w+)", (PLACE / "rules.test.yml").read_text())
    assert alerts == tried
    assert len(alerts) == len(set(alerts)) >= 10


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((PLACE / "dashboard.json").read_text())
    known = {each["name"] for each in dashboard["templating"]["list"]} | {
        "__rate_interval",
        "__all",
    }
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
