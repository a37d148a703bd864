"""Whose code a function is: the standard library's, or the user's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["StandardLibrary"]

_GENERATED_BY_CGO = "_cgo_gotypes.go"
#: Packages of the standard library's own dependencies (``go mod vendor`` in GOROOT/src).
_VENDORED = "vendor/golang.org/x/"
#: The go command, the compiler and the like are programs below GOROOT/src; other packages below a folder
#: ``vendor`` belong to a GOPATH.
_NOT_STANDARD = frozenset({"cmd", "vendor"})
#: The first elements of its import paths in Go 1.13 to 1.27 (the folders of GOROOT/src).
_FIRST_ELEMENTS = frozenset({
    "archive", "arena", "bufio", "builtin", "bytes", "cmp", "compress", "container", "context",
    "crypto", "database", "debug", "embed", "encoding", "errors", "expvar", "flag", "fmt", "go", "hash",
    "html", "image", "index", "internal", "io", "iter", "log", "maps", "math", "mime", "net", "os",
    "path", "plugin", "reflect", "regexp", "runtime", "simd", "slices", "sort", "strconv", "strings",
    "structs", "sync", "syscall", "testing", "text", "time", "unicode", "unique", "unsafe", "uuid",
    "weak",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class StandardLibrary:
    """Which functions of one program are the standard library's.

    Decided by what the program says of itself, in this order:

    1. Functions of package ``main`` are the user's. What cgo generated for a call (its file is
       ``_cgo_gotypes.go``) is not the user's, whichever package it is in: that file is not kept.
    2. An import path is the user's if its first element has a dot (paths without one are reserved for
       the standard library, "go help importpath"); if it is below ``cmd`` or a ``vendor`` folder, but
       for ``vendor/golang.org/x/``, the standard library's own dependencies; or if it is in one of
       `modules`: the main module and all others of the build info, and the path of the main package
       (``cmd/go: modload.ModInfoProg``). Modules may be called ``net.example/x``, ``tools`` or
       ``crypto/mine``.
    3. A path of a file tells an import path. `go_root` is the folder that the runtime's own files are
       in, as the program records them, without its last element: ``/usr/local/go/src/``, with
       rules_go ``GOROOT/src/`` (and `assembly_root` ``src/`` for files of assembly), and with
       ``-trimpath`` nothing (``runtime/proc.go``). A file elsewhere is the user's: in a module cache,
       GOPATH, a vendor folder or a workspace. The folder below `go_root` is the import path; the
       function's name tells another, and if either is the user's, so is the function.
    4. Below a `go_root` that is a folder, all that is left is the standard library's. Without one, the
       user's files look the same (``tools/x.go``): where the build info names modules, what is in none
       of them is the standard library's; where it names none (GOPATH, Bazel, no build info at all),
       that of which the standard library has the first element. A program of this kind whose package
       is called, say, ``text/mine`` is taken for the standard library.

    `go_root`, `assembly_root`: None if not known.
    """

    go_root: str | None
    assembly_root: str | None
    modules: frozenset[str]
    lists_modules: bool

    @classmethod
    def of(
        cls, runtime_folders: tuple[str, str], modules: Iterable[str], main_package: str | None
    ) -> StandardLibrary:
        """`runtime_folders`: those of the runtime's Go files and of its assembly, empty if not known.

        `modules`, `main_package`: as the build info has them.
        """
        go, assembly = (_without_runtime(folder) for folder in runtime_folders)
        named = frozenset(modules)
        own = {main_package} if main_package else set()
        return cls(go, assembly, named | own, bool(named))

    def has(self, function: str, file: str) -> bool:
        """Whether `function`, in a line of `file`, is the standard library's; "?": no file."""
        folder, slash, name = file.rpartition("/")
        if name == _GENERATED_BY_CGO:
            return True
        if function.startswith("main."):
            return False
        package = _package(function)
        if not slash:
            return not self._is_users(package) and self._is_known(package)
        root = self.assembly_root if name.endswith(".s") else self.go_root
        if root is None:
            return not self._is_users(package) and self._is_known(package)
        path = f"{folder}/".removeprefix(root)[:-1]
        if not file.startswith(root) or self._is_users(path) or self._is_users(package):
            return False
        return bool(root) or self._is_known(path)

    def _is_users(self, path: str) -> bool:
        if path.startswith(_VENDORED):
            return False
        first = path.partition("/")[0]
        if first in _NOT_STANDARD or "." in first or "/vendor/" in path:
            return True
        while path:
            if path in self.modules:
                return True
            path = path.rpartition("/")[0]
        return False

    def _is_known(self, path: str) -> bool:
        """Whether `path`, of which nothing says that it is the user's, is the standard library's."""
        is_vendored = path.startswith(_VENDORED)
        return self.lists_modules or is_vendored or path.partition("/")[0] in _FIRST_ELEMENTS


def _without_runtime(folder: str) -> str | None:
    return folder.removesuffix("runtime") if f"/{folder}".endswith("/runtime") else None


def _package(function: str) -> str:
    """The import path in a function's name, whose last element has its dots written as ``%2e``
    (``cmd/internal/objabi: PathToPrefix``)."""
    path, slash, rest = function.partition("[")[0].rpartition("/")
    return (path + slash + rest.partition(".")[0]).replace("%2e", ".")
