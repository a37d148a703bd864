from __future__ import annotations

import importlib.metadata
import io
import json
from datetime import UTC, datetime

import pytest

from spyglass.export.ps_document import SCHEMA, write_processes
from spyglass.process_list import ProcessList
from spyglass.version import __version__


def test_the_version_is_known_where_the_package_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    stream = io.BytesIO()
    write_processes(ProcessList(datetime(2026, 11, 20, tzinfo=UTC), (), ()), stream)
    made = json.loads(stream.getvalue())
    assert (made["schema"], made["spyglass_version"]) == (SCHEMA, __version__)
