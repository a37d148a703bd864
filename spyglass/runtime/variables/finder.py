"""Package-level variables by name or address, and their types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from spyglass.binary.value_descriptors import ValueDescriptors
from spyglass.errors import BadDataError, MissingInfo, SpyglassError, TargetError
from spyglass.go_value import Limits, Variable, VariableName
from spyglass.runtime.variables.decoder import Decoder

if TYPE_CHECKING:
    from spyglass.binary.value_dwarf import ValueDwarf
    from spyglass.binary.value_types import ValueType
    from spyglass.runtime.context import Runtime
    from spyglass.targets import Target

__all__ = ["VariableFinder"]

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,16}")
#: Parts of names of what compilers made: no variable of a program has them.
_MADE = re.compile(r"^(?:go|type)[.:]|\.\.|^\$|[·]|^_|\.stkobj$")
#: Variables that are listed, and of how many the type is looked up.
_MAX_LISTED, _MAX_TYPED = 100_000, 500


class VariableFinder:
    """The package-level variables of `target`."""

    def __init__(self, target: Target, runtime: Runtime) -> None:
        self._target, self._runtime = target, runtime

    def read(self, words: Sequence[str], type_name: str | None, limits: Limits) -> list[Variable]:
        """The variables that `words` name, by symbols or addresses (0x...), of type `type_name` if one is given.

        Raises `SpyglassError` if one is not there, or its type is not known.
        """
        decoder = Decoder(self._runtime, self._descriptors, limits)
        found = []
        for word in words:
            name, address = self._place(word)
            kind = self._named(type_name) if type_name is not None else self._type_of(word, name)
            found.append(Variable(name, address, decoder.value(kind, address)))
        return found

    def listed(self, pattern: re.Pattern[str]) -> list[VariableName]:
        """The variables whose names contain `pattern`, by name. Raises `MissingInfo` if the program has no symbols."""
        executable, bias = self._target.executable, self._target.bias
        if executable.stripped:
            raise MissingInfo(
                "the program has no symbols: its variables have no names", _BY_ADDRESS
            )
        rows = [
            (name, address + bias, size)
            for name, address, size in executable.variables(_MAX_LISTED)
            if pattern.search(name) and not _MADE.search(name)
        ]
        return [
            VariableName(*row, self._type_name(row[0]) if number < _MAX_TYPED else None)
            for number, row in enumerate(sorted(rows))
        ]

    def _place(self, word: str) -> tuple[str, int]:
        """The name, "" if there is none, and the address of what `word` names."""
        if _ADDRESS.fullmatch(word):
            return "", int(word, 16)
        executable = self._target.executable
        if executable.stripped:
            raise MissingInfo(f"the program has no symbols: {word} cannot be found", _BY_ADDRESS)
        address = executable.symbol(word)
        if address is None:
            raise TargetError(f"the program has no variable {word}", "--list REGEX lists them")
        return word, address + self._target.bias

    def _type_of(self, word: str, name: str) -> ValueType:
        if not name:
            raise MissingInfo(f"what is at {word} is not known", "--type TYPE says it")
        if self._dwarf is None:
            why = f"the program has no debug information: the type of {name} is not known"
            raise MissingInfo(why, "--type TYPE says it, such as --type int or --type '[]string'")
        return self._dwarf.variable(name)

    def _named(self, name: str) -> ValueType:
        """The type `name`, by descriptors, else by debug information."""
        if self._descriptors is not None:
            try:
                return self._descriptors.named(name)
            except (MissingInfo, BadDataError):
                if self._dwarf is None:
                    raise
        if self._dwarf is None:
            raise MissingInfo(f"the program has no description of the type {name}")
        return self._dwarf.named(name)

    def _type_name(self, name: str) -> str | None:
        try:
            return None if self._dwarf is None else self._dwarf.variable(name).name
        except SpyglassError:
            return None

    @cached_property
    def _descriptors(self) -> ValueDescriptors | None:
        runtime = self._runtime
        try:
            place, layout = runtime.address("firstmoduledata"), runtime.layouts["moduledata"]
            row = runtime.memory.array(place, layout, 1)[0]
            begin, end = int(row["types"]), int(row["etypes"])
            return ValueDescriptors(runtime.memory, begin, end, self._target.constant)
        except SpyglassError as error:
            runtime.problem("unknown", "types", error.message)
            return None

    @cached_property
    def _dwarf(self) -> ValueDwarf | None:
        """The debug information; None if there is none. Map types are those of descriptors, which know more."""
        from spyglass.binary.value_dwarf import ValueDwarf

        try:
            found = ValueDwarf.of(self._target.executable)
        except SpyglassError:
            return None
        types, bias = self._descriptors, self._target.bias
        if types is not None:
            found.descriptor = lambda number: types.of_debug_information(number, bias)
        return found


_BY_ADDRESS = "give its address and --type TYPE"
