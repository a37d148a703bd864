from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from spyglass.threads.architecture import AMD64, ARM64, Architecture, Registers
from spyglass.threads.perf import MAX_STACK_BYTES, RING_BYTES, parse_records
from spyglass.threads.permission import Caller, explain
from spyglass.threads.sample import _stack_bytes

TID = 77
SAMPLE, THROTTLE = 9, 5
ABI_NONE, ABI_32, ABI_64 = 0, 1, 2


def record(kind: int, body: bytes) -> bytes:
    return struct.pack("<IHH", kind, 2, 8 + len(body)) + body


def sample(
    *registers: int,
    stack: bytes = b"",
    size: int | None = None,
    true: int | None = None,
    abi: int = ABI_64,
    tid: int = TID,
) -> bytes:
    """A PERF_RECORD_SAMPLE with TID, REGS_USER and STACK_USER, as perf_event_open(2) lays it out."""
    body = struct.pack("<IIQ", 1, tid, abi)
    if abi != ABI_NONE:
        body += struct.pack(f"<{len(registers)}Q", *registers)
    body += struct.pack("<Q", len(stack) if size is None else size)
    if stack:
        body += stack + struct.pack("<Q", len(stack) if true is None else true)
    return record(SAMPLE, body)


def parsed(records: bytes, architecture: Architecture = AMD64) -> list[Registers]:
    return list(parse_records(architecture, TID, records))


def test_registers_of_amd64_come_in_the_order_of_their_bits() -> None:
    expected = Registers(tid=TID, pc=0x30, sp=0x20, bp=0x10, g=0x40, lr=0, stack=b"12345678")
    assert parsed(sample(0x10, 0x20, 0x30, 0x40, stack=b"12345678")) == [expected]


def test_registers_of_arm64_come_in_the_order_of_their_bits() -> None:
    expected = Registers(tid=TID, pc=0x50, sp=0x40, bp=0x20, g=0x10, lr=0x30, stack=b"12345678")
    assert parsed(sample(0x10, 0x20, 0x30, 0x40, 0x50, stack=b"12345678"), ARM64) == [expected]


def test_registers_of_stopped_threads_are_words_of_a_structure() -> None:
    """user_regs_struct: r15, r14, r13, r12, rbp ...; user_pt_regs: x0 to x30, sp, pc, pstate."""
    amd64 = AMD64.from_saved(TID, range(AMD64.saved_words))
    assert amd64 == Registers(tid=TID, pc=16, sp=19, bp=4, g=1)
    arm64 = ARM64.from_saved(TID, range(ARM64.saved_words))
    assert arm64 == Registers(tid=TID, pc=32, sp=31, bp=29, g=28, lr=30)


def test_what_the_kernel_did_not_save_is_not_known() -> None:
    (found,) = parsed(sample(2**64 - 1, 0x20, 0x30, 2**64 - 1))
    assert (found.bp, found.sp, found.pc, found.g) == (0, 0x20, 0x30, 0)


def test_only_the_part_of_a_dump_that_was_read_counts() -> None:
    assert parsed(sample(1, 2, 3, 4, stack=b"abcdefgh" * 2, true=8))[0].stack == b"abcdefgh"


@pytest.mark.parametrize(
    "bad",
    [
        sample(1, 2, 3, 4, stack=b"12345678", size=1 << 63),
        sample(1, 2, 3, 4, stack=b"12345678", size=9),
        sample(1, 2, 3, 4, stack=b"", size=8),
    ],
)
def test_a_dump_that_does_not_fit_is_no_dump(bad: bytes) -> None:
    assert [found.stack for found in parsed(bad)] == [b""]


def test_a_dump_cannot_have_more_true_bytes_than_bytes() -> None:
    assert parsed(sample(1, 2, 3, 4, stack=b"12345678", true=1 << 63))[0].stack == b"12345678"


def test_other_records_and_other_threads_are_passed_over() -> None:
    good = sample(1, 2, 3, 4)
    records = (
        record(THROTTLE, bytes(24)) + sample(9, 9, 9, 9, tid=78) + good + record(77, b"") + good
    )
    assert [found.pc for found in parsed(records)] == [3, 3]


@pytest.mark.parametrize("abi", [ABI_NONE, ABI_32, 3])
def test_a_sample_of_no_64_bit_user_space_is_none(abi: int) -> None:
    assert parsed(sample(1, 2, 3, 4, abi=abi)) == []


@pytest.mark.parametrize("size", [0, 7, 200, 0xFFFF])
def test_nothing_is_read_behind_a_record_of_an_impossible_size(size: int) -> None:
    good = sample(1, 2, 3, 4)
    assert len(parsed(good + struct.pack("<IHH", SAMPLE, 0, size) + good)) == 1


def test_a_record_that_is_shorter_than_its_header_is_not_stepped_over() -> None:
    inside = struct.pack("<IHH", 0, 0, 8)[1:]  # what would be read 7 bytes further on
    records = struct.pack("<IHH", SAMPLE, 0, 7) + inside + sample(1, 2, 3, 4)
    assert parsed(records) == []


def test_records_may_end_anywhere() -> None:
    whole = sample(1, 2, 3, 4, stack=b"12345678")
    for end in range(len(whole)):
        assert parsed(whole[:end]) == []
        shortened = struct.pack("<IHH", SAMPLE, 0, max(end, 8)) + whole[8:end]
        assert all(found.stack == b"" for found in parsed(shortened))


def test_a_record_with_the_largest_dump_fits_into_the_ring_beside_two_notices() -> None:
    largest = sample(1, 2, 3, 4, 5, stack=bytes(MAX_STACK_BYTES))
    assert len(largest) + 2 * len(record(THROTTLE, bytes(24))) < RING_BYTES


@pytest.mark.parametrize("threads", [0, 1, 8, 1000, 10_000, 1 << 22, 1 << 30])
def test_dumps_are_bounded_each_and_together(threads: int) -> None:
    size = _stack_bytes(threads)
    assert 8 <= size <= MAX_STACK_BYTES
    assert size % 8 == 0
    assert size == 8 or size * threads <= 1 << 26


def header(path: str) -> str:
    for folder in ("/usr/include", "/usr/include/x86_64-linux-gnu"):
        if Path(folder, path).exists():
            return Path(folder, path).read_text()
    pytest.skip(f"there is no {path} for this processor here")


def test_bits_are_those_of_the_kernels_header() -> None:
    names = re.findall(r"^\tPERF_REG_X86_(\w+),$", header("asm/perf_regs.h"), re.M)
    assert {ours: names.index(name) for ours, name in _NAMES_IN_PERF.items()} == AMD64.sampled


_NAMES_IN_PERF = {"bp": "BP", "sp": "SP", "pc": "IP", "g": "R14"}


def test_words_are_those_of_the_c_librarys_header() -> None:
    text = header("sys/user.h").split("struct user_regs_struct", 1)[1].split("};", 1)[0]
    names = re.findall(r"unsigned long long int (\w+);", text)
    assert {ours: names.index(name) for ours, name in _NAMES_IN_USER.items()} == AMD64.saved
    assert len(names) == AMD64.saved_words


_NAMES_IN_USER = {"bp": "rbp", "sp": "rsp", "pc": "rip", "g": "r14"}


@pytest.mark.parametrize(
    ("code", "caller", "words"),
    [
        (errno.EPERM, Caller(False, True, 2), "seccomp"),
        (errno.ENOSYS, Caller(True, True, 2), "seccomp"),
        (errno.ENOSYS, Caller(True, False, None), "built without perf events"),
        (errno.EACCES, Caller(False, False, 3), "kernel.perf_event_paranoid is 3"),
        (errno.EACCES, Caller(False, True, 4), "kernel.perf_event_paranoid is 4"),
        (errno.EACCES, Caller(True, False, 4), "security module"),
        (errno.EPERM, Caller(False, False, 2), "kernel.perf_event_mlock_kb"),
    ],
)
def test_a_refusal_names_the_rule(code: int, caller: Caller, words: str) -> None:
    assert words in (explain(code, caller) or "")


@pytest.mark.parametrize(
    ("code", "caller"),
    [
        (errno.EACCES, Caller(False, False, 2)),
        (errno.EACCES, Caller(False, False, None)),
        (errno.EINVAL, Caller(True, False, 2)),
    ],
)
def test_what_is_not_a_rule_of_sampling_is_not_called_one(code: int, caller: Caller) -> None:
    assert explain(code, caller) is None
