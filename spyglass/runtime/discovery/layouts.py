"""Where the fields of the runtime's structs are, for one program: candidates, best first.

A struct layout is a numpy structured dtype. Where it comes from, in order: the table of that Go version
(``tables/``, made from real toolchains by fixtures/layouts.py), the program's own debug information,
the program's own type descriptors. None of them is believed here: the caller checks each candidate
against the live process and takes the first that holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.binary.types import Type, locate
from spyglass.errors import BadDataError, MemoryFault, MissingInfo
from spyglass.runtime.discovery.required_fields import STRUCTS, Field

if TYPE_CHECKING:
    from spyglass.binary.executable import Executable
    from spyglass.memory.base import Memory

__all__ = [
    "GoVersion",
    "Layouts",
    "StructLayout",
    "candidate_layouts",
    "known_fingerprints",
    "moduledata_layouts",
    "resolve",
]

_VERSION = re.compile(r"(?:devel )?go(\d{1,2})\.(\d{1,3})(\.\d+)?(.*)", re.DOTALL)
_TABLE_NAME = re.compile(r"go(\d+)\.(\d+)-(\w+)\.json")


@dataclass(frozen=True, order=True)
class GoVersion:
    """The part of a ``runtime.buildVersion`` that layouts depend on.

    `plain`: nothing but a release; otherwise an experiment, a release candidate, a development build
    or a vendor's own, whose layouts may differ from the release's.
    """

    major: int
    minor: int
    plain: bool = field(default=True, compare=False)

    @classmethod
    def parse(cls, text: str) -> GoVersion | None:
        """ "go1.27.3", "go1.20.3 X:nocoverageredesign", "devel go1.28-1ab2 ..."; None if it is neither."""
        match = _VERSION.match(text)
        if match is None:
            return None
        plain = not match[4] and text.startswith("go")
        return cls(int(match[1]), int(match[2]), plain)

    def __str__(self) -> str:
        return f"go{self.major}.{self.minor}"


@dataclass(frozen=True)
class StructLayout:
    """The size of a struct in bytes, and offset and numpy format of its needed fields by name."""

    size: int
    fields: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Layouts:
    """The structs of `spyglass.runtime.discovery.required_fields` as numpy dtypes, by name without "runtime.".

    ``layouts["g"]`` is a dtype as large as the struct; nested fields are nested dtypes
    (``rows["sched"]["pc"]``); optional fields that this program lacks are absent, and so are structs
    that are not known: asking for one raises `MissingInfo`. `doubts` says, by struct, why one is absent or less than
    certain.
    """

    source: str
    structs: Mapping[str, np.dtype[Any]]
    doubts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        source: str,
        structs: Mapping[str, StructLayout],
        doubts: Mapping[str, str] | None = None,
    ) -> Layouts:
        """Layouts from the offsets of fields."""
        dtypes = {name: _dtype(layout.fields, layout.size) for name, layout in structs.items()}
        return cls(source, dtypes, doubts or {})

    def __getitem__(self, name: str) -> np.dtype[Any]:
        try:
            return self.structs[name]
        except KeyError:
            reason = self.doubts.get(name, f"{self.source} does not have it")
            raise MissingInfo(f"the layout of runtime.{name} is not known: {reason}") from None

    def __contains__(self, name: object) -> bool:
        return name in self.structs

    def has(self, struct: str, path: str) -> bool:
        """Whether `struct` is known and has the field at `path` ("gFree.stack.size")."""
        inner: np.dtype[Any] | None = self.structs.get(struct)
        for name in path.split("."):
            if inner is None or inner.fields is None or name not in inner.fields:
                return False
            inner = inner.fields[name][0]
        return True


def candidate_layouts(
    go_version: str,
    arch: str,
    executable: Executable | None,
    memory: Memory | None,
    types: tuple[int, int] | None,
    constant: Callable[[int, int], bytes] | None = None,
) -> Iterator[Layouts]:
    """The layouts that may be those of a program, best first; any of them may still be wrong.

    `go_version` is its ``runtime.buildVersion``; `types` are the addresses between which `memory` has
    its type descriptors (``moduledata.types`` and ``etypes``), and `constant` reads (address, size) of
    what never changes, from the program's file. A source without information, or with implausible information, is
    passed over.
    """
    version = GoVersion.parse(go_version)
    described = cache(lambda: _from_descriptors(memory, types, constant))
    table = _load_table(version, arch) if version is not None else None
    if version is not None and table is not None:
        known = _table_structs(table)
        if version.plain or _agree(known, described(), ("g", "m", "p")):
            yield Layouts.of(f"table {version}", known)
    if executable is not None:
        debug = _from_dwarf(executable)
        if "g" in debug:
            yield Layouts.of("DWARF", debug)
    if "g" in described():
        if version is not None and version.plain and table is not None:
            both = {**_table_structs(table), **described()}
            yield Layouts.of(f"type descriptors, table {version}", both)
        yield _with_neighbours(described(), version, arch)


def known_fingerprints(go_version: str, arch: str) -> dict[str, Any] | None:
    """Where that version's code mentions the runtime's variables; None if there is no table."""
    version = GoVersion.parse(go_version)
    table = _load_table(version, arch) if version is not None else None
    return table.get("fingerprints") if table is not None else None


def moduledata_layouts(go_version: str, arch: str) -> Iterator[np.dtype[Any]]:
    """``runtime.moduledata`` as the tables of that version, or of its neighbours, have it.

    Type descriptors are found through it, before anything else is known.
    """
    version = GoVersion.parse(go_version)
    tables = _neighbours(version, arch) if version is not None else {}
    for name in sorted(tables, key=lambda name: name != str(version)):
        yield Layouts.of(name, {"moduledata": tables[name]["moduledata"]})["moduledata"]


def resolve(find: Callable[[str], Type]) -> dict[str, StructLayout]:
    """The layouts of all the structs that `find` knows and that have every field they must have.

    `find` takes a qualified name ("runtime.g") and raises `MissingInfo` for a type it does not know.
    """
    found = {}
    for name, fields in STRUCTS.items():
        try:
            layout = _resolve_struct(find(f"runtime.{name}"), fields)
        except MissingInfo:
            continue
        if layout is not None:
            found[name] = layout
    return found


def _resolve_struct(struct: Type, fields: tuple[Field, ...]) -> StructLayout | None:
    found: dict[str, tuple[int, str]] = {}
    for wanted in fields:
        place = _resolve_field(struct, wanted)
        if place is not None:
            found[wanted.name] = place
        elif not wanted.optional:
            return None
    return StructLayout(struct.size, found) if found else None


def _resolve_field(struct: Type, wanted: Field) -> tuple[int, str] | None:
    for name in wanted.names:
        place = locate(struct, name)
        if place is not None and wanted.fits(place[1]):
            offset, size = place[0], np.dtype(place[1]).itemsize
            if offset + size > struct.size:
                raise BadDataError(f"{wanted.name} lies outside its struct")
            return place
    return None


def _dtype(fields: Mapping[str, tuple[int, str]], size: int, base: int = 0) -> np.dtype[Any]:
    """A structured dtype of fields at absolute offsets, `base` being that of the dtype itself.

    It has them in the order of their offsets: equal layouts make equal dtypes.
    """
    inner: dict[str, dict[str, tuple[int, str]]] = {}
    for path, place in sorted(fields.items(), key=lambda field: (field[1], field[0])):
        name, _, rest = path.partition(".")
        inner.setdefault(name, {})[rest] = place
    formats: list[Any] = []
    offsets = []
    for places in inner.values():
        begin = min(offset for offset, _ in places.values())
        end = max(offset + np.dtype(kind).itemsize for offset, kind in places.values())
        formats.append(places[""][1] if "" in places else _dtype(places, end - begin, begin))
        offsets.append(begin - base)
    return np.dtype(
        {"names": list(inner), "formats": formats, "offsets": offsets, "itemsize": size}
    )


def _load_table(version: GoVersion, arch: str) -> dict[str, Any] | None:
    resource = files("spyglass.runtime.discovery").joinpath("tables", f"{version}-{arch}.json")
    if not resource.is_file():
        return None
    table: dict[str, Any] = json.loads(resource.read_text())
    return table


def _table_structs(table: Mapping[str, Any]) -> dict[str, StructLayout]:
    return {
        name: StructLayout(
            struct["size"], {path: (place[0], place[1]) for path, place in struct["fields"].items()}
        )
        for name, struct in table["structs"].items()
    }


def _from_dwarf(executable: Executable) -> dict[str, StructLayout]:
    from spyglass.binary.dwarf import Dwarf

    try:
        return resolve(Dwarf.of(executable).struct)
    except (BadDataError, MissingInfo):
        return {}


def _from_descriptors(
    memory: Memory | None,
    types: tuple[int, int] | None,
    constant: Callable[[int, int], bytes] | None,
) -> dict[str, StructLayout]:
    from spyglass.binary.gotypes import GoTypes

    if memory is None or types is None:
        return {}
    try:
        described = GoTypes(memory, *types, constant)
        try:
            return resolve(described.struct)
        finally:
            described.forget()
    except (BadDataError, MemoryFault, MissingInfo):
        return {}


def _agree(
    ours: Mapping[str, StructLayout], theirs: Mapping[str, StructLayout], names: tuple[str, ...]
) -> bool:
    return all(name in theirs and ours.get(name) == theirs[name] for name in names)


def _with_neighbours(
    described: Mapping[str, StructLayout], version: GoVersion | None, arch: str
) -> Layouts:
    """What type descriptors say; structs that have none, as the versions below and above have them.

    A struct is taken only as far as both neighbours agree on it.
    """
    neighbours = _neighbours(version, arch) if version is not None else {}
    known = " and ".join(reversed(neighbours))
    structs, doubts = dict(described), {}
    for name in STRUCTS.keys() - described.keys():
        shared = _common(name, *neighbours.values()) if len(neighbours) == 2 else None
        if shared is not None:
            structs[name] = shared
            doubts[name] = f"as in {known}, which agree on it"
        else:
            doubts[name] = (
                f"{known} differ in it" if len(neighbours) == 2 else "it is not described"
            )
    taken = structs.keys() - described.keys()
    source = f"type descriptors, {known}" if taken else "type descriptors"
    return Layouts.of(source, structs, doubts)


def _neighbours(version: GoVersion, arch: str) -> dict[str, dict[str, StructLayout]]:
    """The nearest tables: of one above, and of that version or one below."""
    known = sorted(_table_versions(arch))
    below = [other for other in known if other <= version][-1:]
    above = [other for other in known if other > version][:1]
    tables = {str(other): _load_table(other, arch) for other in above + below}
    return {name: _table_structs(table) for name, table in tables.items() if table is not None}


def _table_versions(arch: str) -> Iterator[GoVersion]:
    for resource in files("spyglass.runtime.discovery").joinpath("tables").iterdir():
        match = _TABLE_NAME.fullmatch(resource.name)
        if match is not None and match[3] == arch:
            yield GoVersion(int(match[1]), int(match[2]))


def _common(
    name: str, below: Mapping[str, StructLayout], above: Mapping[str, StructLayout]
) -> StructLayout | None:
    """What two versions agree on of struct `name`; None if that is less than what must be known."""
    ours, theirs = below.get(name), above.get(name)
    if ours is None or theirs is None:
        return None
    same = {path: at for path, at in ours.fields.items() if theirs.fields.get(path) == at}
    if any(wanted.name not in same and not wanted.optional for wanted in STRUCTS[name]):
        return None
    if ours.size == theirs.size:
        return StructLayout(ours.size, same)
    return StructLayout(max(at + np.dtype(kind).itemsize for at, kind in same.values()), same)
