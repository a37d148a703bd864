"""However spyglass ends while it holds a process, the process goes on: nothing but the kernel sees to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spyglass import cli
from tests.soak.killed_stops import COMMANDS, kill_everywhere, kill_often
from tests.support import NEWEST, Flavour, start

pytestmark = pytest.mark.live


def test_it_goes_on_wherever_spyglass_is_killed() -> None:
    with start("pulse", NEWEST, Flavour.EXE, "-spin", "1", env={"GOMAXPROCS": "2"}) as process:
        places = kill_everywhere(process)
    # A seize, an interruption, a look and a detachment for each thread: one beats, one spins, one reads or looks on.
    assert places >= 5 * 3


@pytest.mark.slow
def test_it_goes_on_when_commands_are_killed_that_stop_it(tmp_path: Path) -> None:
    with start("pulse", NEWEST, Flavour.EXE, "-n", "2000") as process:
        killed = kill_often(process, tmp_path, 20)
    assert killed.holding == 20


def test_all_commands_that_can_stop_a_process_are_tried() -> None:
    have = {
        name
        for name in cli.COMMANDS
        for option in cli.spyglass.get_command(None, name).params  # type: ignore[arg-type,union-attr]
        if "--stop" in option.opts
    }
    assert have == {command[0] for command in COMMANDS}
