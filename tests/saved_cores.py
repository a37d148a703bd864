"""Small cores in fixtures/cores: programs of Go versions and processors that few machines have.

Each is a core as ``spyglass core`` makes it, the program with zeros in place of what nobody asks for,
what the program printed of itself, and the document that was made of it (``tests.make_cores``):

    NAME.core.gz  NAME.exe.gz  NAME.said.gz  NAME.json.gz
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spyglass.export.snapshot_document import document
from spyglass.model import Snapshot
from tests.traceback_text import TextGoroutine, goroutines_of_text

__all__ = ["FOLDER", "NAMES", "SavedCore", "lasting"]

FOLDER = Path(__file__).resolve().parent.parent / "fixtures" / "cores"
NAMES: list[str] = sorted(path.name.removesuffix(".core.gz") for path in FOLDER.glob("*.core.gz"))
#: What is different each time that a core is read, and from one spyglass to the next.
_OWN = ("took_ns", "timings_ns", "spyglass_version")
#: Fields that the documents of fixtures/cores do not have yet.
_LATER = ("chosen_from_system",)


@dataclass(frozen=True)
class SavedCore:
    """A core of fixtures/cores and its program, unpacked."""

    name: str
    core: Path
    exe: Path

    @classmethod
    def unpack(cls, name: str, folder: Path) -> SavedCore:
        """The files of core `name`, in `folder`."""
        for suffix in ("core", "exe"):
            (folder / f"{name}.{suffix}").write_bytes(_read(name, suffix))
        return cls(name, folder / f"{name}.core", folder / f"{name}.exe")

    @property
    def said(self) -> list[TextGoroutine]:
        """What the program printed of itself when it ended."""
        return goroutines_of_text(_read(self.name, "said").decode())

    @property
    def expected(self) -> Mapping[str, Any]:
        """The document that was made of it, as far as it lasts."""
        found: Mapping[str, Any] = json.loads(_read(self.name, "json"))
        return found


def _read(name: str, suffix: str) -> bytes:
    return gzip.decompress((FOLDER / f"{name}.{suffix}.gz").read_bytes())


def lasting(snapshot: Snapshot) -> dict[str, Any]:
    """The document of `snapshot`, as JSON has it, without what is different each time."""
    whole = {key: value for key, value in document(snapshot).items() if key not in _OWN + _LATER}
    made: dict[str, Any] = json.loads(json.dumps(whole))
    return made
