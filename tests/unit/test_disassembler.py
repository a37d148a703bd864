"""Our call of capstone's library says what its package says."""

from __future__ import annotations

import random
import subprocess
import sys

import capstone
import pytest

from spyglass.binary import disassembler
from spyglass.binary.disassembler import disassemble

KINDS = {
    "amd64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
    "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
}


@pytest.mark.parametrize("arch", KINDS)
def test_it_says_what_the_package_says(arch: str) -> None:
    code = random.Random(1).randbytes(1 << 14)
    package = capstone.Cs(*KINDS[arch])
    package.skipdata = True
    expected = list(package.disasm_lite(code, 0x401000))
    assert len(expected) > 1000
    assert list(disassemble(code, 0x401000, arch)) == expected
    assert list(disassemble(b"", 0x401000, arch)) == []


@pytest.mark.parametrize("arch", KINDS)
def test_another_version_is_used_by_the_package(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = list(disassemble(b"\x90" * 8, 0, arch))
    monkeypatch.setattr(disassembler, "_MAJOR", 6)
    disassembler._decoder.cache_clear()
    try:
        assert list(disassemble(b"\x90" * 8, 0, arch)) == expected
    finally:
        disassembler._decoder.cache_clear()


def test_the_layout_of_an_instruction_is_that_of_the_package() -> None:
    ours, theirs = disassembler._Instruction, capstone._cs_insn
    names = [name for name, _ in ours._fields_]
    assert names == [name for name, *_ in theirs._fields_]
    assert [getattr(ours, name).offset for name in names] == [
        getattr(theirs, name).offset for name in names
    ]


def test_the_package_is_not_imported() -> None:
    code = (
        "import sys; from spyglass.binary.disassembler import disassemble;"
        "list(disassemble(b'\\x90', 0, 'amd64')); print('capstone' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
