"""Whose a function is, by what programs of all ways to build them record of it."""

from __future__ import annotations

import pytest

from spyglass.binary.buildinfo import parse_modinfo
from spyglass.runtime.stacks.standard_library import StandardLibrary

GO = "/usr/local/go/src"
MODULES = ("net.example/x", "tools", "crypto/mine", "example.org/dep")

#: How programs were built: what the runtime's Go files, and its assembly, are recorded in.
PLAIN, TRIMMED, BAZEL = (
    (f"{GO}/runtime",) * 2,
    ("runtime",) * 2,
    ("GOROOT/src/runtime", "src/runtime"),
)
UNKNOWN = ("", "")

STANDARD = [
    (PLAIN, "net/http.(*conn).serve", f"{GO}/net/http/server.go"),
    (PLAIN, "vendor/golang.org/x/net/dns.Pack", f"{GO}/vendor/golang.org/x/net/dns/message.go"),
    (PLAIN, "new/thing.F", f"{GO}/new/thing/f.go"),
    (PLAIN, "syscall.Syscall", f"{GO}/syscall/asm_linux_amd64.s"),
    (PLAIN, "net._C2func_getaddrinfo", "_cgo_gotypes.go"),
    (PLAIN, "main._Cfunc_sleep", "_cgo_gotypes.go"),
    (PLAIN, "slices.SortFunc[go.shape.[]net.example/x.T,go.shape.int]", f"{GO}/slices/sort.go"),
    (PLAIN, "net/http.init", "?"),
    (TRIMMED, "net/http.(*conn).serve", "net/http/server.go"),
    (TRIMMED, "vendor/golang.org/x/net/dns.Pack", "vendor/golang.org/x/net/dns/message.go"),
    (TRIMMED, "syscall.Syscall", "syscall/asm_linux_amd64.s"),
    (BAZEL, "net/http.(*conn).serve", "GOROOT/src/net/http/server.go"),
    (BAZEL, "syscall.Syscall", "src/syscall/asm_linux_amd64.s"),
    (UNKNOWN, "net/http.(*conn).serve", "position.go"),
]

USERS = [
    (PLAIN, "main.main", "/home/me/main.go"),
    (PLAIN, "main.main", f"{GO}/example/main.go"),
    (PLAIN, "net.example/x/http2.Serve", "/home/me/x/http2/serve.go"),
    (PLAIN, "tools/net.F", "/home/me/tools/net/f.go"),
    (PLAIN, "text/mine.F", "/go/src/text/mine/f.go"),
    (PLAIN, "example.org/dep.Do", "/root/go/pkg/mod/example.org/dep@v1.2.3/do.go"),
    (PLAIN, "example.org/dep.Do", f"{GO}/example.org/dep/do.go"),
    (PLAIN, "gp/vendor/example.org/dep.Do", "/go/src/gp/vendor/example.org/dep/do.go"),
    (PLAIN, "cmd/go/internal/work.Build", f"{GO}/cmd/go/internal/work/build.go"),
    (PLAIN, "cmd/vendor/golang.org/x/mod.F", f"{GO}/cmd/vendor/golang.org/x/mod/f.go"),
    (PLAIN, "crypto/mine.Sum", f"{GO}/crypto/mine/sum.go"),
    (PLAIN, "example.org/dep.sum", "/root/go/pkg/mod/example.org/dep@v1.2.3/sum_amd64.s"),
    (PLAIN, "gopkg.in/yaml%2ev2.Marshal", "?"),
    (TRIMMED, "main.main", "./main.go"),
    (TRIMMED, "main.run", "net/http/main.go"),
    (TRIMMED, "net.example/x/http2.Serve", "net.example/x/http2/serve.go"),
    (TRIMMED, "example.org/dep.Do", "example.org/dep@v1.2.3/do.go"),
    (TRIMMED, "example.org/dep.sum", "example.org/dep@v1.2.3/sum_amd64.s"),
    (TRIMMED, "cmd/go/internal/work.Build", "cmd/go/internal/work/build.go"),
    (TRIMMED, "tools/net.F", "tools/net/f.go"),
    (TRIMMED, "gp/vendor/example.org/dep.Do", "gp/vendor/example.org/dep/do.go"),
    (TRIMMED, "vendor/example.org/dep.Do", "vendor/example.org/dep/do.go"),
    (TRIMMED, "example.org/dep.Do", "/elsewhere/do.go"),
    (BAZEL, "example.org/x/net/http.F", "net/http/f.go"),
    (BAZEL, "example.org/x/src/net.F", "src/net/f.go"),
    (BAZEL, "example.org/x/src/net.sum", "src/net/sum.s"),
    (BAZEL, "example.org/pb.F", "external/org_pb/f.go"),
    (UNKNOWN, "example.org/dep.Do", "position.go"),
    (UNKNOWN, "tools/net.F", "position.go"),
]


@pytest.mark.parametrize("modules", [(), MODULES], ids=["no build info", "modules"])
@pytest.mark.parametrize(("folders", "function", "file"), STANDARD)
def test_the_standard_librarys(
    folders: tuple[str, str], function: str, file: str, modules: tuple[str, ...]
) -> None:
    assert StandardLibrary.of(folders, modules, None).has(function, file)


@pytest.mark.parametrize("modules", [(), MODULES], ids=["no build info", "modules"])
@pytest.mark.parametrize(("folders", "function", "file"), USERS)
def test_the_users(
    folders: tuple[str, str], function: str, file: str, modules: tuple[str, ...]
) -> None:
    if not modules and function.startswith("crypto/mine"):
        modules = ("crypto/mine",)
    assert not StandardLibrary.of(folders, modules, None).has(function, file)


def test_modules_decide_where_paths_look_the_same() -> None:
    named = StandardLibrary.of(TRIMMED, ["crypto/mine"], None)
    for function, file in (
        ("crypto/mine.Sum", "crypto/mine/sum.go"),
        ("crypto/mine/deep.Sum", "crypto/mine/deep/sum.go"),
        ("crypto/mine.Sum", "?"),
    ):
        assert not named.has(function, file)
    assert named.has("crypto/miner.Sum", "crypto/miner/sum.go")
    assert named.has("new/thing.F", "new/thing/f.go")


def test_without_modules_the_main_package_is_the_users_and_others_by_their_first_element() -> None:
    told = StandardLibrary.of(TRIMMED, [], "crypto/mine")
    assert not told.has("crypto/mine/deep.Sum", "crypto/mine/deep/sum.go")
    assert told.has("crypto/sha256.Sum", "crypto/sha256/sum.go")
    assert not told.has("new/thing.F", "new/thing/f.go")


def test_the_modules_of_a_build_are_those_of_its_build_info() -> None:
    text = (
        "path\tnet.example/x/cmd\nmod\tnet.example/x\t(devel)\t\n"
        "dep\texample.org/dep\tv1.2.3\n=>\t./dep\t(devel)\t\ndep\ttools\tv0.0.0\th1:x=\n"
        "build\t-trimpath=true\n"
    )
    info = parse_modinfo("go1.27.3", text.encode())
    assert info.modules == ("net.example/x", "example.org/dep", "tools")
    assert (info.path, info.module) == ("net.example/x/cmd", "net.example/x")
