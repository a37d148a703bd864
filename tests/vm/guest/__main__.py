"""Run the checks of this machine, and print what became of each for `tests.vm.boot`."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from tests.vm.boot import MARK
from tests.vm.guest.machine import SETTINGS

_HERE = Path(__file__).parent
_MAX_DETAIL = 600


class _Reporter:
    """Leaves out checks whose outcome is known, and prints that of each other on a line of its own."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if _name(item.nodeid) not in SETTINGS["done"]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            notes = [str(text) for name, text in report.user_properties if name == "note"]
            detail = "; ".join(notes) if report.passed else _why(report)
            _print(
                check=_name(report.nodeid),
                result=report.outcome,
                seconds=report.duration,
                detail=detail[-_MAX_DETAIL:],
            )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            _print(check=report.nodeid, result="failed", seconds=0.0, detail=_why(report))


def _name(nodeid: str) -> str:
    """ "commands: test_waits[1.27]" of the node id of pytest."""
    return nodeid.rpartition("/")[2].removeprefix("check_").replace(".py::", ": ")


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    text = str(report.longrepr)
    return (
        " | ".join(line for line in text.splitlines() if line.startswith("E "))
        or text[-_MAX_DETAIL:]
    )


def _print(**found: object) -> None:
    print(f"\n{MARK}{json.dumps(found)}", flush=True)


def main() -> None:
    """Run them all."""
    print(f"{platform.release()} {platform.machine()}", flush=True)
    files = [str(_HERE / f"check_{name}.py") for name in SETTINGS["checks"]]
    options = [
        "-q",
        "--color=no",
        "-k",
        SETTINGS["only"],
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        f"--confcutdir={_HERE}",
        "-s",
    ]
    pytest.main(
        [*options, "-o", "python_files=check_*.py", "--rootdir=/repository", *files], [_Reporter()]
    )
    _print(end=True)


if __name__ == "__main__":
    main()
