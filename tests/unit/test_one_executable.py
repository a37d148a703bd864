"""`make binary`: what it puts into the executable, and how libraries are loaded there."""

import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

from fixtures import binary
from fixtures.fetch import FetchError

_EXTENSION = Path(psutil.__file__).parent / "_psutil_linux.abi3.so"
#: What `launcher.c` says to Python, where its program is the interpreter that runs the tests.
_START = "import sys; sys.executable = sys.argv[1]; sys.path.insert(0, sys.executable); import libraries_in_memory\n"


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A package with an extension module and its list, as `make binary` collects them."""
    folder = tmp_path / "modules"
    (folder / "psutil").mkdir(parents=True)
    (folder / "psutil/__init__.py").write_text("from psutil import _psutil_linux\n")
    (folder / "psutil/lib.h").write_text("")
    (folder / "psutil/_psutil_linux.abi3.so").write_bytes(_EXTENSION.read_bytes())
    source = binary.SOURCES / "libraries_in_memory.py"
    (folder / source.name).write_text(source.read_text())
    (folder / "libraries_of_archive.py").write_text(binary.listed_libraries(folder))
    return folder


@pytest.fixture
def executable(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is made with a library in the place of the launcher; it keeps its Python modules, which nobody compiled."""
    monkeypatch.setattr(binary, "_LEFT_OUT_SUFFIXES", {".h"})
    return binary.write_executable(_EXTENSION, modules, tmp_path / "spyglass")


def _run(executable: Path, program: str) -> str:
    command = [sys.executable, "-I", "-S", "-c", _START + program, str(executable)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_extension_modules_are_loaded_from_the_archive(executable: Path) -> None:
    program = "import psutil; print(psutil.__file__, psutil._psutil_linux.__spec__.origin, open('/proc/self/maps').read())"
    module, origin, maps = _run(executable, program).split(" ", 2)
    assert module == f"{executable}/psutil/__init__.py"
    assert origin == f"{executable}/psutil/_psutil_linux.abi3.so"
    assert "/memfd:_psutil_linux.abi3.so" in maps
    assert str(_EXTENSION) not in maps


def test_ctypes_opens_libraries_of_the_archive_and_others(executable: Path) -> None:
    program = """
import ctypes
library = ctypes.CDLL(sys.executable + "/psutil/_psutil_linux.abi3.so")
print(library.PyInit__psutil_linux is not None, ctypes.CDLL(None).getpid() > 0)
try:
    ctypes.CDLL(sys.executable + "/psutil/other.so")
except OSError as error:
    print("OSError")
"""
    assert _run(executable, program).split() == ["True", "True", "OSError"]


def test_only_what_is_imported_is_in_the_archive(executable: Path) -> None:
    with zipfile.ZipFile(executable) as archive:
        names = archive.namelist()
    assert "psutil/_psutil_linux.abi3.so" in names
    assert "psutil/lib.h" not in names
    assert names == sorted(names)


def test_libraries_of_one_name_in_two_packages_are_both_there(modules: Path) -> None:
    (modules / "other").mkdir()
    (modules / "other" / _EXTENSION.name).write_bytes(_EXTENSION.read_bytes())
    listed = binary.listed_libraries(modules)
    for package in ("psutil", "other"):
        assert f"'{package}._psutil_linux': '{package}/{_EXTENSION.name}'" in listed


def test_a_library_that_lacks_another_is_refused(modules: Path) -> None:
    name = b"libpthread.so.0"
    damaged = _EXTENSION.read_bytes()
    assert name in damaged
    (modules / "psutil/_psutil_linux.abi3.so").write_bytes(
        damaged.replace(name, b"libmissing.so.0")
    )
    with pytest.raises(FetchError, match=r"_psutil_linux.abi3.so needs \['libmissing.so.0'\]"):
        binary.listed_libraries(modules)


def test_needed_glibc_is_the_highest_of_all_parts(executable: Path, tmp_path: Path) -> None:
    wanted = binary.needed_glibc(executable)
    assert (2, 2) < wanted <= binary.GLIBC  # as its tag says: manylinux2014 or earlier
    highest = b"9" * len(str(wanted[1]))
    later = _EXTENSION.read_bytes().replace(b"GLIBC_2.%d\0" % wanted[1], b"GLIBC_2.%s\0" % highest)
    with zipfile.ZipFile(executable, "a") as archive:
        archive.writestr("later.so", later)
    assert binary.needed_glibc(executable) == (2, int(highest))
