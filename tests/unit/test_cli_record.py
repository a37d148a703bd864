"""``spyglass record``: what it records, writes and says. The recording itself is made by hand."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from spyglass import cli
from spyglass.cli.record import _hindrance_lines
from spyglass.cli.recording import progress_text
from spyglass.errors import NotGoProgram, PermissionDenied, ProcessChanged
from spyglass.export.profile_reader import load_profile
from spyglass.formats import EXPORTERS, exporter
from spyglass.model import Snapshot
from spyglass.profile import Account, Profile
from tests.made_profiles import SHOP
from tests.profiles import decoded


@dataclass
class Now:
    elapsed_ns: int
    samples: int = 0
    coverage: float | None = None
    lost: int = 0
    behind_ns: int = 0


@dataclass
class FakeProcess:
    """A process, and the recording of it: `steps` were made, `during` is called in each."""

    profile: Profile = SHOP
    during: Callable[[], None] = lambda: None
    ends_after: int = 10**9
    steps: list[float] = field(default_factory=list)
    wanted: dict[str, Any] = field(default_factory=dict)
    closed: int = 0
    ended: str | None = None
    gone: bool = False

    def check(self) -> None:
        if self.gone:
            raise ProcessChanged("process 7 ended while it was read")

    def __enter__(self) -> FakeProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed += 1

    def watch(self) -> FakeProcess:
        return self

    def snapshot(self, *_: Any, **__: Any) -> Snapshot:
        raise ProcessChanged("process 7 has ended")

    def recording(self, **wanted: Any) -> FakeProcess:
        self.wanted = wanted
        return self

    def step(self, seconds: float) -> Now:
        self.steps.append(seconds)
        self.during()
        if len(self.steps) >= self.ends_after:
            self.ended = "process 7 has ended"
        return Now(len(self.steps))

    def finish(self) -> Profile:
        return replace(self.profile, account=replace(self.profile.account, ended=self.ended))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeProcess:
    """What `spyglass.attach` gives; the working directory is empty."""
    fake = FakeProcess()
    monkeypatch.setattr("spyglass.attach", lambda _pid: fake)
    monkeypatch.chdir(tmp_path)
    return fake


def run(*arguments: str) -> int:
    return cli.run(["record", *arguments])


def test_a_file_with_a_name_of_its_own(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--pid", str(os.getpid()), "-d", "10ms") == 0
    assert process.wanted == {"mode": "cpu", "rate_hz": 99.0}
    assert process.closed == 2
    said = capsys.readouterr()
    assert said.out == "prometheus-1234-20261120T062000Z-cpu.pb.gz\n"
    path = Path(said.out.strip())
    assert sum(decoded(path).samples.values()) == 1_000_000_001
    assert path.stat().st_mode & 0o777 == 0o600
    assert said.err.splitlines() == [
        "100 samples for 1.01 s of 1.02 s CPU time used (coverage 99.0 %)",
        "lost 2, throttled 1, cut stacks 0",
        "goroutine known for 90 of 96 samples on goroutines",
        "9 threads, 0 missed; spyglass used 0.04 s of CPU time",
        "warning: 2 samples lost; a lower --rate loses fewer",
    ]


@pytest.mark.parametrize(
    "each", [e for e in EXPORTERS if e.takes == "profile"], ids=lambda e: e.name
)
def test_the_extension_and_the_format_choose_what_is_written(
    process: FakeProcess, each: Any
) -> None:
    stream = io.BytesIO()
    each.write(SHOP, stream)
    for extension in each.extensions:
        assert run("1", "-d", "1ms", "-o", f"x{extension}") == 0
        assert Path(f"x{extension}").read_bytes() == stream.getvalue()
    assert run("1", "-d", "1ms", "-o", "any.thing", "--format", each.name) == 0
    assert Path("any.thing").read_bytes() == stream.getvalue()
    os.mkdir("folder")
    assert run("1", "-d", "1ms", "-o", "folder", "--format", each.name) == 0
    assert [path.name for path in Path("folder").iterdir()] == [
        f"prometheus-1234-20261120T062000Z-cpu{each.extensions[0]}"
    ]


def test_options_of_the_recording(process: FakeProcess) -> None:
    assert run("1", "-d", "1ms", "--mode", "wall", "-o", "x.json") == 0
    assert process.wanted == {"mode": "wall", "rate_hz": 10.0}
    assert run("1", "-d", "700ms", "--rate", "999", "-o", "x.json") == 0
    assert process.wanted == {"mode": "cpu", "rate_hz": 999.0}
    assert max(process.steps) <= 0.25
    assert run("1", "-d", "1ms", "--mode", "offcpu", "--max-cpu", "2.5%", "-o", "x.json") == 0
    assert process.wanted == {"mode": "offcpu", "rate_hz": 10.0, "max_cpu": 0.025}
    assert run("1", "-d", "1ms", "--native", "-o", "x.json") == 0
    assert process.wanted == {"mode": "cpu", "rate_hz": 99.0, "native": True}


def test_the_first_signal_ends_it_and_keeps_what_there_is(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        process.during = lambda number=number: os.kill(os.getpid(), number)  # type: ignore[misc]
        process.steps.clear()
        assert run("1", "-d", "1h", "-o", "x.json") == 0
        assert len(process.steps) == 1
        assert f"ended early: by {number.name}\n" in capsys.readouterr().err
        assert load_profile("x.json").account.ended == f"by {number.name}"
        assert signal.getsignal(number) is before


def test_a_second_signal_ends_spyglass(process: FakeProcess) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    process.during = twice
    assert run("1", "-d", "1h", "-o", "x.json") == 130
    assert not Path("x.json").exists()


def test_the_end_of_the_process_keeps_what_there_is(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    process.ends_after = 2
    assert run("1", "-d", "1h", "-o", "x.json") == 0
    assert len(process.steps) == 2
    assert "ended early: process 7 has ended\n" in capsys.readouterr().err


def test_a_program_is_started_and_recorded_until_it_ends(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    process.ends_after = 3
    code = "import sys; open('ran', 'w').write(' '.join(sys.argv[1:]))"
    process.during = lambda: None if Path("ran").exists() else time.sleep(1)
    assert run("-o", "x.json", "--", sys.executable, "-c", code, "--rate", "-o") == 0
    assert len(process.steps) == 3
    assert Path("ran").read_text() == "--rate -o"
    assert "recording began" in capsys.readouterr().err


def test_a_program_ends_when_the_time_is_over(process: FakeProcess) -> None:
    code = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (open('ended', 'w'), sys.exit()))\n"
        "open('pid', 'w').write(str(os.getpid())); time.sleep(100)"
    )
    process.during = lambda: time.sleep(0.05)
    assert run("-d", "2s", "-o", "x.json", "--", sys.executable, "-c", code) == 0
    pid = int(Path("pid").read_text())
    assert Path("ended").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_cannot_be_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_pid: int) -> None:
        raise NotGoProgram("there is no Go runtime in it")

    monkeypatch.setattr("spyglass.attach", refuse)
    monkeypatch.setattr("spyglass.cli.recording._START_SECONDS", 0.2)
    assert run("-o", "x.json", "--", "/no/such/program") == 1
    assert (
        capsys.readouterr().err
        == "spyglass: cannot start /no/such/program: No such file or directory\n"
    )
    assert run("-o", "x.json", "--", "sleep", "100") == 1
    assert capsys.readouterr().err == "spyglass: there is no Go runtime in it\n"
    assert run("-o", "x.json", "--", "false") == 1
    assert capsys.readouterr().err == "spyglass: the program ended at once, with status 1\n"


def test_a_refusal_of_the_kernel_is_one_line(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise PermissionDenied("perf events are not allowed", "see docs/permissions.md")

    process.during = refused
    assert run("1", "-o", "x.json") == 1
    line = "spyglass: perf events are not allowed. see docs/permissions.md\n"
    assert capsys.readouterr().err == line
    assert not Path("x.json").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "no target given; give a pid, a process name, or -- COMMAND"),
        (["--"], "no target given; give a pid, a process name, or -- COMMAND"),
        (["1", "--", "true"], "a target, -- COMMAND and --from are mutually exclusive"),
        (["1", "--from", "x.json"], "a target, -- COMMAND and --from are mutually exclusive"),
        (["--from", "x.json", "--rate", "9"], "--duration, --mode, --rate and --max-cpu cannot be"),
        (["x.json"], "record requires a process; --from converts a saved profile"),
        (["1", "-o", "x.txt"], "the extension of 'x.txt' is of no format (.pb.gz, .speedscope.json, .folded,"),
        (["1", "--rate", "1000"], "Invalid value for '--rate': 1000 is not in the range 1<=x<=999"),
        (["1", "--max-cpu", "5%"], "--max-cpu requires --mode wall or offcpu"),
        (["1", "--max-cpu", "much"], "Invalid value for '--max-cpu': 'much' is not a percentage such as 5%"),
        (["1", "--max-cpu", "0"], "Invalid value for '--max-cpu': '0' is not a percentage such as 5%"),
        (["1", "--max-cpu", "nan"], "Invalid value for '--max-cpu': 'nan' is not a percentage such as 5%"),
        (["1", "--mode", "heap"], "Invalid value for '--mode': 'heap' is not one of 'cpu', 'wall', 'offcpu'"),
        (["1", "-d", "0s"], "Invalid value for --duration: must be longer than 0s"),
        (["1", "-d", "soon"], "Invalid value for '-d' / '--duration': 'soon' is not a duration"),
        (["1", "--by", "label:"], "Invalid value for '--by': 'label:' is not goroutine, thread, state or"),
        (["1", "--redact", "--by", "label:a"], "--redact removes labels, so --by label:KEY has none"),
        (["1", "--count", "3"], "--count requires --every"),
        (["1", "--every", "9s"], "--every must not be shorter than --duration (default: 10s)"),
        (["1", "--every", "1m", "-d", "2m"], "--every must not be shorter than --duration"),
        (["1", "--every", "1m", "-o", "-"], "with --every, --output is a directory"),
        (["--from", "x.json", "--every", "1m"], "--every cannot be used with --from"),
        (["1", "--by", "state", "-o", "x.json"], "--by requires a format other than json, which has all"),
    ],
)  # fmt: skip
def test_wrong_usage(
    process: FakeProcess, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr().err.startswith(f"spyglass: {line}")
    assert process.steps == []


SERIES = ("1", "-d", "1ms", "--every", "50ms")
NAME = "prometheus-1234-20261120T062000Z-cpu.pb.gz"


def test_a_series_is_a_directory_of_profiles(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SERIES, "--count", "3", "-o", "series") == 0
    files = [f"000{number}-{NAME}" for number in (1, 2, 3)]
    assert sorted(os.listdir("series")) == files
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"series/{name}" for name in files]
    assert "3 profiles in series" in said.err.splitlines()[-1]
    assert Path("series").stat().st_mode & 0o777 == 0o700
    assert (Path("series") / files[0]).stat().st_mode & 0o777 == 0o600
    assert run(*SERIES, "--count", "1", "--format", "folded", "--redact") == 0
    assert capsys.readouterr().out == f"{NAME[:-6]}/0001-{NAME[:-6]}.folded\n"
    Path("x.json").touch()
    assert run(*SERIES, "-o", "x.json") == 2
    assert "with --every, --output is a directory" in capsys.readouterr().err


def test_a_series_ends_with_the_process(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_later() -> None:
        if Path("series").exists():
            process.ended = "process 7 has ended"

    process.during = end_later
    # Long enough for the second not to be late, where the host has other work.
    assert run("1", "-d", "1ms", "--every", "1s", "-o", "series") == 0
    assert len(os.listdir("series")) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "2 profiles in series; ended early: process 7 has ended"


def test_a_series_ends_when_the_process_does_between_two_recordings(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    process.during = lambda: setattr(process, "gone", True)
    assert run("1", "-d", "1ms", "--every", "1h", "-o", "series") == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "1 profile in series; ended early: process 7 ended while it was read"


def test_a_signal_ends_a_series(process: FakeProcess, capsys: pytest.CaptureFixture[str]) -> None:
    process.during = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert run("1", "-d", "1s", "--every", "1h", "-o", "series") == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "1 profile in series; ended early: by SIGINT"


def test_a_series_goes_on_where_no_sample_matches(
    process: FakeProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SERIES, "--count", "2", "-o", "series", "--function", "nothing") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("profile 1: no sample matches the filters\nprofile 2: ")
    assert said.err.splitlines()[-1].startswith("0 profiles")
    assert not Path("series").exists()


def test_what_cannot_be_written_is_refused_before_recording(
    process: FakeProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("1", "-o", "missing/x.json") == 1
    assert capsys.readouterr().err == "spyglass: No such file or directory. missing\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run("1", "-o", "-") == 2
    assert "refusing to write a binary file to a terminal" in capsys.readouterr().err
    assert process.steps == []


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cpu.json"
    with path.open("wb") as stream:
        exporter("profile", "json").write(SHOP, stream)
    return path


def test_a_saved_profile_is_converted(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", str(saved), "-o", "x.folded", "--by", "label:tenant") == 0
    assert capsys.readouterr().out == "x.folded\n"
    lines = Path("x.folded").read_text().splitlines()
    assert lines[0].startswith("tenant=blue;main.main;")
    assert run("--from", str(saved), "--format", "folded", "-o", "-", "--threads") == 0
    assert capsys.readouterr().out.startswith("thread 11;main.main;")
    assert run("--from", "none.json") == 1
    assert capsys.readouterr().err == "spyglass: no such file: none.json\n"
    Path("x.json").write_text('{"schema":"spyglass.snapshot/1"}')
    assert run("--from", "x.json") == 1
    assert (
        "x.json: it is not a spyglass.profile/1. `spyglass record` saves" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("filters", "total_ns", "count"),
    [
        (["--goroutine", "8"], 350_000_000, 35),
        (["--label", "tenant=red"], 350_000_000, 35),
        (["--function", r"sha256\.block"], 440_000_000, 44),
        (["--function", "serve", "--label", "tenant=blue"], 400_000_000, 40),
        (["--state", "G0", "--state", "c"], 150_000_001, 15),
    ],
)
def test_filters(
    saved: Path, capsys: pytest.CaptureFixture[str], filters: list[str], total_ns: int, count: int
) -> None:
    assert run("--from", str(saved), "-o", "some.json", *filters) == 0
    assert f"filtered: {count} of 100 samples match\n" in capsys.readouterr().err
    some = load_profile("some.json")
    assert (int(some.samples.value_ns.sum()), some.chosen_from) == (total_ns, 100)
    used = {frame.function for row in some.samples.stack.tolist() for frame in some.stack(row)}
    assert {frame.function for frame in some.frames} == used
    assert run("--from", "some.json", "-o", "again.json", *filters) == 0
    assert load_profile("again.json").chosen_from == 100


def test_a_filter_that_matches_nothing(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", str(saved), "-o", "x.svg", "--function", "nothing") == 1
    assert capsys.readouterr().err == "spyglass: no sample matches the filters\n"
    assert not Path("x.svg").exists()


def test_redact_removes_what_is_private(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", str(saved), "-o", "x.json", "--redact", "--label", "tenant=red") == 0
    text = Path("x.json").read_text()
    for private in ("--config.file", "tenant", "/usr/bin", "/src/", "/go/"):
        assert private in saved.read_text()
        assert private not in text
    assert int(load_profile("x.json").samples.value_ns.sum()) == 350_000_000
    capsys.readouterr()
    assert run("--from", str(saved), "--redact") == 0
    assert capsys.readouterr().out == "prometheus-1234-20261120T062000Z-cpu.pb.gz\n"


def test_the_progress_line() -> None:
    now = Now(4_300_000_000, 396, 0.993, 2)
    assert progress_text(now, 10) == "4 of 10 s  396 samples  coverage 99 %  lost 2"
    few = replace(now, samples=3, coverage=1.6)  # the coverage of so few says nothing
    assert progress_text(few, 10) == "4 of 10 s  3 samples  lost 2"
    late = replace(now, coverage=None, behind_ns=3 * 10**9)
    assert progress_text(late, None) == "4 s  396 samples  lost 2  behind 3 s"


@pytest.mark.parametrize(
    ("hindrances", "stopped_ns", "lines"),
    [
        ([], None, ["nothing hindered goroutines from running"]),
        ([], 1, []),
        (["6 threads are in read"], 1, ["6 threads are in read"]),
        (None, None, []),
    ],
)
def test_of_a_process_that_was_stopped_it_is_not_said_that_nothing_hindered_it(
    hindrances: list[str] | None, stopped_ns: int | None, lines: list[str]
) -> None:
    assert _hindrance_lines(hindrances, Account(stopped_ns=stopped_ns)) == lines
