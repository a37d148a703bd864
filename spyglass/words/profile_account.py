"""What a profile is, what it is made of, and what it lacks, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator

from spyglass.model import Process
from spyglass.profile import Account, Profile
from spyglass.words.units import UNKNOWN, count, moment, plural

__all__ = [
    "FEW_SAMPLES", "LOW_COVERAGE", "MODE_WORDS", "account_lines", "account_warnings", "coverage_text",
    "profile_title", "program_text", "recording_line", "seconds_text",
]  # fmt: skip

MODE_WORDS = {"cpu": "CPU profile", "wall": "Wall-clock profile", "offcpu": "Off-CPU profile"}

#: Below this share of the used processor time, a profile may miss something that matters.
LOW_COVERAGE = 0.9
#: A share of lost samples above this is worth a warning.
_MANY_LOST = 0.01
#: Fewer samples than this say little, and their coverage nothing.
FEW_SAMPLES = 20


def profile_title(profile: Profile) -> str:
    """``CPU profile of etcd (pid 4711)``, without a pid that is not known."""
    return f"{MODE_WORDS[profile.mode]} of {program_text(profile.process)}"


def program_text(process: Process) -> str:
    """``etcd (pid 4711)``, without a pid that is not known."""
    program = os.path.basename(process.exe or process.module or "") or "a Go program"
    return program if process.pid is None else f"{program} (pid {process.pid})"


def recording_line(profile: Profile) -> str:
    """When, how long and how often: ``2026-11-20 06:20:00Z, 10.0 s at 99 Hz, go1.27.3``."""
    version = profile.process.go_version or "unknown Go version"
    when = moment(profile.started_at)
    return f"{when}, {seconds_text(profile.duration_ns)} at {round(profile.rate_hz, 2):g} Hz, {version}"


def account_lines(profile: Profile) -> list[str]:
    """The account of `profile`, one fact a line."""
    account = profile.account
    lines = [_time_line(profile)]
    if profile.chosen_from is not None:
        chosen = count(sum(profile.samples.count.tolist()))
        lines.append(f"filtered: {chosen} of {count(profile.chosen_from)} samples match")
    if profile.mode == "cpu" or account.threads_seen:
        lines.append(_sampling_line(profile))
    known, unknown = account.goroutine_known, account.goroutine_unknown
    if known is not None and unknown is not None and known + unknown:
        on_goroutines = f"{count(known)} of {count(known + unknown)} samples on goroutines"
        lines.append(f"goroutine known for {on_goroutines}")
    own = UNKNOWN if account.own_cpu_ns is None else seconds_text(account.own_cpu_ns)
    used = f"spyglass used {own} of CPU time"
    if account.threads_seen:
        threads = (
            f"{plural(account.threads_seen, 'thread')}, {count(account.threads_missed)} missed"
        )
        used = f"{threads}; {used}"
    lines.append(used)
    return lines + list(_events(account))


def account_warnings(profile: Profile) -> list[str]:
    """Why the picture may be wrong; nothing if it is not."""
    account = profile.account
    if not account.samples:
        return ["there are no samples" + _idle(account)]
    warnings = []
    if profile.mode == "cpu" and _is_low(profile):
        part = f"{coverage_text(account)} of the CPU time that the process used"
        warnings.append(f"the samples stand for only {part}")
    if account.lost and account.lost > _MANY_LOST * (account.samples + account.lost):
        warnings.append(f"{plural(account.lost, 'sample')} lost; a lower --rate loses fewer")
    return warnings


def coverage_text(account: Account) -> str:
    """The coverage in percent, ``99.3 %``."""
    return UNKNOWN if account.coverage is None else f"{100 * account.coverage:.1f} %"


def seconds_text(time_ns: int) -> str:
    """A time in seconds with two decimals below ten of them, else with one: ``0.25 s``, ``10.0 s``."""
    seconds = time_ns / 1e9
    return f"{seconds:,.2f} s" if seconds < 9.995 else f"{seconds:,.1f} s"


def _is_low(profile: Profile) -> bool:
    """Whether the coverage is low, of a profile with as many samples as say something about it."""
    account = profile.account
    if account.coverage is None or account.cpu_used_ns is None:
        return False
    expected = account.cpu_used_ns / 1e9 * profile.rate_hz
    return expected >= FEW_SAMPLES and account.coverage < LOW_COVERAGE


def _time_line(profile: Profile) -> str:
    account = profile.account
    samples = plural(account.samples, "sample")
    if profile.mode != "cpu":
        total_ns = sum(profile.samples.value_ns.tolist())
        return f"{samples} for {seconds_text(total_ns)} of the time of goroutines"
    used = UNKNOWN if account.cpu_used_ns is None else seconds_text(account.cpu_used_ns)
    sampled = seconds_text(account.cpu_sampled_ns)
    return f"{samples} for {sampled} of {used} CPU time used (coverage {coverage_text(account)})"


def _sampling_line(profile: Profile) -> str:
    account = profile.account
    counts = f"lost {count(account.lost)}, throttled {count(account.throttled)}, cut stacks {count(account.cut)}"
    if profile.mode == "cpu":
        return counts
    used = UNKNOWN if account.cpu_used_ns is None else seconds_text(account.cpu_used_ns)
    sampled = f"{seconds_text(account.cpu_sampled_ns)} of {used} CPU time used"
    return f"where they run: samples for {sampled} (coverage {coverage_text(account)}), {counts}"


def _events(account: Account) -> Iterator[str]:
    """What befell the process and the recording."""
    if account.stopped_ns is not None:
        end = ", and was at the end" if account.still_stopped else ""
        stopped = f"at least {seconds_text(account.stopped_ns)}"
        yield f"the process was stopped, by a signal or a tracer, for {stopped}{end}"
    if account.ended:
        yield f"ended early: {account.ended}"
    if account.unfinished:
        yield "unfinished: saved while the recording went on"


def _idle(account: Account) -> str:
    if account.cpu_used_ns is None:
        return ""
    return f": the process used {seconds_text(account.cpu_used_ns)} of CPU time"
