"""Real processes saved, loaded again and compared, as a user does it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import spyglass
from spyglass.analysis.redaction import redacted
from spyglass.export.snapshot_file import save
from spyglass.model import Snapshot
from tests.agreement import disagreements
from tests.command import ESCAPES, SPYGLASS, on_terminal, piped, started
from tests.saved import differences
from tests.support import NEWEST, Flavour, GoProcess, in_ends, start

pytestmark = [pytest.mark.live, pytest.mark.go]

SCHEMA = json.loads(files("spyglass.export").joinpath("diff.schema.json").read_text())


def look(pid: int) -> Snapshot:
    with spyglass.attach(pid) as program:
        return program.snapshot()


@pytest.fixture
def leaking(minor: str) -> Iterator[GoProcess]:
    with start("leak", minor) as process:
        yield process


# What is saved is all of it.


@in_ends
@pytest.mark.parametrize("program", ["truth", "churn", "demo", "labels", "leak"])
def test_what_is_saved_of_a_program_is_loaded(minor: str, program: str, tmp_path: Path) -> None:
    with start(program, minor, Flavour.STRIPPED) as process:
        taken = look(process.pid)
    for suffix in (".json", ".json.gz", ".json.zst"):
        save(taken, tmp_path / f"x{suffix}")
        assert differences(spyglass.load(tmp_path / f"x{suffix}"), taken) == []
    save(redacted(taken), tmp_path / "redacted.json")
    assert differences(spyglass.load(tmp_path / "redacted.json"), redacted(taken)) == []
    assert len(taken.goroutines) > 5


@in_ends
def test_a_saved_snapshot_agrees_with_what_the_program_says(minor: str, tmp_path: Path) -> None:
    with start("truth", minor) as process:
        truth = process.truth()
        done = piped("snapshot", "-p", str(process.pid), "-o", str(tmp_path / "x.json.gz"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'x.json.gz'}\n")
    assert re.fullmatch(
        r"[\d,]+ \(\+\d+ runtime\) goroutines: .* 0 unreadable; read in .*\n", done.stderr
    )
    loaded = spyglass.load(tmp_path / "x.json.gz")
    assert disagreements(loaded, truth.goroutines, moving=[1]) == []
    assert loaded.host == os.uname().nodename
    assert stat.S_IMODE((tmp_path / "x.json.gz").stat().st_mode) == 0o600


@in_ends
@pytest.mark.slow
def test_a_file_is_shown_as_the_process_was(minor: str, tmp_path: Path) -> None:
    file = str(tmp_path / "x.json.gz")
    with start("truth", minor) as process:
        process.truth()
        pid = str(process.pid)
        time.sleep(1.5)  # waits for locks are findings from a second on: both are to see them
        live = {
            command: piped(*command, "-p", pid).stdout
            for command in (("dump",), ("dump", "--group=state"), ("summary", "--list"))
        }
        assert piped("snapshot", "-p", pid, "-o", file).returncode == 0
    for command, shown in live.items():
        saved = piped(*command, file)
        assert saved.returncode == 0
        # The next command of a finding names what was looked at.
        of_the_process = saved.stdout.replace(f" {file} ", f" --pid {pid} ")
        assert without_times(of_the_process) == without_times(shown)
    assert piped("summary", file).stdout.startswith(f"saved      {file}  taken 20")


def test_findings_of_a_file_are_those_of_the_process(tmp_path: Path) -> None:
    """Of a program whose goroutines wait for channels: who holds a lock a summary of a process has less time to
    find."""
    file = str(tmp_path / "x.json.gz")
    with start("incident", NEWEST, Flavour.STRIPPED, "leak") as process:
        pid = str(process.pid)
        live = findings_of(piped("summary", "-p", pid).stdout)
        assert piped("snapshot", "-p", pid, "-o", file).returncode == 0
    saved = findings_of(piped("summary", file).stdout)
    assert "chan send at main.quote" in live[0]
    assert [line.replace(file, f"--pid {pid}") for line in saved] == live


def findings_of(text: str) -> list[str]:
    """The lines of findings, with "#" for times."""
    lines = [line for line in text.splitlines() if not line.startswith("saved ")]
    names = [line.partition(" ")[0] for line in lines]
    return [re.sub(r">= [^)]+", ">= #", line) for line in lines[: names.index("program")]]


def without_times(text: str) -> list[list[str]]:
    """What stays the same from one look to the next: every line, word for word, but for findings and the one that
    names the file, and with "#" for times and for what the scheduler counts. Of the line of wait reasons
    the items, because equally frequent ones are in no certain order; of the processor not what is used now, which a
    command that takes too short a time does not say."""
    # Findings come first: of a process a summary has less time to find who holds a lock.
    first = re.search(r"^program ", text, re.MULTILINE)
    lines = text[first.start() if first else 0 :].splitlines()
    plain = [re.sub(r"\b\d+(\.\d+)?(s|m|ms|us)?\b( ago)?", "#", line) for line in lines]
    split = [re.split(" {2,}", line) for line in plain]
    split = [[item for item in items if not item.startswith("now # of")] for items in split]
    return [sorted(items) if items[0] == "waiting" else items for items in split]


def test_redacted_it_says_nothing_of_where_it_ran(tmp_path: Path) -> None:
    with start("demo") as process:
        exe = Path(os.readlink(f"/proc/{process.pid}/exe"))
        assert (
            piped(
                "snapshot", "-p", str(process.pid), "--redact", "-o", str(tmp_path / "x.json")
            ).returncode
            == 0
        )
    text = (tmp_path / "x.json").read_text()
    made = json.loads(text)
    assert (made["redacted"], made["host"], made["process"]["cmdline"]) == (True, None, [])
    assert made["process"]["exe"] == exe.name
    assert str(exe.parent) not in text
    assert "archive" not in text  # the value of a label
    assert not re.search(r'"file":"/', text)
    names = {frame["file"] for frame in made["frames"]}
    assert {"demo.go", "runtime/proc.go", "net/http/server.go"} <= names


def test_a_name_is_made_where_none_is_given(tmp_path: Path) -> None:
    with start("park", NEWEST, Flavour.EXE, "-n", "10") as process:
        for output in ([], ["-o", str(tmp_path / "in")]):
            (tmp_path / "in").mkdir(exist_ok=True)
            done = subprocess.run(
                [*SPYGLASS, "snapshot", "-p", str(process.pid), *output],
                cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            path = tmp_path / done.stdout.rstrip("\n")
            assert re.fullmatch(rf"park-.*-{process.pid}-\d{{8}}T\d{{6}}Z\.json\.gz", path.name), (
                path.name
            )
            assert path.parent == (tmp_path / "in" if output else tmp_path)
            assert len(spyglass.load(path).goroutines) > 10


def test_standard_output(tmp_path: Path) -> None:
    with start("park", NEWEST, Flavour.EXE, "-n", "10") as process:
        command = [*SPYGLASS, "snapshot", "-p", str(process.pid), "-o", "-"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    (tmp_path / "x").write_bytes(done.stdout)
    assert len(spyglass.load(tmp_path / "x").goroutines) > 10
    shown = subprocess.run(
        [*SPYGLASS, "summary", "-"], input=done.stdout, capture_output=True, check=True, timeout=60
    )
    assert shown.stdout.startswith(b"saved      <stdin>  taken 20")


# Whatever goes wrong leaves no broken file.


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with start("park", NEWEST, Flavour.EXE, "-n", "2000") as process:
        done = subprocess.run(
            [*SPYGLASS, "snapshot", "-p", str(process.pid), "-o", str(tmp_path / "x.json.gz")],
            preexec_fn=limit, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"spyglass: File too large. {tmp_path / 'x.json.gz'}\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_process_that_dies_leaves_nothing(tmp_path: Path) -> None:
    """Killed at different moments while it is read: all or nothing, and one line that says so."""
    output, failed = tmp_path / "x.json.gz", 0
    for delay in (0.05, 0.2, 0.3, 0.4, 0.5):
        with start("park", NEWEST, Flavour.EXE, "-n", "50000") as process:
            command = [*SPYGLASS, "snapshot", "-p", str(process.pid), "-o", str(output)]
            with subprocess.Popen(
                command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            ) as reader:
                time.sleep(delay)
                os.kill(process.pid, signal.SIGKILL)
                _, complaint = reader.communicate(timeout=60)
        if reader.returncode == 0:
            assert len(spyglass.load(output).goroutines) > 50000
            output.unlink()
        else:
            failed += 1
            assert complaint.count(b"\n") == 1, complaint
            assert complaint.startswith(b"spyglass: "), complaint
        assert os.listdir(tmp_path) == []
    assert failed


def test_an_interrupt_leaves_nothing_but_what_was_saved(tmp_path: Path) -> None:
    with start("park", NEWEST, Flavour.EXE, "-n", "100") as process:
        command = [
            *SPYGLASS, "snapshot", "-p", str(process.pid), "--every", "100ms", "-o", str(tmp_path / "s"),
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout
            for _ in range(3):
                reader.stdout.readline()
            reader.send_signal(signal.SIGINT)
            _, told = reader.communicate(timeout=60)
    assert reader.returncode == 130
    saved = sorted((tmp_path / "s").iterdir())
    assert len(saved) >= 3
    assert told.startswith(f"{len(saved)} snapshots in {tmp_path / 's'}")
    for path in saved:
        assert len(spyglass.load(path).goroutines) > 100


# A series.


def test_a_series(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    with start("park", NEWEST, Flavour.EXE, "-n", "100") as process:
        arguments = ["snapshot", "-p", str(process.pid), "-o", str(folder)]
        done = piped(*arguments, "--every", "400ms", "--count", "3")
        late = piped(*arguments, "--every", "1us", "--count", "3", "--redact")
    assert (done.returncode, late.returncode) == (0, 0)
    assert done.stderr.partition(",")[0].strip() == f"3 snapshots in {folder}"
    assert late.stderr == f"3 snapshots in {folder}, 2 late\n"
    was_late = "late" in done.stderr  # where other programs use the processors
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    loaded = [spyglass.load(path) for path in done.stdout.splitlines()]
    gaps = [
        (later.taken_at - earlier.taken_at).total_seconds() for earlier, later in pairwise(loaded)
    ]
    assert was_late or all(0.25 < gap < 0.8 for gap in gaps), gaps
    windows = [
        (snapshot.cpu.window_ns or 0) / 1e9 for snapshot in loaded if snapshot.cpu is not None
    ]
    assert len(windows) == 3
    assert windows[1:] == pytest.approx(gaps, abs=0.2)  # each since the one before
    assert [spyglass.load(path).redacted for path in late.stdout.splitlines()] == [True] * 3
    assert [Path(line).name[:5] for line in done.stdout.splitlines()] == ["0001-", "0002-", "0003-"]


def test_a_series_of_a_process_that_ends(tmp_path: Path) -> None:
    with start("park", NEWEST, Flavour.EXE, "-n", "100") as process:
        command = [
            *SPYGLASS,
            "snapshot",
            "-p",
            str(process.pid),
            "--every",
            "200ms",
            "--count",
            "99",
        ]
        with subprocess.Popen(
            [*command, "-o", str(tmp_path / "s")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as reader:  # fmt: skip
            assert reader.stdout
            reader.stdout.readline()
            process.end()
            _, told = reader.communicate(timeout=60)
    assert reader.returncode == 1
    count, failure = told.splitlines()
    saved = list((tmp_path / "s").iterdir())
    assert count.startswith(f"{len(saved)} snapshot")
    assert failure.startswith("spyglass: ")
    for path in saved:
        assert len(spyglass.load(path).goroutines) > 100


def test_a_series_has_a_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    with start("park", NEWEST, Flavour.EXE, "-n", "10") as process:
        shown = on_terminal(
            "snapshot", "-p", str(process.pid), "--every", "50ms", "--count", "4",
            "-o", str(tmp_path / "s"), width=200, height=24,
        )  # fmt: skip
    assert "4/4" in shown
    text = ESCAPES.sub("", shown)
    assert f"4 snapshots in {tmp_path / 's'}" in text
    assert sum(str(path) in text for path in (tmp_path / "s").iterdir()) == 4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-p", "1", "--count", "3"], "--count requires --every."),
        (["-p", "1", "-o", "x.html"], "use `spyglass report` to write a page."),
        (["x.json", "--every", "1s"], "--every requires a process."),
        (["-p", "1", "--every", "0s"], "--every must be longer than 0s."),
        (["-p", "1", "--every", "1s", "-o", "-"], "with --every, --output is a directory."),
        (["-p", "1", "--every", "often"], "Invalid value for '--every': 'often' is not a duration"),
    ],
)
def test_wrong_usage(arguments: list[str], line: str) -> None:
    done = piped("snapshot", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"spyglass: {line}")


# A leak is found.


@in_ends
def test_the_leak_is_found(leaking: GoProcess, tmp_path: Path) -> None:
    one, two = str(tmp_path / "one.json.gz"), str(tmp_path / "two.json.gz")
    pid = str(leaking.pid)
    leaking.ask("leak 10")
    leaking.ask("gc")
    assert piped("snapshot", "-p", pid, "-o", one).returncode == 0
    before = {g.id: g for g in leaking.truth().goroutines}
    assert leaking.ask("leak 40") == "leaked"
    assert leaking.ask("retire 3") == "retired"
    after = {g.id: g for g in leaking.truth().goroutines}
    assert piped("snapshot", "-p", pid, "-o", two).returncode == 0
    done = started("diff", one, two, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    Draft202012Validator(SCHEMA).validate(found)

    goroutines = found["goroutines"]
    assert set(goroutines["born"]) == after.keys() - before.keys()
    assert set(goroutines["gone"]) == before.keys() - after.keys()
    assert goroutines["counts"] == [len(before), len(after)]
    assert goroutines["difference"] == 40
    stuck = {each["id"] for each in goroutines["stuck"]} | {1}  # it read our commands in between
    assert stuck == before.keys() & after.keys()

    creator, stack = found["by_creator"][0], found["by_stack"][0]
    assert creator["created_by"]["function"] == "main.quoteShipping"
    assert (creator["counts"], creator["born"], creator["stuck"]) == ([10, 50], 40, 10)
    assert [place["function"] for place in stack["stack"]] == ["main.askCarrier"]
    assert (stack["counts"], stack["gone"]) == ([10, 50], 0)
    minutes = found["elapsed_ns"] / 60e9
    assert stack["per_minute"] == pytest.approx(40 / minutes)
    packers = next(each for each in found["by_stack"] if each["where"]["function"] == "main.pack")
    assert (packers["counts"], packers["born"], packers["gone"], packers["stuck"]) == (
        [8, 8],
        3,
        3,
        5,
    )


@in_ends
def test_the_leak_is_shown_against_the_process_itself(leaking: GoProcess, tmp_path: Path) -> None:
    file, pid = str(tmp_path / "before.json.gz"), str(leaking.pid)
    assert piped("snapshot", "-p", pid, "-o", file).returncode == 0
    leaking.ask("leak 25")
    done = piped("diff", file, "-p", pid, "--fail-on", "growth>20")
    assert done.returncode == 3
    assert done.stderr == "growth>20: creator main.quoteShipping grew by 25 goroutines\n"
    assert "change +25 " in done.stdout
    first = done.stdout[done.stdout.index("\n+25 ") :].splitlines()
    assert first[2].strip() == "main.askCarrier"
    assert piped("diff", file, "-p", pid, "--fail-on", "growth>25").returncode == 0


@in_ends
def test_waits_before_the_first_look_count(leaking: GoProcess) -> None:
    from spyglass.analysis.snapshot_diff import difference

    leaking.ask("leak 5")
    leaking.ask("gc")
    time.sleep(1.2)
    before = look(leaking.pid)
    time.sleep(0.5)
    found = difference([before, look(leaking.pid)])
    leak = next(
        each
        for each in found.by_stack
        if each.snapshot.goroutine(each.row).where.function == "main.askCarrier"  # type: ignore[union-attr]
    )
    assert leak.stuck == 5
    assert leak.longest_stuck_ns is not None
    assert found.elapsed_ns < 1.5e9 < leak.longest_stuck_ns


@in_ends
def test_a_restarted_program_is_compared_by_groups(minor: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path, number in zip(paths, (5, 9), strict=True):
        with start("leak", minor) as process:
            process.ask(f"leak {number}")
            assert piped("snapshot", "-p", str(process.pid), "-o", path).returncode == 0
    done = piped("diff", *paths, "--json")
    found = json.loads(done.stdout)
    assert found["goroutines"]["born"] is None
    assert found["by_creator"][0]["counts"] == [5, 9]
    assert found["by_creator"][0]["stuck"] is None
    assert len(found["doubts"]) == 1
    assert found["doubts"][0].startswith("they are of two processes, ")
