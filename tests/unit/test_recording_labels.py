"""Which labels a sample of processor time has: none where they may be of another moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spyglass.model import NONE
from spyglass.runtime.recording.cpu import CpuRecording, without_doubtful_labels
from spyglass.runtime.recording.sampled_stacks import DO
from tests.made_profiles import SampleRow, make_profile
from tests.snapshots import frame

WORK, CALL_DO = frame("main.work"), frame(DO)


def recording() -> Any:
    made = object.__new__(CpuRecording)
    made.__dict__.update(_known=0, _unknown=0, _unread=0, _relabelled=set())
    return made


def labels(of: Any, *, lived: bool, kept: bool, in_do: bool) -> int:
    """The labels of a sample of goroutine 7 whose calls were still the same when it was read, with the labels 3."""
    noted = SimpleNamespace(lived=lived, settled=True, goid=7, labels=3, kept_labels=kept)
    walks = SimpleNamespace(
        of_goroutine=[True], same_calls=[True], same_start=[True], same_labelling=[True], in_do=[in_do]
    )  # fmt: skip
    goid, number = of._goroutine(noted, walks, 0)
    assert goid == 7
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize(
    ("lived", "kept", "in_do", "expected"),
    [
        (True, True, False, 3),
        (True, False, False, NONE),  # set after the sample, or before
        (True, False, True, 3),
        (False, False, True, 3),
        (False, False, False, NONE),
    ],
)
def test_labels_are_those_of_before_and_behind_or_of_do(
    lived: bool, kept: bool, in_do: bool, expected: int
) -> None:
    assert labels(recording(), lived=lived, kept=kept, in_do=in_do) == expected


def test_who_sets_labels_without_do_is_remembered() -> None:
    made = recording()
    for lived, in_do in ((True, True), (False, False)):
        labels(made, lived=lived, kept=False, in_do=in_do)
        assert made._relabelled == set()
    labels(made, lived=True, kept=False, in_do=False)
    assert made._relabelled == {7}


def test_samples_of_these_have_no_labels_but_in_do() -> None:
    rows = [
        SampleRow((WORK,), 1, 1, 7, {"k": "A"}),
        SampleRow((WORK, CALL_DO), 1, 1, 7, {"k": "A"}),
        SampleRow((WORK,), 1, 1, 8, {"k": "A"}),
        SampleRow((WORK,), 1, 1),
    ]
    found = without_doubtful_labels(make_profile(rows), {7})
    assert found.samples.labels.tolist() == [NONE, 0, 0, NONE]
    assert found.samples.labels.dtype == np.int32
