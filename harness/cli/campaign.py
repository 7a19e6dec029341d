"""`campaign`: many submissions on many protocols, run by Snakemake; and the jobs that it starts."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from harness.cli._common import console, engine_option, json_option, print_json, print_rows
from harness.cli.batch import leave_with_worst
from harness.cli.outcomes import outcome, print_board, with_standings


@click.command()
@click.argument("plan", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("more", nargs=-1, metavar="[-- OPTIONS OF SNAKEMAKE]")
@click.option(
    "--executor", default="local", show_default=True, help="Where jobs run: local, slurm, or another plug-in."
)
@click.option("--jobs", type=click.IntRange(1), help="Cores of this machine, or jobs on the cluster at once.")
@click.option("--dry-run", is_flag=True, help="Let Snakemake list the jobs that are left, and do nothing.")
@engine_option
@json_option
def campaign(plan: Path, more: tuple[str, ...], executor: str, jobs: int | None, dry_run: bool, as_json: bool) -> None:
    """Run the submissions of PLAN, a YAML file, on its protocols, here or on a cluster: labels once a protocol, runs
    without labels at hand, scores; then the board and one table.

    Records are those of `harness run`. A failure does not stop the others, and a job without a result is tried again.
    The same command goes on with what is left, whatever was killed meanwhile (docs/campaigns.md). The exit status is
    that of `harness run` with several submissions.
    """
    from harness.base.files import in_turn
    from harness.base.process import run_interruptible
    from harness.board.build import write_board
    from harness.campaign.plan import read_plan, settle
    from harness.campaign.snakemake import forget_lost_records, outcomes, snakemake_command

    screen = console(stderr=True)

    def waiting() -> None:
        screen.print(f"another process works on the campaign {folder}; waiting for it", soft_wrap=True)

    chosen, folder = read_plan(plan)
    with in_turn(folder / ".lock", waiting=waiting) as lock:
        settled = settle(chosen, folder)
        command = snakemake_command(folder, settled, executor=executor, jobs=jobs, dry_run=dry_run, more=more)
        forget_lost_records(folder, settled)
        status = run_interruptible(command, inherits=[lock]) if settled.cells else 0
        if dry_run:
            leave_with_worst([2 if status else 0])
            return
        leaderboard = Path(settled.leaderboard)
        if (leaderboard / "records").is_dir():
            write_board(leaderboard)
        rows = []
        for cell, ended in outcomes(folder, settled):
            row = outcome(
                cell.slug, status=ended.exit_status, text=ended.message, record=ended.record, folder=ended.folder
            )
            rows.append({"protocol": cell.identity, **row})
        for one in settled.refused:
            row = outcome(Path(one.folder).name, status=one.exit_status, text=one.message)
            rows.append({"protocol": "all", **row})
    table = [{key: row[key] for key in row if key != "s"} for row in with_standings(rows, leaderboard)]
    if as_json:
        print_json(table)
    else:
        print_rows([{key: row[key] for key in row if key != "folder"} for row in table], as_json=False)
        print_board(leaderboard)
    leave_with_worst(row["exit"] for row in table)


@click.command("campaign-job", hidden=True)
@click.argument("job", type=click.Choice(["labels", "run", "score"]))
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("protocol")
@click.argument("submission", required=False)
def campaign_job(job: str, folder: Path, protocol: str, submission: str | None) -> None:
    """One job of a campaign, as its Snakefile starts it."""
    from harness.campaign.jobs import labels_job, run_job, score_job
    from harness.cli.terminal import TerminalReporter

    place, reporter = folder.absolute(), TerminalReporter()
    if submission is None:
        labels_job(place, protocol, reporter)
    else:
        {"run": run_job, "score": score_job}[job](place, protocol, submission, reporter)
