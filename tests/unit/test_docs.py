"""The documents: links resolve, commands parse, tables agree with the code."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from spyglass import cli
from spyglass.analysis.findings import SEVERITIES, thresholds
from spyglass.cli import exit_status
from spyglass.cli.common_options import Settings
from spyglass.cli.filter_options import filter_options
from spyglass.formats import EXPORTERS
from spyglass.kubectl.command import command as plugin

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]  # fmt: skip
PAGES = [path for path in DOCUMENTS if path.name not in ("CONTRIBUTING.md", "CHANGELOG.md")]

#: ``[text](target)``, and pictures.
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
#: Code between backticks, which may go on in the next line.
CODE = re.compile(r"`([^`]+)`")
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
UNITS = {"ms": 10**6, "s": 10**9, "MiB": 1 << 20}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def tables(path: Path) -> list[list[list[str]]]:
    """The tables of a page: their rows, as lists of cells, without the title row."""
    found = re.findall(r"(?:^\|.*\|\n)+", text_of(path), re.MULTILINE)
    rows = [[re.split(r"(?<!\\)\|", line)[1:-1] for line in each.splitlines()] for each in found]
    return [[[cell.strip() for cell in row] for row in each[2:]] for each in rows]


def column(path: Path, title: str) -> list[str]:
    """The words between backticks in the first column of the table whose title begins with `title`."""
    lines = text_of(path).splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {title} |"))
    cells = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells.append(line.split("|")[1])
    return [word for cell in cells for word in CODE.findall(cell)]


def command_lines(path: Path) -> Iterator[str]:
    """What begins with ``spyglass`` in code: in lines of blocks, after a prompt too, and between backticks."""
    text = text_of(path)
    for block in FENCE.findall(text):
        for line in block.splitlines():
            stripped = line.strip().removeprefix("$ ")
            if re.match(r"(sudo )?spyglass ", stripped):
                yield stripped
    for code in CODE.findall(FENCE.sub("", text)):
        if re.match(r"(sudo )?spyglass (?!COMMAND)\S", code):
            yield " ".join(code.split())


def arguments_of(line: str) -> Iterator[list[str]]:
    """The arguments of each run of spyglass in a shell's `line`."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    run: list[str] = []
    for word in [*lexer, ";"]:
        if word not in (";", "|", "&&", ">", ")"):
            run.append(word)
            continue
        words = run[1:] if run[:1] == ["sudo"] else run
        if words[:1] == ["spyglass"]:
            yield words[1:]
        run = []


def parse(arguments: list[str]) -> None:
    """Parse `arguments`, which begin with a command or a target; `click.UsageError` if they are wrong."""
    words = [{"PID": "1234", "DURATION": "10s", "N": "5"}.get(word, word) for word in arguments]
    if words[0].startswith("-"):
        return cli.spyglass.make_context("spyglass", words, resilient_parsing=True).close()
    name = words.pop(0) if words[0] in cli.COMMANDS else "summary"
    with click.Context(
        cli.spyglass, info_name="spyglass", obj=Settings(), **cli.spyglass.context_settings
    ) as root:
        command = cli.spyglass.get_command(root, name)
        assert command is not None
        command.make_context(name, words, parent=root).close()


COMMAND_LINES = [
    pytest.param(line, id=f"{path.name}: {line}")
    for path in DOCUMENTS
    for line in dict.fromkeys(command_lines(path))
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(path: Path) -> None:
    for target in LINK.findall(CODE.sub("", FENCE.sub("", text_of(path)))):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_on_the_map() -> None:
    linked = {(ROOT / name).resolve() for name in LINK.findall(text_of(ROOT / "README.md"))}
    assert set(DOCUMENTS) - {ROOT / "README.md"} <= linked


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_commands_parse(line: str) -> None:
    runs = list(arguments_of(line))
    assert runs
    for arguments in runs:
        parse(arguments)


@pytest.mark.parametrize(
    "line", ["spyglass dump 1234 --grp", "sudo spyglass ps --sort name", "spyglass diff a -p x"]
)
def test_a_wrong_command_does_not_parse(line: str) -> None:
    (arguments,) = arguments_of(line)
    with pytest.raises(click.UsageError):
        parse(arguments)


def test_commands_of_the_plugin_parse() -> None:
    page = text_of(ROOT / "docs" / "kubernetes.md")
    lines = re.findall(r"^kubectl spyglass (.*)$", page, re.MULTILINE)
    assert lines
    for line in lines:
        plugin.make_context("kubectl spyglass", shlex.split(line)).close()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_options_exist(path: Path) -> None:
    text = text_of(path)
    codes = [*command_lines(path), *CODE.findall(FENCE.sub("", text))]
    ours = [
        code for code in codes if not code.startswith(("docker", "--cap-add", "--pid container"))
    ]
    written = {option for code in ours for option in re.findall(r"(?<![\w-])--[a-z-]+", code)}
    assert written <= all_options()


def all_options() -> set[str]:
    """The names of the long options of all commands."""
    root = click.Context(cli.spyglass, **cli.spyglass.context_settings)
    commands = [cli.spyglass, *(cli.spyglass.get_command(root, name) for name in cli.COMMANDS)]
    commands.append(plugin)
    params = [param for command in commands if command for param in command.get_params(root)]
    return {name for param in params for name in (*param.opts, *param.secondary_opts)}


def test_all_commands_are_described() -> None:
    titles = anchors(ROOT / "docs/commands.md")
    assert set(cli.COMMANDS) <= titles


def test_filters_in_the_table_are_those_of_the_commands() -> None:
    @filter_options
    def nothing() -> None: ...

    options: list[click.Option] = nothing.__click_params__  # type: ignore[attr-defined]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    written = {word.split()[0] for word in column(ROOT / "docs/commands.md", "option")}
    assert {word for word in written if word.startswith("--")} == known


def kinds_in_code() -> set[str]:
    """The literal kinds that sources of findings give to `Finding`."""
    kinds = set()
    for path in (ROOT / "spyglass/analysis/findings").glob("*.py"):
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Finding":
                kinds |= {ast.literal_eval(each.value) for each in node.keywords if each.arg == "kind"}  # fmt: skip
    return kinds


def test_kinds_of_findings_are_those_of_the_code() -> None:
    path = ROOT / "docs/findings.md"
    assert set(column(path, "kind")) == kinds_in_code()
    assert tuple(column(path, "severity")) == SEVERITIES


def test_thresholds_are_those_of_the_code() -> None:
    written = {}
    for name, value, *_ in next(rows for rows in tables(ROOT / "docs/findings.md") if rows[0][0].strip("`").isupper()):  # fmt: skip
        number, _, unit = value.partition(" ")
        written[name.strip("`")] = float(number) * UNITS.get(unit, 1)
    assert written == {name: getattr(thresholds, name) for name in thresholds.__all__}


def test_formats_are_those_of_the_code() -> None:
    rows = next(rows for rows in tables(ROOT / "docs/formats.md") if rows[0][0] == "json")
    written = {row[0]: tuple(CODE.findall(row[2])) for row in rows if row[2]}
    assert written == {each.name: each.extensions for each in EXPORTERS if each.takes == "snapshot"}


def test_formats_of_profiles_are_those_of_the_code() -> None:
    rows = next(rows for rows in tables(ROOT / "docs/formats.md") if rows[0][0] == "pprof")
    written = {row[0]: tuple(CODE.findall(row[1])) for row in rows}
    assert written == {each.name: each.extensions for each in EXPORTERS if each.takes == "profile"}


def test_fields_of_a_profile_are_those_of_the_schema() -> None:
    schema = json.loads(text_of(ROOT / "spyglass/export/profile.schema.json"))
    written = set(column(ROOT / "docs/formats.md", "of a profile")) & set(schema["properties"])
    assert written == set(schema["properties"]) - {"schema", "spyglass_version"}


def test_fields_of_a_snapshot_are_those_of_the_schema() -> None:
    schema = json.loads(text_of(ROOT / "spyglass/export/snapshot.schema.json"))
    written = set(column(ROOT / "docs/formats.md", "field")) & set(schema["properties"])
    assert written == set(schema["properties"]) - {"schema", "spyglass_version"}


def test_schemas_are_listed() -> None:
    written = set(column(ROOT / "docs/formats.md", "schema"))
    files = (ROOT / "spyglass/export").glob("*.schema.json")
    assert written == {json.loads(text_of(file))["$id"] for file in files}


def test_exit_statuses_are_those_of_the_code() -> None:
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8").partition("## Exit statuses")[2]
    written = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    documented = re.findall(r"^(\d+) ", exit_status.__doc__ or "", re.MULTILINE)
    assert written == {int(number) for number in documented}
    assert {exit_status.LIMIT_EXCEEDED, exit_status.INTERRUPTED} <= written


def folders() -> set[str]:
    """The names of the folders of the source."""
    return {path.parent.name for path in (ROOT / "spyglass").glob("*/__init__.py")}


def test_the_design_names_the_parts_of_the_source() -> None:
    parts = column(ROOT / "docs/DESIGN.md", "part")
    assert [part for part in parts if not (ROOT / "spyglass" / part).exists()] == []
    assert folders() == {part.split("/")[0] for part in parts if "/" in part}


def test_the_map_in_the_readme_names_the_folders_of_the_source() -> None:
    (block,) = (text for text in FENCE.findall(text_of(ROOT / "README.md")) if "  memory" in text)
    starts = [re.split(r"  +", line.strip())[0] for line in block.splitlines()]
    assert folders() <= {word for start in starts for word in start.split()}
