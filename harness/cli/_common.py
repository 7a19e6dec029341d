"""Options that several verbs share, and how tables, JSON and errors are printed."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

CAUSE = {
    "usage": "the command, or the protocol, data or manifest that it reads",
    "submission": "the submission",
    "infrastructure": "this machine, not the submission",
}
"""Whose fault an error is, by its party."""

DEFAULT_LEADERBOARD = Path("leaderboard")
QUIET = "harness.quiet"  # a key of click's context
ID_COLUMNS = ("id", "record")
NARROWEST = 9  # columns of the screen that a table's column needs to be readable, with its border
MAX_WIDTH = 10_000  # of a table that goes to a file or a pipe


def complete_protocol(_context: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names of protocols that begin with what was typed, else files.

    `harness.protocol.protocol_names` has them too, but its import takes half a second at every press of Tab.
    """
    from harness.base.shipped import shipped

    folders = (Path("protocols"), shipped("protocols"))
    return _or_files(sorted({path.stem for folder in folders for path in folder.glob("*.yaml")}), begun)


class SubmissionFolder(click.Path):
    """The folder of a submission, or its slug where `submissions/` has it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Path:
        named = Path("submissions") / str(value)
        by_slug = not Path(value).exists() and named.is_dir()
        return Path(str(super().convert(str(named) if by_slug else value, param, context)))


def complete_submission(_context: click.Context, _argument: click.Parameter, begun: str) -> list[CompletionItem]:
    """The folders in `submissions/` that begin with what was typed, else files."""
    return _or_files(sorted(str(path.parent) for path in Path("submissions").glob("*/submission.yaml")), begun)


def _or_files(known: list[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(one) for one in known if one.startswith(begun)] or [CompletionItem(begun, type="file")]


protocol_option = click.option(
    "-p",
    "--protocol",
    default="phantom",
    show_default=True,
    help="Name of a protocol (harness list) or its .yaml file.",
    shell_complete=complete_protocol,
)
leaderboard_option = click.option(
    "--leaderboard",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_LEADERBOARD,
    envvar="HARNESS_LEADERBOARD",
    show_envvar=True,
    show_default=True,
    help="Folder of records, tables and site.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def record_folder(record: Path, leaderboard: Path) -> Path:
    """The folder of a record that is given by folder, by id, by the beginning of an id, or by slug.

    UsageError where no record has it, or several do.
    """
    if record.is_dir():
        return record
    from harness.base.errors import UsageError
    from harness.base.text import first_few

    folders = [path.parent for path in sorted(leaderboard.glob("records/*/*/*/record.json"))]
    begun = [path for path in folders if path.name.startswith(str(record)) and not path.name.startswith(".")]
    found = [path for path in begun if path.name == str(record)] or begun
    found = found or [path for path in folders if path.parent.name == str(record)]
    if len(found) == 1:
        return found[0]
    there = "" if leaderboard == DEFAULT_LEADERBOARD else f" --leaderboard {leaderboard}"
    known = f"harness list records{there}"
    if found:
        ids = ", ".join(first_few([f"{path.name} ({path.parts[-3]})" for path in found]))
        raise UsageError(
            f"{record}: several records of {leaderboard} have that slug or ids that begin with it: {ids}",
            fix=f"give one of the ids; known ids: {known}",
        )
    raise UsageError(f"no record with the id, slug or folder {record} in {leaderboard}", fix=f"known ids: {known}")


def _choose_engine(_context: click.Context, _option: click.Parameter, name: str | None) -> None:
    """Set the variable that every connection to an engine reads, in this process and in those that it starts."""
    if name is not None:
        from harness.engines import engine_name

        os.environ["HARNESS_ENGINE"] = engine_name(name)


engine_option = click.option(
    "--engine",
    callback=_choose_engine,
    expose_value=False,
    help="Container engine: docker, podman, apptainer. [default: $HARNESS_ENGINE, else docker]",
)


def add_quiet(command: click.Command) -> None:
    """Give a verb, and those of a group, the option -q: no progress."""
    if isinstance(command, click.Group):
        for verb in command.commands.values():
            add_quiet(verb)
        return
    command.params.append(
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_be_quiet,
            help="Show no progress.",
        )
    )


def _be_quiet(context: click.Context, _option: click.Parameter, quiet: bool) -> None:
    context.meta[QUIET] = quiet


def is_quiet() -> bool:
    """Whether the verb that runs was given -q."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(QUIET))


def given_options(context: click.Context, *names: str) -> str:
    """Those of these options that were typed, with their values, for a command to type next: " -p mine.yaml"."""
    from shlex import quote

    typed = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.name in names and source is not None and source.name == "COMMANDLINE":
            value = os.environ["HARNESS_ENGINE"] if option.name == "engine" else context.params[option.name]
            typed.append(f" {option.opts[0]} {quote(str(value))}")
    return "".join(typed)


def show_error(error: Exception) -> None:
    """Print an error to standard error; one that nobody raised on purpose with its traceback."""
    from harness.base.unforeseen import as_harness_error

    known = as_harness_error(error)
    if known is not error and not isinstance(error, OSError):
        lines = "".join(traceback.format_exception(error))
        console(stderr=True).print(lines, highlight=False, soft_wrap=True)
    print_failure(known.stage, known.exit_code, known.party, known.message, known.fix)


def print_failure(stage: str, exit_status: int, party: str, message: str, fix: str) -> None:
    """Print what failed, where, why and what to do, to standard error.

    `error:` begins a line of its own: `harness run` of several submissions reads it there.
    """
    screen = console(stderr=True)
    lines = {"error": message, "stage": f"{stage} (exit status {exit_status})", "cause": CAUSE[party], "fix": fix}
    for label, text in lines.items():
        if text:
            style = "bold red" if label == "error" else "bold"
            screen.print(f"{label}:", style=style, end=" " * (6 - len(label)))
            screen.print(text, highlight=False, soft_wrap=True)


def console(*, stderr: bool = False) -> Console:
    from harness.cli.screen import Screen

    return Screen(stderr=stderr)


def print_json(value: Any) -> None:
    import msgspec

    print(json.dumps(msgspec.to_builtins(value), indent=1, sort_keys=True))  # ASCII: no text of a stranger is raw


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*(rows[0] if rows else ["nothing found"]))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row.values()))  # text from strangers is no markup
    print_table(table)


def print_table(table: Table) -> None:
    """Print a table without cutting a cell: a terminal folds what does not fit, anything else gets whole lines."""
    screen = console()
    if not screen.is_terminal:  # a file or a pipe has no width
        screen.width = max(screen.width, screen.measure(table, options=screen.options.update(width=MAX_WIDTH)).maximum)
    for column in table.columns:
        column.overflow = "fold"
    ids = [column for column in table.columns if column.header in ID_COLUMNS]
    whole = sum(3 + max((len(str(cell)) for cell in column.cells), default=0) for column in ids)
    if whole + NARROWEST * (len(table.columns) - len(ids)) <= screen.width:  # rich cuts what may neither wrap nor fit
        for column in ids:
            column.no_wrap = True
    screen.print(table)
