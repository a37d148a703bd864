"""What is said of waits and of what they are on, in words. Names in them are the target's: not escaped yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spyglass.analysis.wait_reasons import object_name
from spyglass.analysis.wait_verdicts import STRONG
from spyglass.model import NONE
from spyglass.wait_graph import EVIDENCE, KINDS, OPERATIONS, UNKNOWN, WaitGraph
from spyglass.words.units import count, duration, plural, size

if TYPE_CHECKING:
    from spyglass.analysis.wait_index import WaitIndex
    from spyglass.wait_graph import Connection

__all__ = [
    "address_of", "evidence", "kind_word", "object_title", "state_facts", "wait_note", "wait_phrase",
]  # fmt: skip

_WRITES = [OPERATIONS.index(name) for name in ("write", "connect")]
_HELD_AS = {"read": "for reading", "done": "as a worker"}


def kind_word(graph: WaitGraph, row: int, operation: int) -> str:
    """What goroutines wait for in one word: the kind of the object in `row`, of a channel or a file descriptor the
    operation."""
    kind = KINDS[graph.objects.kind[row]]
    return OPERATIONS[operation] if kind in ("channel", "fd") else kind


def address_of(graph: WaitGraph, row: int) -> str:
    """The address of an object, empty if it has none or it says nothing: that of a connection's poll descriptor."""
    address = int(graph.objects.address[row])
    return hex(address) if address and KINDS[graph.objects.kind[row]] != "fd" else ""


def object_title(graph: WaitGraph, row: int) -> str:
    """The name of an object, else its type, else its peer, else its file descriptor; empty if none is known."""
    objects = graph.objects
    for number in (int(objects.name[row]), int(objects.type[row])):
        if number != NONE:
            return graph.names[number]
    if objects.connection[row] != NONE:
        return object_name(graph, row)
    return f"fd {objects.fd[row]}" if objects.fd[row] != NONE else ""


def state_facts(graph: WaitGraph, row: int) -> Iterator[str]:
    """What is known of the state of an object: "locked", "2 of 10 in the buffer", "closed"."""
    objects = graph.objects
    if objects.name[row] != NONE and objects.type[row] != NONE:
        yield graph.names[objects.type[row]]
    yield from _lock_facts(graph, row)
    length, capacity = int(objects.length[row]), int(objects.capacity[row])
    if capacity > 0 and length != UNKNOWN:
        yield f"{count(length)} of {count(capacity)} in the buffer"
    if objects.closed[row] == 1:
        yield "closed"
    if objects.counter[row] != UNKNOWN:
        yield f"counter {count(int(objects.counter[row]))}"
    if objects.due_in_ns[row] != UNKNOWN:
        yield _when("due", int(objects.due_in_ns[row]))
    if objects.connection[row] != NONE:
        yield from _connection_facts(graph.connections[objects.connection[row]])


def wait_phrase(graph: WaitGraph, row: int, operation: int) -> str:
    """What follows "waits for": ``a read from 10.0.3.7:5432 (fd 12), no deadline``."""
    kind, word = KINDS[graph.objects.kind[row]], OPERATIONS[operation]
    if kind == "fd":
        return _io_phrase(graph, row, word)
    if kind == "timer":
        due_ns = int(graph.objects.due_in_ns[row])
        return "a timer" if due_ns == UNKNOWN else f"a timer, {_when('due', due_ns)}"
    if kind == "nothing":
        return "what cannot happen (a select without cases, or a nil channel)"
    name = _named(graph, row)
    if kind == "channel":
        return f"a {word} {'to' if word == 'send' else 'from'} {name}"
    if kind == "rwmutex":
        return f"{name}, to {'read' if word == 'rlock' else 'write'}"
    return name


def wait_note(index: WaitIndex, goroutine: int) -> str:
    """What `goroutine` (goid) waits for, in a few words, and who holds it; empty if it is not known."""
    graph, waits = index.graph, index.graph.waits
    rows = index.waits_of.of(goroutine)
    if not rows:
        return ""
    row = rows[0]
    target = int(waits.object[row])
    phrase = wait_phrase(graph, target, int(waits.operation[row]))
    if len(rows) > 1:
        return f"waits for {phrase} or {count(len(rows) - 1)} more"
    held = [each for each in index.holders_of.of(target) if graph.holders.grade[each] <= STRONG]
    if not held:
        return f"waits for {phrase}"
    first = min(held, key=lambda each: int(graph.holders.grade[each]))
    others = f" and {count(len(held) - 1)} more" if len(held) > 1 else ""
    return f"waits for {phrase}, held by goroutine {graph.holders.goroutine[first]}{others}"


def evidence(mode: str, grade: int) -> str:
    """How it is known that a goroutine holds an object: ``deferred unlock pending``."""
    held_as = _HELD_AS.get(mode)
    return f"{held_as}; {EVIDENCE[grade]}" if held_as else EVIDENCE[grade]


def _named(graph: WaitGraph, row: int) -> str:
    """The kind of an object, and its name, or its type and address."""
    kind, title = KINDS[graph.objects.kind[row]], object_title(graph, row)
    if graph.objects.name[row] != NONE:
        return f"{kind} {title}"
    start = title if kind == "channel" and title else f"{kind} {title}".rstrip()
    return f"{start} {address_of(graph, row)}".rstrip()


def _lock_facts(graph: WaitGraph, row: int) -> Iterator[str]:
    objects = graph.objects
    if objects.locked[row] == 1:
        yield "locked"
    elif objects.locked[row] == 0 and objects.readers[row] in (0, UNKNOWN):
        yield "not locked"
    if objects.readers[row] not in (0, UNKNOWN):
        yield plural(int(objects.readers[row]), "reader")
    if objects.left_locked[row] == 1:
        yield "no holder found"


def _io_phrase(graph: WaitGraph, row: int, word: str) -> str:
    objects = graph.objects
    fd, connection = int(objects.fd[row]), int(objects.connection[row])
    known = graph.connections[connection] if connection != NONE else None
    article = {"accept": "a connection to", "connect": "a connection with", "write": "a write to"}
    local, remote = (known.local, known.remote) if known else (None, None)
    peer = local if word == "accept" else remote or local
    if known and local and not remote and known.target.startswith("socket:udp"):
        peer = f"a socket bound to {local}"
    name = peer or (known.target if known else "a file descriptor")
    number = f" (fd {fd})" if fd != NONE else ""
    return f"{article.get(word, 'a read from')} {name}{number}, {_deadline(graph, row)}"


def _deadline(graph: WaitGraph, row: int) -> str:
    """When waits for file descriptor `row` end by themselves. Reads and writes have a deadline each, of which the earlier one is
    known."""
    deadline_ns = int(graph.objects.deadline_in_ns[row])
    if deadline_ns == UNKNOWN:
        return "no deadline"
    waits = slice(*np.searchsorted(graph.waits.object, [row, row + 1]))
    writes = np.isin(graph.waits.operation[waits], _WRITES)
    other = " of this wait or another one on it" if writes.any() and not writes.all() else ""
    return _when("deadline", deadline_ns) + other


def _connection_facts(known: Connection) -> Iterator[str]:
    if known.state not in (None, "ESTABLISHED", "LISTEN"):
        yield known.state or ""
    if known.receive_queue_bytes:
        yield f"{size(known.receive_queue_bytes)} not read yet"
    if known.send_queue_bytes:
        yield f"{size(known.send_queue_bytes)} not acknowledged by the peer"


def _when(word: str, in_ns: int) -> str:
    return f"{word} in {duration(in_ns)}" if in_ns > 0 else f"{word} now"
