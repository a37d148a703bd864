"""Samples a process for as long as `spyglass top` shows its processor time."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from spyglass.errors import SpyglassError
from spyglass.tui.sampled import Sampled

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.profile import Profile
    from spyglass.runtime.recording.cpu import CpuRecording

__all__ = ["CpuSampling"]

#: Samples in a second of processor time: not a divisor of what programs do in rhythm.
_RATE_HZ, _MIN_RATE_HZ = 99.0, 9.0
#: The window that is shown has so many parts, each of so many seconds.
_PARTS, _PART_SECONDS = 10, 1.0
_STEP_SECONDS = 0.1
#: The largest share of one processor that sampling may take; the rate becomes lower instead.
_MAX_SHARE = 0.15
#: A recording remembers stacks and labels; a new one begins after this time, so that memory stays flat.
_RENEW_SECONDS = 600.0


class CpuSampling:
    """Samples process `pid` in a thread of its own, from now on. Close it.

    What proves the goroutine of a sample must be read within a fraction of a millisecond: neither the screen nor a
    snapshot can be made in this thread. It attaches to the process by itself and shares nothing with the others.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._parts: deque[Profile] = deque(maxlen=_PARTS)
        self._refused: str | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spyglass-cpu", daemon=True)
        self._thread.start()

    def now(self) -> Sampled:
        """What was sampled in the last seconds."""
        return Sampled(tuple(self._parts), self._refused)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """End the sampling, and wait for its end at most so long."""
        self._closed.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        from spyglass import attach

        try:
            with attach(self._pid) as program:
                rate_hz = _RATE_HZ
                while not self._closed.is_set():
                    rate_hz = self._record(program, rate_hz)
        except SpyglassError as error:
            self._refused = error.message
        except Exception as error:  # the last picture stays on the screen
            self._refused = f"{type(error).__name__}: {error}"

    def _record(self, program: Inspector, rate_hz: float) -> float:
        """Record until it is time to begin anew; the rate to go on with."""
        from spyglass.runtime.recording.cpu import CpuRecording

        until = time.monotonic() + _RENEW_SECONDS
        with program.recording(mode="cpu", rate_hz=rate_hz) as recording:
            assert isinstance(recording, CpuRecording)
            while not self._closed.is_set() and time.monotonic() < until:
                began, began_cpu = time.monotonic(), time.thread_time()
                self._step(recording)
                if recording.ended is not None:
                    raise SpyglassError(recording.ended)
                self._parts.append(recording.part())
                share = (time.thread_time() - began_cpu) / (time.monotonic() - began)
                if share > _MAX_SHARE and rate_hz > _MIN_RATE_HZ:
                    return max(rate_hz * _MAX_SHARE / share / 1.5, _MIN_RATE_HZ)
        return _RATE_HZ

    def _step(self, recording: CpuRecording) -> None:
        """Record for the time of a part, less if it is closed or the process ends."""
        until = time.monotonic() + _PART_SECONDS
        while time.monotonic() < until and not self._closed.is_set() and recording.ended is None:
            recording.step(_STEP_SECONDS)
