"""`new` and `doctor`: what somebody with a model needs first."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from harness.cli._common import console, json_option, print_json


@click.command()
@click.argument("slug")
@click.option("--name", help="Name on the leaderboard. [default: the slug]")
@click.option("--author", "authors", multiple=True, help="May be given more than once. [default: you]")
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), default=Path("submissions"), show_default=True
)
def new(slug: str, name: str | None, authors: tuple[str, ...], into: Path) -> None:
    """Make submissions/SLUG from the template: a Gaussian blur, to be replaced by your model."""
    from harness.submission.manifest import new_submission

    folder = new_submission(into, slug, name=name or slug, authors=authors)
    screen = console()
    screen.print(f"made {folder}: it runs as it is", markup=False, highlight=False, soft_wrap=True)
    steps = {
        f"{folder / 'denoise.py'}": "put your model where it says so",
        f"{folder / 'submission.yaml'}": "who, what, licence, GPU, weights",
        f"harness check {folder}": "3 slices under the production limits",
        f"harness run {folder}": "the whole benchmark: record and row",
    }
    for step, what in steps.items():
        screen.print(f"  {step:<{max(map(len, steps))}}  {what}", markup=False, highlight=False, soft_wrap=True)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Say what this machine can do, and how to get what is missing. Status 50 if `harness run` cannot work here."""
    from rich.markup import escape
    from rich.table import Column, Table

    from harness.base.errors import InfrastructureError
    from harness.doctor import examine

    findings = list(examine())
    if as_json:
        print_json(findings)
    else:
        table = Table.grid("", "", Column(overflow="fold"), padding=(0, 2))
        colour = {"ok": "green", "limited": "yellow", "missing": "red"}
        for one in findings:
            said = escape(one.found) + (f"\n[dim]do:[/] {escape(one.do)}" if one.do else "")
            table.add_row(f"[{colour[one.state]}]{one.state}[/]", one.what, said)
        console().print(table)
    if any(one.state == "missing" for one in findings):
        sys.exit(InfrastructureError.exit_code)
