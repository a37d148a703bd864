"""Run the fuzzer: python -m tests.fuzz [--target NAME] [--seconds N] [--runs N] [--corpus DIRECTORY] [--seed N].

Each target runs in a process of its own, which ends at the first input that does harm: that is left in a file, whose name
is printed, and the exit status is 1. An input may take 20 seconds and 1 GiB. With --corpus, inputs that reach new code
are kept there, and the next run goes on from them.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from tests.fuzz.target import (
    MODULES,
    WITHOUT_COMPARISONS,
    Target,
    found_inputs,
    read_input,
    target_named,
)

_INPUT_SECONDS, _INPUT_MIB = 20, 1024
_STATISTICS = re.compile(r"stat::(number_of_executed_units|peak_rss_mb):\s+(\d+)")
_SHOWN_CHARACTERS = 6000


def main() -> int:
    """Fuzz one target, or all of them one after the other."""
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("--target", choices=sorted(MODULES), help="one target; otherwise all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=-1, help="inputs at most for each target")
    parser.add_argument(
        "--corpus", type=Path, help="a directory to keep inputs in, and to go on from"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of random numbers; 0: another each time"
    )
    chosen = parser.parse_args()
    if chosen.target:
        return _fuzz_all([chosen.target], chosen)
    results = [_fuzz_all([name for name in MODULES if name not in WITHOUT_COMPARISONS], chosen)]
    for name in WITHOUT_COMPARISONS:  # in a process whose modules are imported in another way
        alone = [sys.executable, "-m", "tests.fuzz", *sys.argv[1:], "--target", name]
        results.append(int(subprocess.run(alone, check=False).returncode != 0))
    return max(results)


def _fuzz_all(names: list[str], chosen: argparse.Namespace) -> int:
    """Fuzz targets of one kind, one after the other."""
    from atheris.import_hook import HookManager

    # As instrument_imports(), which always follows comparisons.
    hooks = HookManager({"spyglass"}, set(), True, names[0] not in WITHOUT_COMPARISONS)
    with tempfile.TemporaryDirectory() as own, hooks:
        tempfile.tempdir = own
        return max(_in_child(name, chosen) for name in names)


def _in_child(name: str, chosen: argparse.Namespace) -> int:
    """Fuzz target `name` in a child, because libFuzzer ends its process; print what came of it."""
    with redirect_stderr(io.StringIO()):  # atheris names every module
        target = target_named(name)
    corpus = (chosen.corpus or Path(tempfile.gettempdir())) / name
    corpus.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            os.dup2(log.fileno(), sys.stderr.fileno())
            _fuzz(name, target, corpus, chosen)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log.seek(0)
        said = log.read().decode("utf-8", "backslashreplace")
    told = dict(_STATISTICS.findall(said))
    count, rss = int(told.get("number_of_executed_units", 0)), told.get("peak_rss_mb", "?")
    rate = count / (time.monotonic() - began)
    print(f"{name:15} {count:>10} inputs  {rate:>6.0f}/s  {rss:>5} MiB", flush=True)
    if status:
        print(said[-_SHOWN_CHARACTERS:], f"{name}: an input did harm", sep="\n", flush=True)
    return int(status != 0)


def _fuzz(name: str, target: Target, corpus: Path, chosen: argparse.Namespace) -> None:
    """Fuzz `target` in this process, which libFuzzer ends."""
    import atheris

    for number, data in enumerate([*target.seeds(), *found_inputs(name)]):
        (corpus / f"seed-{number}").write_bytes(data)
        read_input(target, data)  # imports what is imported when it is needed
    warnings.simplefilter("error")
    _limit_memory()
    arguments = [
        "fuzz", str(corpus), f"-max_total_time={chosen.seconds}", f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={2 * _INPUT_MIB}", f"-seed={chosen.seed}", f"-max_len={target.max_bytes}",
        f"-artifact_prefix={Path.cwd()}/fuzz-{name}-", "-print_final_stats=1", "-verbosity=0", f"-runs={chosen.runs}",
    ]  # fmt: skip
    options = {} if target.mutate is None else {"custom_mutator": _mutator(target, atheris)}
    atheris.Setup(arguments, lambda data: read_input(target, data), **options)
    atheris.Fuzz()


def _mutator(target: Target, atheris: Any) -> Any:
    """Half of the time the target's own changes, half of the time libFuzzer's."""
    assert target.mutate is not None
    mutate = target.mutate

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            made = mutate(data, max_size, chance)
            if 0 < len(made) <= max_size:
                return made
        return bytes(atheris.Mutate(data, max_size))  # of the module: Fuzz() puts another one there

    return change


def _limit_memory() -> None:
    """Let this process have `_INPUT_MIB` more than it has now."""
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + (_INPUT_MIB << 20),) * 2)


if __name__ == "__main__":
    sys.exit(main())
