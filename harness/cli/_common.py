"""Options that several verbs have, and how results, tables and failures are printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from rich.console import Console

    from harness.base.errors import HarnessError

BLAME = {
    "usage": "the way the harness was called or the protocol, data or manifest it read",
    "submission": "the submission",
    "infrastructure": "this machine, not the submission",
}


def complete_protocol(_context: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names in `protocols/` that go on from what was typed, or else files.

    `harness.protocol` would say the same, but takes half a second to import, which is felt at every press of Tab.
    """
    return _or_files(sorted(path.stem for path in Path("protocols").glob("*.yaml")), begun)


def complete_submission(_context: click.Context, _argument: click.Parameter, begun: str) -> list[CompletionItem]:
    """The folders in `submissions/` that go on from what was typed, or else files."""
    return _or_files(sorted(str(path.parent) for path in Path("submissions").glob("*/submission.yaml")), begun)


def _or_files(known: list[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(one) for one in known if one.startswith(begun)] or [CompletionItem(begun, type="file")]


protocol_option = click.option(
    "-p",
    "--protocol",
    default="phantom",
    show_default=True,
    help="Protocol name or file.",
    shell_complete=complete_protocol,
)
leaderboard_option = click.option(
    "--leaderboard", type=click.Path(path_type=Path, file_okay=False), default=Path("leaderboard"), show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def record_folder(record: Path, leaderboard: Path) -> Path:
    """The folder of a record that is named by its folder or by its id."""
    known = {path.name: path for path in leaderboard.glob("records/*/*/*")}
    return record if record.is_dir() else known.get(str(record), record)


def _choose_engine(_context: click.Context, _option: click.Parameter, name: str | None) -> None:
    """For all of this command and the processes that it starts: whatever connects to an engine asks this variable."""
    if name is not None:
        from harness.engines import engine_name

        os.environ["HARNESS_ENGINE"] = engine_name(name)


engine_option = click.option(
    "--engine",
    callback=_choose_engine,
    expose_value=False,
    help="Container engine: docker, podman, apptainer. [default: $HARNESS_ENGINE, else docker]",
)


def show_error(error: HarnessError) -> None:
    print_failure(error.stage, error.exit_code, error.party, error.message, error.fix)


def print_failure(stage: str, exit_status: int, party: str, message: str, fix: str) -> None:
    screen = console(stderr=True)
    screen.print(f"[bold red]failed[/] at stage [bold]{stage}[/], exit status {exit_status}")
    screen.print("what:  " + message, markup=False, highlight=False, soft_wrap=True)
    screen.print("whose: " + BLAME[party], markup=False, highlight=False, soft_wrap=True)
    if fix:
        screen.print("do:    " + fix, markup=False, highlight=False, soft_wrap=True)


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def print_json(value: Any) -> None:
    import msgspec

    print(json.dumps(msgspec.to_builtins(value), indent=1, sort_keys=True, ensure_ascii=False))


def print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(*(rows[0] if rows else ["nothing there"]))
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row.values()))  # a stranger's words are no markup
    console().print(table)
