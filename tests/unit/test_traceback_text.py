from __future__ import annotations

from tests.traceback_text import TextFrame, goroutines_of_text

OLD = """\
goroutine 1 [running]:
main.main()
\t/src/main.go:10 +0x1d

goroutine 18 [select, 12 minutes, locked to thread]:
main.(*pool).acquire(0xc000010000, 0x0, 0x2a)
\t/src/pool.go:33 +0x65
main.handle(...)
\t/src/handle.go:7
created by main.main
\t/src/main.go:9 +0x10
"""

NEW = """\
SIGQUIT: quit
PC=0x48bfe1 m=0 sigcode=0

goroutine 0 gp=0xa2d720 m=0 mp=0xa2e900 [idle]:
runtime.futex(0xa2ea58, 0x80, 0x0, 0x0, 0x0, 0x0)
\t/go/src/runtime/sys_linux_amd64.s:575 +0x21 fp=0x7ffdf8170dd0 sp=0x7ffdf8170dc8 pc=0x48bfe1

goroutine 7 gp=0x15d0adb634a0 m=nil [chan receive (nil chan) (scan)] {"tenant": "a b"}:
main.find[...]({0x1?, 0x2}, {0x0, ...})
\t/a path/with: colons/x.go:5 +0x4
...154 frames elided...
panic({0x5b3008?, 0x4d3de0?})
\t/go/src/runtime/panic.go:859 +0x125
created by main.start.func1 in goroutine 12
\t/src/start.go:3 +0x7
[originating from goroutine 12]:
main.start(...)
\t/src/start.go:2

goroutine 9 gp=0x15d0adb634b0 m=3 mp=0x15d0adb60008 [running]:
\tgoroutine running on other thread; stack unavailable
created by main.main in goroutine 1
\t/src/main.go:44 +0x2

rax    0xca
rip    0x48bfe1
"""


def test_reads_states_and_creators_of_old_versions() -> None:
    first, second = goroutines_of_text(OLD)
    assert (first.id, first.state, first.created_by) == (1, "running", None)
    assert first.frames == (TextFrame("main.main", "/src/main.go", 10, offset=0x1D),)
    assert (second.id, second.state, second.wait_minutes) == (18, "select", 12)
    assert second.locked_to_thread
    assert not first.locked_to_thread
    assert second.functions == ["main.(*pool).acquire", "main.handle"]
    assert [frame.inlined for frame in second.frames] == [False, True]
    assert second.created_by == TextFrame("main.main", "/src/main.go", 9, offset=0x10)
    assert second.creator_id is None


def test_reads_what_the_system_level_adds() -> None:
    idle, parked, running = goroutines_of_text(NEW)
    assert (idle.id, idle.m, idle.state) == (0, 0, "idle")
    assert (idle.frames[0].sp, idle.frames[0].pc) == (0x7FFDF8170DC8, 0x48BFE1)
    assert (parked.m, parked.state) == (None, "chan receive (nil chan)")
    assert parked.labels == '"tenant": "a b"'
    assert running.m == 3
    assert running.frames == ()
    assert running.creator_id == 1


def test_keeps_to_the_goroutine_itself() -> None:
    parked = goroutines_of_text(NEW)[1]
    assert parked.functions == ["main.find[...]", "panic"]
    assert parked.frames[0].file == "/a path/with: colons/x.go"
    assert parked.elided
    assert (parked.created_by and parked.created_by.function) == "main.start.func1"
    assert parked.creator_id == 12


def test_text_that_is_no_traceback_has_no_goroutines() -> None:
    assert goroutines_of_text("") == []
    assert goroutines_of_text("goroutine 1 [running\n\nfatal error: x\n") == []
