"""The Go version of a program, from its file alone."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures import fetch
from spyglass.binary.build_version import find_build_version
from spyglass.binary.go_executable import GoExecutable
from tests.finished import FINISHED, finished_program
from tests.support import Flavour, build

pytestmark = pytest.mark.go


@pytest.mark.matrix
@pytest.mark.parametrize("flavour", Flavour)
def test_programs_of_every_shape_say_their_version(minor: str, flavour: Flavour) -> None:
    """Up to Go 1.17 the build info has pointers, which await relocation in some of these; without build
    info the runtime's variable has it."""
    version = f"go{fetch.find_toolchain(minor).version}"
    with GoExecutable.open(str(build("truth", minor, flavour))) as executable:
        assert executable.build_info.go_version == version
        assert find_build_version(executable) == version


@pytest.mark.parametrize("name", [name for name in FINISHED if not name.startswith("qemu")])
def test_finished_programs_say_their_version(name: str) -> None:
    with GoExecutable.open(str(finished_program(name))) as executable:
        expected = f"go{fetch.find_program(name).go}"
        assert (executable.go_version or "").startswith(expected)
        assert find_build_version(executable) == executable.go_version


def test_the_version_is_found_where_the_module_is_not_recorded() -> None:
    """Go 1.15 leaves the text of modules of a program built from files in .bss, which has no bytes."""
    with GoExecutable.open(str(build("truth", "1.15"))) as executable:
        assert executable.build_info.go_version == "go1.15.15"
        assert executable.build_info.module is None


def test_damaged_files_raise_nothing() -> None:
    """Noise over headers, relocations, build info and tables, in each of many places."""
    whole = build("truth", "1.15", Flavour.STRIPPED_PIE).read_bytes()
    random = np.random.default_rng(15)
    for _ in range(40):
        damaged = np.frombuffer(whole, np.uint8).copy()
        at = random.integers(64, len(whole), 2000)
        damaged[at] = random.integers(0, 256, len(at))
        executable = GoExecutable(damaged.tobytes(), "damaged")
        assert find_build_version(executable) in (None, "go1.15.15")
        assert len(executable.go_version or "") <= 256
