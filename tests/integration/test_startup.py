"""What spyglass touches when it starts and runs: nothing that another user could have put there, and no network.

An audit hook (PEP 578) sees what Python opens, connects and executes; what C libraries do by themselves it does not see.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import GoProcess, in_ends

pytestmark = pytest.mark.live

#: Run in a process of its own: argument 1 is the file for the events, 2 a list of command lines.
RECORDER = """
import json, os, sys

events, results = [], []
WATCHED = ("open", "socket.", "subprocess.", "os.", "ctypes.dlopen", "urllib.", "shutil.", "tempfile.", "ftplib.", "http.")

def note(name, arguments):
    if recording and name.startswith(WATCHED):
        events.append([name, [os.fsdecode(each) if isinstance(each, (str, bytes, os.PathLike)) else repr(each) for each in arguments]])

recording = False
target, commands = sys.argv[1], json.loads(sys.argv[2])
sys.addaudithook(note)
recording = True
from spyglass.__main__ import main
for command in commands:
    sys.argv = ["spyglass", *command]
    results.append(main())
recording = False
with open(target, "w") as stream:
    json.dump({"events": events, "results": results, "path": sys.path}, stream)
"""
#: What would be executed or imported if spyglass looked into the current directory, PATH or PYTHONPATH.
MODULES = ("spyglass", "numpy", "click", "json", "sitecustomize", "usercustomize", "capstone")
PROGRAMS = (
    "go",
    "sh",
    "nm",
    "objdump",
    "ldconfig",
    "gcc",
    "ld",
    "git",
    "uname",
    "sudo",
    "lsb_release",
    "stty",
)
#: Names in folders of /proc that are open (openat(2)), and descriptors.
WITHIN_PROC = re.compile(r"\d+(/\w+)*|-?\d+")
TRAP = "import os; open({marker!r}, 'a').write(__file__ + '\\n')\n"


@dataclass(frozen=True)
class Traps:
    """A folder in which everything is a trap, the environment that names it, and the file that traps write to."""

    folder: Path
    environment: dict[str, str]
    marker: Path

    @property
    def sprung(self) -> str:
        return self.marker.read_text() if self.marker.exists() else ""


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Traps:
    folder = tmp_path_factory.mktemp("traps")
    marker = tmp_path_factory.mktemp("marker") / "sprung"
    for module in MODULES:
        (folder / f"{module}.py").write_text(TRAP.format(marker=str(marker)))
    for program in PROGRAMS:
        (folder / program).write_text(f"#!/bin/sh\necho $0 >> {marker}\n")
        (folder / program).chmod(0o755)
    (folder / "pyvenv.cfg").write_text("home = .\n")
    names = ("HOME", "TMPDIR", "PYTHONPATH", "PYTHONSTARTUP", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")  # fmt: skip
    environment = {name: str(folder) for name in names}
    environment |= {"PATH": str(folder), "LD_LIBRARY_PATH": str(folder), "LC_ALL": "C.UTF-8"}
    return Traps(folder, environment, marker)


@pytest.fixture(scope="module")
def recorded(
    traps: Traps, truth_process: GoProcess, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What happened while commands ran, in the folder of traps, with outputs in a folder of their own."""
    outputs = tmp_path_factory.mktemp("outputs")
    pid, saved = str(truth_process.pid), str(outputs / "saved.json.gz")
    commands = [
        ["ps"], ["summary", pid], ["dump", pid], ["waits", pid], ["memory", pid], ["top", pid, "--count", "1"],
        ["snapshot", pid, "-o", saved], ["report", pid, "-o", str(outputs / "report.html")], ["diff", saved, pid],
        ["doctor", "--pid", pid],
    ]  # fmt: skip
    events = outputs / "events.json"
    # -B: Python's own compiled files lie beside the source, and are none of spyglass's.
    command = [sys.executable, "-I", "-B", "-c", RECORDER, str(events), json.dumps(commands)]
    done = subprocess.run(
        command, cwd=traps.folder, env=traps.environment, capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(events.read_text())
    assert found["results"][:-1] == [0] * (len(commands) - 1), done.stderr
    return {**found, "outputs": outputs}


def of(recorded: dict[str, Any], *names: str) -> list[list[str]]:
    return [arguments for name, arguments in recorded["events"] if name.startswith(names)]


@in_ends
def test_no_network(recorded: dict[str, Any]) -> None:
    assert of(recorded, "socket.", "urllib.", "http.", "ftplib.") == []


@in_ends
def test_no_other_program_is_executed(recorded: dict[str, Any], traps: Traps) -> None:
    assert (
        of(recorded, "subprocess.", "os.exec", "os.posix_spawn", "os.system", "os.startfile") == []
    )
    assert traps.sprung == ""


@in_ends
def test_nothing_is_written_but_what_was_asked_for(recorded: dict[str, Any]) -> None:
    outputs = str(recorded["outputs"])
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    opened = [path for path, _, flags in of(recorded, "open") if int(flags or 0) & writing]
    assert {
        path for path in opened if not path.startswith(outputs) and not path.isdecimal()
    } == set()
    changed = of(recorded, "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "shutil.", "tempfile.")  # fmt: skip
    elsewhere = [words for words in changed if not any(outputs in each for each in words)]
    # A file without a name gets one in the folder that is open.
    assert [words for words in elsewhere if not words[1].startswith((".saved.", ".report."))] == []
    assert any(path.startswith(outputs) for path in opened)


@in_ends
def test_nothing_is_read_where_another_user_may_have_put_it(
    recorded: dict[str, Any], traps: Traps
) -> None:
    opened = [path for path, *_ in of(recorded, "open", "os.listdir", "os.scandir")]
    assert [path for path in opened if path.startswith(str(traps.folder))] == []
    relative = {path for path in opened if not path.startswith("/")}
    assert {path for path in relative if not WITHIN_PROC.fullmatch(path)} == set()


@in_ends
def test_libraries_are_loaded_by_whole_paths(recorded: dict[str, Any]) -> None:
    names = {name for (name,) in of(recorded, "ctypes.dlopen")}
    assert {name for name in names if name != "None" and not os.path.isabs(name)} == set()
    assert "" not in recorded["path"]


@pytest.mark.parametrize("way", ["script", "python -I"])
def test_the_current_directory_is_not_searched(way: str, traps: Traps) -> None:
    script = Path(sysconfig.get_path("scripts"), "spyglass")
    if way == "script" and not script.exists():
        pytest.skip("spyglass is not installed as a command")
    command = [str(script)] if way == "script" else [sys.executable, "-I", "-m", "spyglass"]
    environment = {k: v for k, v in traps.environment.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [*command, "ps", "--help"], cwd=traps.folder, env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert (done.returncode, "List the Go processes" in done.stdout) == (0, True), done.stderr
    assert traps.sprung == ""
