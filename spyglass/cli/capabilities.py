"""Use capabilities that the file of this program was given (capabilities(7)).

An image gives its interpreter CAP_SYS_PTRACE, CAP_PERFMON and CAP_DAC_READ_SEARCH as permitted ones, not as effective ones: with these the kernel
would refuse to run the file at all in a container that may not have them.
"""

from __future__ import annotations

import os

__all__ = ["use_permitted"]

#: CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_PERFMON (include/uapi/linux/capability.h).
_WANTED = 1 << 2 | 1 << 19 | 1 << 38
#: ``_LINUX_CAPABILITY_VERSION_3``, of which each set has two words of 32 bits.
_VERSION = 0x20080522
_STATUS_BYTES = 1 << 14


def use_permitted() -> None:
    """Make those of the wanted capabilities effective that are permitted and are not; what fails is told where it is missed."""
    try:
        with open("/proc/self/status", "rb") as stream:
            status = stream.read(_STATUS_BYTES)
        permitted, effective = _set(status, b"CapPrm"), _set(status, b"CapEff")
    except (OSError, ValueError):
        return
    if os.geteuid() != 0 and permitted & ~effective & _WANTED:
        _make_effective(permitted, effective | permitted & _WANTED, _set(status, b"CapInh"))


def _set(status: bytes, name: bytes) -> int:
    return int(status.partition(b"\n" + name + b":")[2].split(b"\n", 1)[0], 16)


def _make_effective(permitted: int, effective: int, inheritable: int) -> None:
    import ctypes

    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    low, high = (
        [word >> shift & 0xFFFFFFFF for word in (effective, permitted, inheritable)]
        for shift in (0, 32)
    )
    ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)(*low, *high))
