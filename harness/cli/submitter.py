"""`new` and `doctor`: the first two commands of somebody who has a model."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import rich_click as click

from harness.base.errors import HarnessError
from harness.base.text import counted
from harness.cli._common import console, json_option, print_json


@click.command()
@click.argument("slug")
@click.option("--name", help="Name on the leaderboard. [default: the slug]")
@click.option("--author", "authors", multiple=True, help="Author; repeat it for several. [default: you]")
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME",
    help="Python package that it imports beside the base image's: its wheels are fetched into wheels/. Repeat it.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("submissions"),
    show_default=True,
    help="Folder to make it in.",
)
def new(slug: str, name: str | None, authors: tuple[str, ...], packages: tuple[str, ...], into: Path) -> None:
    """Make submissions/SLUG from the template: a Gaussian blur, for you to replace by your model."""
    from harness.submission.manifest import new_submission

    folder = new_submission(into, slug, name=name or slug, authors=authors)
    screen = console()
    if packages:
        from harness.run.packages import add_packages

        try:
            wheels = add_packages(folder, packages)
        except HarnessError:
            shutil.rmtree(folder)  # the same command can be given again
            raise
        fetched = f"fetched {counted(len(wheels), 'wheel')} to {folder / 'wheels'}"
        screen.print(fetched, highlight=False, soft_wrap=True)
    screen.print(f"made {folder}, which runs as it is; next:", highlight=False, soft_wrap=True)
    steps = {
        f"{folder / 'denoise.py'}": "put your model where the comment says",
        f"{folder / 'submission.yaml'}": "name, authors, licence, GPU, weights; input: uint16-hu for slices in HU",
        f"harness check {folder}": "3 slices under the production limits",
        f"harness run {folder}": "the whole benchmark: a record and a row on the board",
    }
    for step, what in steps.items():
        screen.print(f"  {step:<{max(map(len, steps))}}  {what}", highlight=False, soft_wrap=True)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Report what this machine can do and how to get what is missing. Exit status 50 if `harness run` cannot work."""
    from rich.table import Column, Table
    from rich.text import Text

    from harness.base.errors import InfrastructureError
    from harness.doctor import examine

    findings = list(examine())
    if as_json:
        print_json(findings)
    else:
        table = Table.grid("", "", Column(overflow="fold"), padding=(0, 2))
        colour = {"ok": "green", "limited": "yellow", "missing": "red"}
        for one in findings:
            fix = ("\n", ("fix:", "dim"), f" {one.fix}") if one.fix else ()
            table.add_row(Text(one.state, colour[one.state]), one.what, Text.assemble(one.found, *fix))
        console().print(table)
    if any(one.state == "missing" for one in findings):
        sys.exit(InfrastructureError.exit_code)
