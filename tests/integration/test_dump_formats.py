"""``dump --format``: profiles for go tool pprof and folded stacks, compared with what Go itself says."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import piped
from tests.finished import running as finished
from tests.go_tool_pprof import go_tool_pprof
from tests.profiles import Profile, Sample, decoded
from tests.support import GoProcess, start

pytestmark = [pytest.mark.go, pytest.mark.live]

#: What waits for a mutex, up to Go 1.19 and since.
LOCKS = ["--state", "semacquire", "--state", "mutex"]
OURS = {"goroutine_state", "wait_reason", "wait_at_least", "goroutine_quality"}


@pytest.fixture(scope="module")
def process(minor: str) -> Iterator[GoProcess]:
    with start("profile", minor) as started:
        yield started


def dump(process: GoProcess, path: Path, *arguments: str) -> Path:
    done = piped("dump", str(process.pid), "-o", str(path), *arguments)
    assert (done.returncode, done.stdout) == (0, f"{path}\n"), done.stderr
    return path


def go_profile(process: GoProcess, tmp_path: Path) -> Profile:
    """The profile that the program makes of itself."""
    path = tmp_path / "go.pb.gz"
    assert process.ask(f"profile {path}") == "written"
    return decoded(path)


def parked(profile: Profile, with_labels: bool) -> Counter[Sample]:
    """The samples of goroutines that park, without our own labels. Addresses are left out: the rest of a
    location is what Go knows of one."""
    found: Counter[Sample] = Counter()
    for sample, count in profile.samples.items():
        if "main.main" not in sample.functions:
            labels = (each for each in sample.labels if each[0] not in OURS)
            found[Sample(sample.locations, tuple(labels) if with_labels else ())] += count
    return found


@pytest.mark.matrix
def test_the_profile_is_that_of_the_program(process: GoProcess, minor: str, tmp_path: Path) -> None:
    ours = decoded(dump(process, tmp_path / "ours.pb.gz"))
    gos = go_profile(process, tmp_path)
    has_labels = int(minor.partition(".")[2]) >= 16  # Go 1.15's goroutine profile has none
    assert ours.kinds == gos.kinds == ("goroutine", "count")
    assert parked(ours, has_labels) == parked(gos, has_labels)
    assert sum(parked(ours, False).values()) == 46
    assert any(len(location) == 3 for each in parked(ours, False) for location in each.locations)
    assert sum(ours.samples.values()) == process.truth().num_goroutine


def test_labels_say_what_goroutines_do(process: GoProcess, tmp_path: Path) -> None:
    ours = decoded(dump(process, tmp_path / "ours.pb.gz"))
    labelled: Counter[tuple[object, ...]] = Counter()
    for sample, count in ours.samples.items():
        labels = dict(sample.labels)
        labelled[labels["goroutine_state"], labels.get("wait_reason"), labels.get("tenant")] += (
            count
        )
    assert labelled["waiting", "chan receive", "blue"] == 6
    assert labelled["waiting", "select", None] == 8
    assert labelled["waiting", "chan send", None] == 8
    assert labelled["syscall", None, None] == 1
    ((file, build_id),) = ours.mappings
    assert file == process.command[0]
    assert build_id


@pytest.mark.matrix
def test_the_tool_reads_it(process: GoProcess, minor: str, tmp_path: Path) -> None:
    path = dump(process, tmp_path / "ours.pb.gz")
    top = go_tool_pprof(minor, tmp_path, "-top", path)
    assert "Type: goroutine" in top
    assert "main.smaller (inline)" in top
    assert "main.everyKind" in top
    traces = go_tool_pprof(minor, tmp_path, "-traces", path)
    assert "main.inner.wait" in traces
    tags = go_tool_pprof(minor, tmp_path, "-tags", path)
    assert "wait_reason: Total" in tags
    assert re.search(r"8(\.0)? \(.*\): chan send\n", tags)
    focused = go_tool_pprof(minor, tmp_path, "-tagfocus=tenant=blue", "-top", path)
    assert "of 47 total" in focused.replace("47total", "47 total")
    assert "main.main.func" in focused


def test_folded_stacks_have_the_frames_of_the_traceback(process: GoProcess) -> None:
    done = piped("dump", str(process.pid), "--format", "folded")
    assert done.returncode == 0
    lines = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert sum(map(int, lines.values())) == process.truth().num_goroutine
    assert lines["main.everyKind;main.small;main.smaller;[chan receive]"] == "8"
    assert "runtime.gopark" not in done.stdout
    whole = piped("dump", str(process.pid), "--format", "folded", "--runtime-frames").stdout
    assert "runtime.goexit;main." in whole
    assert "main.everyKind;main.small;main.smaller;runtime.chanrecv1;runtime.chanrecv;" in whole


@pytest.mark.parametrize("name", ["pprof", "folded"])
def test_saved_files_and_cores_give_the_same(process: GoProcess, tmp_path: Path, name: str) -> None:
    pid = str(process.pid)
    for command in (["snapshot", pid, "-o", "x.json.gz"], ["core", pid, "-o", "x.core"]):
        command[-1] = str(tmp_path / command[-1])
        assert piped(*command).returncode == 0
    texts: list[object] = []
    for target in (pid, str(tmp_path / "x.json.gz"), str(tmp_path / "x.core")):
        path = tmp_path / f"{len(texts)}.{name}"
        assert piped("dump", target, "--format", name, "-o", str(path)).returncode == 0
        texts.append(decoded(path).samples if name == "pprof" else path.read_text())
    assert texts[0]
    assert texts[0] == texts[1] == texts[2]


def test_filters_and_redaction_hold(process: GoProcess, tmp_path: Path) -> None:
    some = decoded(dump(process, tmp_path / "some.pprof", *LOCKS, "--state", "SEND"))
    assert sum(some.samples.values()) == 16
    assert all("main.everyKind" in sample.functions for sample in some.samples)
    limited = decoded(dump(process, tmp_path / "limited.pprof", "--limit", "5"))
    assert sum(limited.samples.values()) == 5
    system = decoded(dump(process, tmp_path / "system.pprof", "--system"))
    assert "runtime.bgsweep" in {name for each in system.samples for name in each.functions}
    public = decoded(dump(process, tmp_path / "public.pprof", "--redact"))
    assert "tenant" not in {key for each in public.samples for key, _ in each.labels}
    files = {line.file for each in public.samples for place in each.locations for line in place}
    assert "profile.go" in files
    assert not any(
        file.startswith("/") for file in (*files, *(file for file, _ in public.mappings))
    )


def test_text_goes_to_a_file_too(process: GoProcess, tmp_path: Path) -> None:
    path = dump(process, tmp_path / "x.txt", "--limit", "1")
    assert path.read_text().startswith("goroutine 1 [")
    assert path.stat().st_mode & 0o777 == 0o600
    group = dump(process, tmp_path / "group.txt", "--group", "state")
    assert "chan receive" in group.read_text()
    document = dump(process, tmp_path / "x.json")
    assert document.read_text().startswith('{"schema":')


@pytest.mark.parametrize("name", ["prometheus-trixie", "etcd-trixie", "prometheus-bookworm"])
def test_the_profile_of_a_finished_program_is_what_it_serves(name: str, tmp_path: Path) -> None:
    """These are stripped. What they serve has also the goroutines that serve it."""
    with finished(name) as process:
        url = f"http://127.0.0.1:{process.port}/debug/pprof/goroutine"
        for _ in range(20):  # some goroutines come and go
            ours = parked(decoded(dump(process, tmp_path / "ours.pb.gz")), True)
            served = decoded(_get(url))
            only_ours = ours - parked(served, True)
            if not only_ours:
                break
    assert not only_ours
    only_served = parked(served, True) - ours
    assert sum(only_served.values()) <= 3
    assert sum(ours.values()) >= 20


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body
