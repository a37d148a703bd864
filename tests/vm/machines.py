"""The machines that can be booted, by name: a kernel of Debian's, its processor and its command line."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MACHINES", "MODULES", "Machine"]

#: Modules that checks need of kernels that have them not built in, each behind those that it needs.
MODULES = (
    "zsmalloc", "lzo_compress", "lzo", "lzo-rle", "lz4_compress", "lz4hc_compress", "zram",
)  # fmt: skip

#: Of Go 1.14, 1.16, 1.17, 1.18 and 1.20, for most of which there are no toolchains.
_ESBUILD = tuple(
    f"esbuild-{version}-arm64" for version in ("0.6.15", "0.12.15", "0.13.15", "0.14.29", "0.17.19")
)


@dataclass(frozen=True)
class Machine:
    """One machine. `arch`: Debian's word for the processor. `suite`: of Debian, which has the kernel; what runs in the
    machine is always of the same suite, `image.USERLAND_SUITE`. `go`: versions of the programs that are looked at,
    "all" for every toolchain. `finished`: names of finished programs (`fixtures.fetch`) that are in it too. `packages`: of
    Debian, beside those of all machines. `options`: for the kernel. `checks`: files of `guest` that are tried, the rules
    last: one of them lasts until the machine ends."""

    name: str
    arch: str
    suite: str
    go: str = "1.27"
    finished: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    checks: tuple[str, ...] = ("commands", "memory", "targets", "doctor", "rules")

    @property
    def kernel_package(self) -> str:
        """The package with the newest kernel of the suite."""
        return f"linux-image-{self.arch}"


def _all() -> list[Machine]:
    cgroup_v1 = ("systemd.unified_cgroup_hierarchy=0", "spyglass.cgroup=1")
    return [
        Machine("amd64-5.10", "amd64", "bullseye"),
        Machine("amd64-6.1", "amd64", "bookworm"),
        Machine("amd64-6.1-cgroup1", "amd64", "bookworm", options=cgroup_v1, checks=("memory",)),
        Machine(
            "amd64-6.1-lockdown",
            "amd64",
            "bookworm",
            options=("lockdown=confidentiality",),
            checks=("commands", "doctor"),
        ),
        Machine(
            "amd64-6.1-containers",
            "amd64",
            "bookworm",
            packages=("podman", "crun", "catatonit", "docker.io", "coreutils", "dash"),
            checks=("containers",),
        ),
        Machine("amd64-6.12", "amd64", "trixie"),
        Machine("amd64-sid", "amd64", "sid"),
        Machine("arm64-6.1", "arm64", "bookworm", go="1.15,1.19,1.22,1.25,1.27"),
        Machine("arm64-6.12", "arm64", "trixie"),
        Machine(
            "arm64-6.12-versions",
            "arm64",
            "trixie",
            go="1.21,1.23,1.24,1.26",
            finished=_ESBUILD,
            checks=("commands", "finished"),
        ),
    ]


#: In the order in which all of them are run.
MACHINES: dict[str, Machine] = {machine.name: machine for machine in _all()}
