"""What became of the checks of a machine: printed and written as it comes, so that the next boot goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.vm.boot import Outcome

__all__ = ["Results"]


class Results:
    """The outcomes of a machine for one `state` of the code, in `path`. Those of another state are forgotten, and all
    of them if it is to begin `fresh`. `ended`: none failed, and none is left."""

    def __init__(self, path: Path, state: str, *, fresh: bool = False) -> None:
        self._path, self._state = path, state
        self.outcomes: list[Outcome] = []
        self.ended = False
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not fresh:
            document = json.loads(path.read_text())
            if document["state"] == state:
                self.ended = document["ended"]
                known = [Outcome(**each) for each in document["checks"]]
                self.outcomes = [each for each in known if each.result != "failed"]

    def done(self) -> list[str]:
        """The checks that need no other look."""
        return [each.check for each in self.outcomes]

    def failed(self) -> int:
        """How many failed."""
        return sum(each.result == "failed" for each in self.outcomes)

    def add(self, outcome: Outcome) -> None:
        """Keep and print an outcome."""
        self.outcomes.append(outcome)
        detail = f"  {outcome.detail}" if outcome.detail else ""
        print(f"  {outcome.result:7} {outcome.seconds:6.1f} s  {outcome.check}{detail}", flush=True)
        self._write()

    def end(self) -> None:
        """No check is left."""
        self.ended = not self.failed()
        self._write()

    def _write(self) -> None:
        document = {
            "state": self._state,
            "ended": self.ended,
            "checks": [asdict(each) for each in self.outcomes],
        }
        self._path.write_text(json.dumps(document, indent=1) + "\n")
