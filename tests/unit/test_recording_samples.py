"""Records of recordings, and what is told from stacks that were read again."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from spyglass.errors import ProcessChanged
from spyglass.model import NONE, Frame
from spyglass.runtime.context import Runtime
from spyglass.runtime.recording.native_frames import Native, NativeFrames
from spyglass.runtime.recording.owners import Seen, _Listed
from spyglass.runtime.recording.recorded_labels import RecordedLabels
from spyglass.runtime.recording.rows import Rows, Stacks
from spyglass.runtime.recording.sampled_stacks import SampledStacks, _Path, _same, _same_from
from spyglass.runtime.recording.successors import Distinctions, StackEnds
from spyglass.runtime.recording.witness import Noted, Witness, equal_from
from spyglass.threads.architecture import AMD64, Registers
from spyglass.threads.kernel_symbols import KernelSymbols
from spyglass.threads.perf import Sample, parse_recording
from tests.image import ImageMemory
from tests.made_program import Program

LOST, THROTTLE, FORK, SAMPLE = 2, 5, 7, 9
USER_PART, KERNEL_PART = (1 << 64) - 512, (1 << 64) - 128
BASE = 0x400000
PID, TID, TIME_NS = 70, 77, 123_456


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("<IHH", kind, 2, 8 + len(body)) + body


def sample(chain: tuple[int, ...], stack: bytes, length: int | None = None) -> bytes:
    """A PERF_RECORD_SAMPLE with TID, TIME, CALLCHAIN, REGS_USER and STACK_USER (perf_event_open(2))."""
    body = struct.pack("<IIQQ", PID, TID, TIME_NS, len(chain) if length is None else length)
    body += struct.pack(f"<{len(chain)}Q", *chain)
    body += struct.pack("<QQQQQ", 2, 0x10, 0x20, 0x30, 0x40)
    return record(SAMPLE, body + struct.pack("<Q", len(stack)) + stack + struct.pack("<Q", 8))


def test_a_sample_has_its_time_its_chain_without_marks_and_its_stack() -> None:
    (found,) = parse_recording(AMD64, sample((USER_PART, 0x30, 0x31), b"12345678abcdefgh")).samples
    assert (found.pid, found.time_ns, found.chain) == (PID, TIME_NS, (0x30, 0x31))
    registers = found.registers
    assert (registers.tid, registers.pc, registers.sp, registers.g) == (TID, 0x30, 0x20, 0x40)
    assert registers.stack == b"12345678"


def test_new_threads_losses_and_throttling_are_counted() -> None:
    records = (
        record(FORK, struct.pack("<IIIIQ", PID, PID, 78, TID, 5))
        + record(LOST, struct.pack("<QQ", 1, 12))
        + record(THROTTLE, bytes(24))
        + record(LOST, struct.pack("<QQ", 1, 3))
    )
    found = parse_recording(AMD64, records)
    assert found.new_threads == [(PID, 78)]
    assert (found.lost, found.throttled, found.samples) == (15, 1, [])


@pytest.mark.parametrize("length", [1 << 63, 1 << 20, 9])
def test_a_chain_that_does_not_fit_is_no_sample(length: int) -> None:
    assert parse_recording(AMD64, sample((1, 2), b"", length)).samples == []


def test_records_may_end_anywhere() -> None:
    whole = sample((1, 2), b"12345678") + record(FORK, bytes(24)) + record(LOST, bytes(16))
    for end in range(len(whole)):
        parse_recording(AMD64, whole[:end])
        parse_recording(AMD64, struct.pack("<IHH", SAMPLE, 0, max(end, 8)) + whole[8:end])


def test_stacks_are_equal_from_behind_the_last_word_that_differs() -> None:
    copy = bytes(range(32))
    assert equal_from(copy, copy) == 0
    assert equal_from(copy, b"\xff" + copy[1:]) == 8
    assert equal_from(copy, copy[:23] + b"\xff" + copy[24:]) == 24
    assert equal_from(copy, bytes(32)) == 32


def test_goroutines_that_were_listed_are_found_by_stack_and_by_address() -> None:
    rows = np.zeros(
        3, [("stack", [("lo", "<u8"), ("hi", "<u8")]), ("goid", "<u8"), ("labels", "<u8")]
    )
    rows["stack"]["lo"], rows["stack"]["hi"] = (0x1000, 0x2000, 0x8000), (0x2000, 0x2800, 0x9000)
    rows["goid"], rows["labels"] = (7, 8, 9), (0, 0x70, 0)
    listed = _Listed(np.array([0x300, 0x100, 0x200], np.uint64), rows, TIME_NS)
    found = [
        listed.at(at) for at in (0xFFF, 0x1000, 0x1FFF, 0x2000, 0x27FF, 0x2800, 0x8FFF, 1 << 63)
    ]
    assert found == [0, 0x300, 0x300, 0x100, 0x100, 0, 0x200, 0]
    assert listed.seen(0x100) == Seen(0x100, 8, 0x2000, 0x2800, 0x70, TIME_NS)
    assert listed.seen(0x200) == Seen(0x200, 9, 0x8000, 0x9000, 0, TIME_NS)
    assert (listed.seen(0x180), listed.seen(0x301), listed.seen(0)) == (None, None, None)


def test_few_functions_tell_nothing_and_of_many_all_but_the_innermost_two_must_be_the_same() -> (
    None
):
    assert _same_from([0, 16]) == 0
    assert _same_from([0, 16, 64]) == 0
    assert _same_from([0, 16, 64, 128]) == 16 - 8
    assert _same_from([0, 16, 64, 128, 256]) == 64 - 8


def test_equal_rows_are_one() -> None:
    rows = Rows()
    for _ in range(3):
        rows.add(np.array([(1, 7, 0, 0, 99), (1, 8, NONE, 0, 99)]), [1, 2], [1000, 5.5])
    samples = rows.samples(rows.labels())
    assert len(rows) == 2
    assert samples.count.tolist() == [3, 6]
    assert samples.value_ns.tolist() == [3000, 16]
    assert samples.goroutine.tolist() == [7, 8]
    assert samples.labels.tolist() == [0, NONE]


def test_equal_rows_of_one_call_are_one() -> None:
    rows = Rows()
    rows.add(np.array([(2, 7, 0, 1, 5), (1, 7, 0, 0, 5), (2, 7, 0, 1, 5)]), 1, 10)
    samples = rows.samples(rows.labels())
    assert samples.stack.tolist() == [2, 1]
    assert samples.count.tolist() == [2, 1]
    assert samples.value_ns.tolist() == [20, 10]
    assert (samples.state.tolist(), samples.thread.tolist()) == ([1, 0], [5, 5])


def test_many_rows_are_told_apart_by_each_of_their_fields() -> None:
    numbers = np.arange(20_000)
    parts = [(numbers >> shift & 7) for shift in (0, 3, 6, 9, 12)]
    many = np.column_stack(parts) * [1, 1 << 40, 1 << 10, 1, 1 << 19]
    rows = Rows()
    for at in range(0, len(many), 777):
        rows.add(many[at : at + 777], 1, numbers[at : at + 777])
    assert len(rows) == len(numbers)
    samples = rows.samples(rows.labels())
    columns = [getattr(samples, name) for name in Rows.FIELDS]
    assert np.array_equal(np.column_stack(columns), many)
    assert np.array_equal(samples.value_ns, numbers)


def test_too_many_rows_are_folded_without_goroutines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.runtime.recording.rows._MAX_ROWS", 2)
    rows = Rows()
    for goid in range(5):
        rows.add(np.array([(1, goid, 0, 0, goid), (2, goid, 0, 0, goid)]), 1, 10)
    samples = rows.samples(rows.labels())
    assert rows.folded
    assert samples.stack.tolist() == [1, 2, 1, 2]
    assert samples.goroutine.tolist() == [0, 0, NONE, NONE]
    assert samples.count.tolist() == [1, 1, 4, 4]


def test_too_many_stacks_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.runtime.recording.rows._MAX_STACKS", 2)
    stacks = Stacks()
    numbers = [stacks.of_frames([Frame(name, None, None, 1)]) for name in "abcda"]
    frames, offsets, stack_frames = stacks.columns()
    assert numbers == [0, 1, 2, 2, 0]
    assert [frame.function for frame in frames] == ["a", "b", "[other stacks]"]
    assert frames[int(stack_frames[int(offsets[2])])].function == "[other stacks]"
    assert np.diff(offsets).tolist() == [1, 1, 1]


def test_stacks_of_very_many_frames_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spyglass.runtime.recording.rows._MAX_STACK_FRAMES", 5)
    stacks, frame = Stacks(), Frame("main.recurse", None, None, 1)
    numbers = [stacks.of_frames([frame] * depth) for depth in (3, 2, 4, 5, 3)]
    assert numbers == [0, 1, 2, 2, 0]
    assert np.diff(stacks.columns()[1]).tolist() == [3, 2, 1]


def test_the_kernels_part_of_a_chain_is_apart() -> None:
    chain = (KERNEL_PART, 1 << 63 | 5, 1 << 63 | 6, USER_PART, 0x30, 0x31)
    (found,) = parse_recording(AMD64, sample(chain, b"12345678")).samples
    assert (found.kernel_chain, found.chain) == ((1 << 63 | 5, 1 << 63 | 6), (0x30, 0x31))
    (found,) = parse_recording(AMD64, sample((KERNEL_PART, 1 << 63 | 5), b"12345678")).samples
    assert (found.kernel_chain, found.chain) == ((1 << 63 | 5,), ())
    assert parse_recording(AMD64, sample((), b"12345678")).samples[0].kernel_chain == ()


def test_functions_of_the_kernel_have_the_plainest_name_at_their_address(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(
        "ffffffff81000000 T _stext\n"
        "ffffffff81000100 T __x64_read\n"
        "ffffffff81000100 t read\n"
        "ffffffff81000200 D data\n"
        "ffffffffa0000000 t of_module\t[loop]\n"
    )
    names = KernelSymbols(str(path))
    text = 0xFFFFFFFF81000000
    assert names.known
    places = (text, text + 0xFF, text + 0x100, text + 0x1FF, text + 0x200, 0xFFFFFFFFA0000010)
    assert [names.name(pc) for pc in places] == [
        "[kernel]!_stext", "[kernel]!_stext", "[kernel]!read", "[kernel]!read", "[kernel]",
        "[kernel]!of_module",
    ]  # fmt: skip
    assert [names.name(pc) for pc in (0x1000, 0xFFFFFFFFA1000000, (1 << 64) - 1)] == [
        "[kernel]"
    ] * 3


def test_without_addresses_the_kernel_is_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T _stext\n0000000000000000 T read\n")
    names = KernelSymbols(str(path))
    assert not names.known
    assert not KernelSymbols(str(tmp_path / "none")).known
    frames = NativeFrames(Native(hex, (), names), runtime_of(b""), lambda pc: False)
    assert [frame.function for frame in frames.of_kernel((1 << 63, 1 << 62))] == ["[kernel]"]
    assert frames.of_kernel(()) == ()


CALLS = [
    "e8 11 22 33 44", "ff 15 11 22 33 44", "ff d0", "ff 10", "ff 14 25 11 22 33 44", "ff 14 c3", "ff 50 08",
    "ff 54 24 08", "ff 90 11 22 33 44", "ff 94 24 11 22 33 44", "41 ff d4", "41 ff 54 24 10",
]  # fmt: skip
OTHERS = ["e9 11 22 33 44", "ff 25 11 22 33 44", "ff e0", "48 89 e5", "c3", "00 00"]


@pytest.mark.parametrize("code", CALLS + OTHERS)
def test_a_caller_is_behind_an_instruction_that_calls(code: str) -> None:
    raw = bytes(12) + bytes.fromhex(code)
    pc = BASE + len(raw)
    native = Native(lambda pc: f"lib!f+{pc:#x}", [(BASE, pc + 8)])
    frames = NativeFrames(native, runtime_of(raw), lambda pc: False)
    callers, rest = frames.of_c(BASE, (BASE, pc))
    assert ([frame.function for frame in callers], rest) == (
        (["lib!f", "lib!f"], ()) if code in CALLS else (["lib!f"], (pc,))
    )


def test_a_chain_ends_where_there_is_no_code_and_where_go_begins() -> None:
    raw = bytes.fromhex("e8 11 22 33 44") * 8
    native = Native(lambda pc: f"lib!f+{pc:#x}", [(BASE, BASE + 11)])
    frames = NativeFrames(native, runtime_of(raw), lambda pc: pc == BASE + 5)
    assert frames.of_c(BASE, (BASE, BASE + 10, BASE + 5))[1] == (BASE + 5,)
    assert len(frames.of_c(BASE, (BASE, BASE + 10, BASE + 15))[0]) == 2
    assert frames.of_c(BASE, (BASE, 0, 1 << 63))[1] == (0, 1 << 63)
    assert frames.of_c(BASE, ()) == (frames.of_c(BASE, (BASE,))[0], ())
    nothing = NativeFrames(Native(native.describe), runtime_of(raw), lambda pc: False)
    assert nothing.of_c(BASE, (BASE, BASE + 10))[1] == (BASE + 10,)


def test_of_a_process_that_has_ended_there_is_what_is_known() -> None:
    class Ended(ImageMemory):
        def read(self, address: int, size: int) -> bytes:
            raise ProcessChanged("process 1 has ended")

    runtime = cast(Runtime, SimpleNamespace(memory=Ended({}), arch="amd64"))
    frames = NativeFrames(Native(hex, [(BASE, BASE + 64)]), runtime, lambda pc: False)
    assert frames.of_c(BASE, (BASE, BASE + 10))[1] == (BASE + 10,)


def runtime_of(code: bytes) -> Runtime:
    """A runtime with nothing but `code`, at `BASE`."""
    return cast(Runtime, SimpleNamespace(memory=ImageMemory({BASE: code}), arch="amd64"))


def noted(copy: bytes, now: bytes, sp: int = 0) -> Noted:
    """A sample with the stack `copy`, which was `now` when its goroutine was read, stopped at `sp` or running."""
    registers = Registers(tid=TID, pc=0x30, sp=BASE, bp=0, g=0x2000, stack=copy)
    memory = ImageMemory({BASE: now})
    seen = Seen(0x2000, 7, BASE - 64, BASE + len(copy), 0, TIME_NS, sp)
    witness = object.__new__(Witness)
    witness._ends = StackEnds()
    witness._memory, witness.labels = (
        memory,
        cast(RecordedLabels, SimpleNamespace(number=lambda *_: NONE)),
    )
    return witness._noted(Sample(PID, TIME_NS, (), registers), None, seen)


#: A stack of four functions of 4 words each; return addresses are the last word of each.
WORDS = list(range(1, 17))
FUNCTION = range(0x101, 0x200)
PATH = _Path(128, 64 - 8, 96, 1 << 62, 0, "runtime.goexit", slot=32 - 8, pcs=FUNCTION)


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_the_size_of_a_stack_is_what_its_frames_take(arch: str) -> None:
    """Up to that of `runtime.goexit`, with what a signal handler left; and where the outermost function begins."""
    program = Program(arch)
    calls = ["runtime.asyncPreempt", "main.worker", "main.recurse", "runtime.goexit"]
    raw = program.stack_of(calls)
    walked = program.walk(program.pc(calls[0]), raw)
    is_arm = arch == "arm64"
    stacks = object.__new__(SampledStacks)
    stacks.tree, stacks._link = program.tree, is_arm
    path = stacks._find_path(int(walked.node[0]))
    assert path.size == len(raw) - 32
    assert path.size - path.start == program.frame_bytes("main.recurse") + (0 if is_arm else 8)
    # With a link register nothing tells whether the second function is in the same call.
    assert (path.same_from > 0) is not is_arm


def stack(**words: int) -> bytes:
    """The stack with a return address into the second function, and `words` by their places."""
    content = {**dict(enumerate(WORDS)), 3: 0x150} | {
        int(at[1:]): word for at, word in words.items()
    }
    return struct.pack("<16Q", *(content[at] for at in range(16)))


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (stack(), True),
        (stack(_0=99, _1=99, _4=99, _5=99), True),  # the two innermost have gone on
        (stack(_3=0x101), True),  # the second one has called from elsewhere
        (stack(_3=0x1FF), True),
        (stack(_3=0x100), False),  # another function is in its place
        (stack(_3=0x200), False),
        (stack(_7=99), False),  # and was called from elsewhere
        (stack(_12=99), False),
    ],
)
def test_calls_are_the_same_if_the_outer_ones_are_and_the_second_is_in_its_place(
    now: bytes, same: bool
) -> None:
    assert _same(noted(stack(), now), PATH)[1] == same


def test_what_lies_below_a_goroutine_that_does_not_run_is_of_the_one_before() -> None:
    assert _same(noted(stack(), stack(), BASE), PATH)[1]
    assert _same(noted(stack(), stack(), BASE + 56), PATH)[1]
    assert not _same(noted(stack(), stack(), BASE + 64), PATH)[1]
    assert _same(noted(stack(), stack(), BASE + 120), PATH) == (False, False, True)


def test_the_end_of_a_stack_is_that_of_another_goroutine_there() -> None:
    ends = StackEnds()
    assert ends.note(0x2000, 7, b"seven") == b""
    assert ends.note(0x2000, 7, b"7") == b""
    assert ends.note(0x2000, 8, b"eight") == b"7"
    assert ends.note(0x3000, 9, b"nine") == b""
    assert ends.note(0x2000, 8, b"8") == b"7"
    assert ends.note(0x2000, 10, b"ten") == b"8"


def test_words_that_two_goroutines_had_tell_nothing_from_then_on() -> None:
    distinctions = Distinctions()
    assert distinctions.tell((1, 2), b"words", b"")
    assert distinctions.tell((1, 2), b"words", b"other words of a larger stack.")
    assert not distinctions.tell((1, 2), b"words", b"a larger stack with words")
    assert not distinctions.tell((1, 2), b"words", b"other")
    assert distinctions.tell((1, 3), b"words", b"other")


def test_words_may_seldom_be_equal_and_a_smaller_stack_tells_only_if_it_differs() -> None:
    distinctions = Distinctions()
    assert all(distinctions.tell((1,), b"words", b"other") for _ in range(200))
    assert distinctions.tell((1,), b"words", b"words")
    assert distinctions.tell((1,), b"words", b"words")
    assert not distinctions.tell((1,), b"words", b"words")
    assert all(distinctions.tell((2,), b"words", b"ds") for _ in range(5))


def deep(*frame: int | None) -> bytes:
    """A stack of 64 frames with these words, None for the address of the word two frames further out."""
    content = [
        BASE + 8 * (at + 2 * len(frame)) if word is None else word
        for at, word in enumerate(frame * 64)
    ]
    return struct.pack(f"<{len(content)}Q", *content)


def test_of_a_deep_stack_the_rest_is_that_of_now_if_half_of_the_copy_proves_it() -> None:
    distinct = struct.pack("<256Q", *range(256))
    assert compared(distinct) == distinct
    for repeating in (deep(0x101, 5, None, 7), deep(0x101, 5, 6, 7)):
        assert compared(repeating) == repeating[:512]


def compared(stack: bytes) -> bytes:
    """The stack of a sample as far as it is known; its copy ends after 512 bytes."""
    witness = object.__new__(Witness)
    witness._memory = ImageMemory({BASE: stack})
    registers = Registers(tid=TID, pc=0x30, sp=BASE, bp=0, g=0x2000, stack=stack[:512])
    return witness._compared(registers, BASE + len(stack))[0]
