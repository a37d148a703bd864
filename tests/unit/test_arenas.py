"""Threads of the server allocate from one heap."""

from __future__ import annotations

import subprocess
import sys

#: Threads that have memory at the same time, and the heaps that malloc_info(3) then has, in an interpreter of its own: heaps stay.
SCRIPT = """
import ctypes, threading
from spyglass.memory.arenas import use_one_arena
if {use}:
    use_one_arena()
libc, all_have_it = ctypes.CDLL(None), threading.Barrier(4)
libc.malloc.restype = ctypes.c_void_p
libc.fopen.restype = ctypes.c_void_p
def allocate():
    libc.malloc(100_000)
    all_have_it.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def heaps(*, use: bool) -> int:
    command = [sys.executable, "-c", SCRIPT.format(use=use)]
    return subprocess.check_output(command, text=True).count("<heap ")


def test_threads_have_one_heap() -> None:
    assert heaps(use=True) == 1 < heaps(use=False)
