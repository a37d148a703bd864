"""Which addresses machine code mentions: instructions assembled by hand, after the processors' manuals."""

from __future__ import annotations

import random
import struct

import pytest

from spyglass.binary.xrefs import references

HERE = 0x401000


def rip(opcode: str, distance: int, behind: str = "") -> bytes:
    """An amd64 instruction with an operand relative to the next one."""
    return bytes.fromhex(opcode) + struct.pack("<i", distance) + bytes.fromhex(behind)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (rip("488b05", 0x1000), HERE + 7 + 0x1000),  # mov rax, [rip + 0x1000]
        (rip("488d0d", -0x800), HERE + 7 - 0x800),  # lea rcx, [rip - 0x800]
        (rip("8b05", 5), HERE + 6 + 5),  # mov eax, [rip + 5]
        (rip("803d", 0x2000, "00"), HERE + 7 + 0x2000),  # cmp byte [rip + 0x2000], 0
        (rip("48c705", 0x30, "01000000"), HERE + 11 + 0x30),  # mov qword [rip + 0x30], 1
        (rip("f0480fc115", 0x40), HERE + 9 + 0x40),  # lock xadd [rip + 0x40], rdx
        (rip("ff05", 1), HERE + 7),  # inc dword [rip + 1]
    ],
)
def test_operands_relative_to_the_next_instruction(code: bytes, expected: int) -> None:
    assert references(code, HERE, "amd64") == {expected}


@pytest.mark.parametrize(
    "code",
    ["488b442408", "488b0425c0c04c00", "e800100000", "ebfe", "90", ""],
    ids=["[rsp + 8]", "[0x4cc0c0]", "call", "jmp", "nop", "nothing"],
)
def test_other_operands_are_no_references(code: str) -> None:
    assert references(bytes.fromhex(code), HERE, "amd64") == set()


def test_each_instruction_counts_from_its_own_end() -> None:
    code = rip("488b05", 0x100) + b"\x90" * 3 + rip("488b05", 0x100)
    assert references(code, HERE, "amd64") == {HERE + 7 + 0x100, HERE + 17 + 0x100}


# arm64: see the manual's C6.2, "ADRP", "ADD (immediate)", "LDR (immediate)" and so on.


def adrp(register: int, pages: int) -> int:
    return 0x90000000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5 | register


def add(into: int, base: int, offset: int) -> int:
    return 0x91000000 | offset << 10 | base << 5 | into


def load(opcode: int, scale: int, into: int, base: int, offset: int) -> int:
    return opcode | offset // scale << 10 | base << 5 | into


LDR_X, LDR_W, STR_X, LDRB, LDRSW, LDR_D = (
    0xF9400000, 0xB9400000, 0xF9000000, 0x39400000, 0xB9800000, 0xFD400000,
)  # fmt: skip
LDAR_X = 0xC8DFFC00
#: The page that is two pages behind the one that `HERE` is in.
PAGE = (HERE & ~0xFFF) + 2 * 0x1000


def assembled(*instructions: int) -> bytes:
    return struct.pack(f"<{len(instructions)}I", *instructions)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (add(0, 0, 0x340), PAGE + 0x340),
        (add(1, 0, 0xFFF), PAGE + 0xFFF),
        (add(0, 0, 0), PAGE),
        (load(LDR_X, 8, 1, 0, 0x348), PAGE + 0x348),
        (load(LDR_W, 4, 1, 0, 0x34), PAGE + 0x34),
        (load(STR_X, 8, 2, 0, 0x7FF8), PAGE + 0x7FF8),
        (load(LDRB, 1, 3, 0, 0x123), PAGE + 0x123),
        (load(LDRSW, 4, 3, 0, 0), PAGE),
        (load(LDR_D, 8, 3, 0, 0x10), PAGE + 0x10),
        (LDAR_X | 0 << 5 | 4, PAGE),
    ],
    ids=[
        "add",
        "add into another",
        "add 0",
        "ldr",
        "ldr w",
        "str",
        "ldrb",
        "ldrsw",
        "ldr d",
        "ldar",
    ],
)
def test_a_page_and_what_completes_it(second: int, expected: int) -> None:
    assert references(assembled(adrp(0, 2), second), HERE, "arm64") == {expected}


def test_pages_may_be_before_the_code() -> None:
    code = assembled(adrp(27, -1), load(LDR_X, 8, 0, 27, 8))
    assert references(code, HERE, "arm64") == {(HERE & ~0xFFF) - 0x1000 + 8}


@pytest.mark.parametrize(
    "code",
    [
        assembled(adrp(0, 2)),
        assembled(add(0, 0, 0x340)),
        assembled(adrp(0, 2), add(0, 1, 0x340)),
        assembled(adrp(0, 2), load(LDR_X, 8, 1, 31, 16)),
        assembled(adrp(0, 2), 0xD503201F, 0x14000000),
        b"",
    ],
    ids=["page alone", "add alone", "another base", "the stack", "nop and branch", "nothing"],
)
def test_pages_that_are_not_completed_are_no_references(code: bytes) -> None:
    assert references(code, HERE, "arm64") == set()


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_noise_is_decoded_to_its_end(arch: str) -> None:
    noise = random.Random(1).randbytes(1 << 14)
    last = rip("488b05", 0x100) if arch == "amd64" else assembled(adrp(0, 2), add(0, 0, 0x340))
    # What is no instruction is skipped; enough of one byte to be in step again at the end.
    padding = b"\x90" * 16 if arch == "amd64" else b""
    expected = references(last, HERE + len(noise + padding), arch)
    assert expected <= references(noise + padding + last, HERE, arch)
