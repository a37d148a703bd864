"""A profile as ``go tool pprof`` reads it: profile.proto, compressed by gzip.

The values of a CPU profile are those of Go's own (``runtime/pprof/proto.go``): samples/count and
cpu/nanoseconds. In a profile of waits the second is wall/nanoseconds. Labels are those of the program, the
state and the thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import BinaryIO

import numpy as np

from spyglass.export.json_text import compact
from spyglass.export.pprof_encoding import ProfileEncoder, write_gzip
from spyglass.export.profile_document import header
from spyglass.export.profile_stacks import profile_stacks, summed
from spyglass.export.protobuf import varint
from spyglass.model import NONE
from spyglass.profile import Profile
from spyglass.version import __version__
from spyglass.words.profile_account import (
    account_lines,
    account_warnings,
    profile_title,
    recording_line,
)

__all__ = ["GOROUTINE", "NOTE", "STATE", "THREAD", "write_pprof"]

#: Labels that are not the program's.
STATE, THREAD, GOROUTINE = "state", "thread", "goroutine"
#: The beginning of a text with what the form has no place for, as JSON, the last in the table of strings, to which
#: nothing refers (``go tool pprof`` shows all comments above its tables): what the document of a profile has under the
#: same names, some fields of ``process``, and in ``own_labels`` those that no label of the program has the name of.
NOTE = "spyglass.profile/1 "
_IN_NOTE = ("mode", "rate_hz", "account", "chosen_from", "problems")
_OF_PROCESS = ("pid", "go_version", "module", "module_version", "arch", "stripped", "pie", "cgo")
#: How many encoded sets of labels are kept: a request may have labels of its own.
_LABELS_KEPT = 65536


def write_pprof(profile: Profile, stream: BinaryIO, *, by: Sequence[str] = ()) -> None:
    """Write `profile` to `stream`, which stays open; each stack has a root frame for each of `by`.

    With "goroutine" in `by`, samples have the goroutine id as a label with a number.
    """
    write_gzip(_fields(profile, by), stream)


def _fields(profile: Profile, by: Sequence[str]) -> Iterator[bytes]:
    whole = profile_stacks(profile, by)
    encoder = ProfileEncoder(whole)
    kind = ("cpu" if profile.mode == "cpu" else "wall", "nanoseconds")
    yield encoder.values(("samples", "count"), kind)
    yield encoder.period(kind, round(profile.period_ns))
    yield encoder.time(profile.started_at, profile.duration_ns)
    yield encoder.comments(_comments(profile)) + encoder.mapping(profile.process)
    s = profile.samples
    goroutines = s.goroutine if GOROUTINE in by else np.full(len(s), NONE)
    columns = (s.labels, s.state, s.thread, goroutines)
    found = summed(profile, whole.of_rows, *columns)
    labels = lru_cache(_LABELS_KEPT)(lambda key: _labels(profile, encoder, key))
    stacks = whole.of_rows[found.rows].tolist()
    keys = zip(*(column[found.rows].tolist() for column in columns), strict=True)
    values = zip(found.counts.tolist(), found.values_ns.tolist(), strict=True)
    for stack, (count, value_ns), key in zip(stacks, values, keys, strict=True):
        yield encoder.sample(stack, varint(count) + varint(value_ns), labels(key))
    yield from encoder.tables(last=_note(profile))


def _comments(profile: Profile) -> list[str]:
    warnings = [f"warning: {each}" for each in account_warnings(profile)]
    title = f"spyglass {__version__}: {profile_title(profile)}"
    return [title, recording_line(profile), *account_lines(profile), *warnings]


def _note(profile: Profile) -> str:
    whole = header(profile)
    said = {name: whole[name] for name in _IN_NOTE}
    said["process"] = {name: whole["process"][name] for name in _OF_PROCESS}
    programs = {name for labels in profile.label_sets for name in labels}
    said["own_labels"] = [each for each in (STATE, THREAD, GOROUTINE) if each not in programs]
    return NOTE + compact(said)


def _labels(profile: Profile, encoder: ProfileEncoder, key: tuple[int, ...]) -> bytes:
    """The labels of a sample: the program's own, which come before ours of the same name."""
    labels, state, thread, goroutine = key
    texts = dict(profile.label_sets[labels]) if labels >= 0 else {}
    if state >= 0:
        texts.setdefault(STATE, profile.states[state])
    if thread >= 0:
        texts.setdefault(THREAD, str(thread))
    encoded = [encoder.label(name, value) for name, value in texts.items()]
    if goroutine >= 0 and GOROUTINE not in texts:
        encoded.append(encoder.number_label(GOROUTINE, goroutine))
    return b"".join(encoded)
