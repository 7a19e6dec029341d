"""The command `harness`: verbs -> pipeline, errors -> exit status.

Stages are imported inside the verbs: `harness --help` must not wait for torch.
"""

from __future__ import annotations

import contextlib
import io
import locale
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

import rich_click as click
from click.exceptions import Exit

from harness import __version__
from harness.base.errors import InfrastructureError, UsageError
from harness.base.text import is_text
from harness.base.unforeseen import as_harness_error
from harness.cli._common import add_quiet, show_error
from harness.cli.board import board, list_, withdraw
from harness.cli.campaign import campaign, campaign_job
from harness.cli.ci import ci
from harness.cli.data import data
from harness.cli.engine import engine
from harness.cli.importing import import_
from harness.cli.organiser import secret, sign
from harness.cli.purification import labels, noise, pairs
from harness.cli.scoring import anchors, audit, check, run, score
from harness.cli.store import store
from harness.cli.submitter import doctor, new
from harness.cli.weights import weights

INTERRUPTED = 130


def main() -> NoReturn:
    """Entry point: run a verb; print a HarnessError with its cause and fix, and exit with its status."""
    _speak_utf8()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _refuse_bytes(sys.argv[1:])
        cli.main(prog_name="harness", standalone_mode=False)
        if sys.stdout is not None:  # closed from the start
            sys.stdout.flush()
    except Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except (KeyboardInterrupt, click.Abort) as stop:
        notes = getattr(stop.__context__ or stop, "__notes__", [])  # click makes an Abort of what the verb raised
        print("; ".join(["interrupted: finished work is kept", *notes]), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        show_error(error)
        sys.exit(as_harness_error(error).exit_code)
    sys.exit(0)


def _speak_utf8() -> None:
    """Text in files, and the names of files, are UTF-8 whatever the locale is: where it is another (LC_ALL=C), start
    again in Python's UTF-8 mode. The terminal keeps its encoding; what that lacks is printed as question marks."""
    if not sys.flags.utf8_mode and locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONIOENCODING"] = f"{sys.stdout.encoding}:replace"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if type(sys.stdout) is io.TextIOWrapper:
        sys.stdout = _Output.of(sys.stdout)


class _Output(io.TextIOWrapper):
    """Standard output that says what is wrong where it cannot be written; a reader that has left is none of that."""

    @classmethod
    def of(cls, stream: io.TextIOWrapper) -> _Output:
        encoding, errors, lines, at_once = stream.encoding, stream.errors, stream.line_buffering, stream.write_through
        return cls(stream.detach(), encoding, errors, line_buffering=lines, write_through=at_once)

    def write(self, text: str) -> int:
        with self._named():
            return super().write(text)

    def flush(self) -> None:
        with self._named():
            super().flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # Python writes what is left when it ends
            fix = "free some space there, or send the output elsewhere"
            raise InfrastructureError(f"standard output: {error.strerror}", fix=fix) from None


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """UsageError for an argument that no file of ours could hold as text."""
    for argument in arguments:
        if not is_text(argument):
            raise UsageError(f"the argument {argument!a} is not text in UTF-8", fix="rename it, or write it in UTF-8")


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    """SIGTERM ends a run like Ctrl-C: the container is removed first."""
    raise KeyboardInterrupt


click.rich_click.COMMAND_GROUPS = {
    "harness": [
        {"name": "Submit a denoiser", "commands": ["new", "check", "run"]},
        {"name": "Labels and data", "commands": ["import", "labels", "pairs", "noise", "data"]},
        {
            "name": "Scores and the leaderboard",
            "commands": ["list", "score", "anchors", "audit", "board", "store", "withdraw"],
        },
        {"name": "Organise a benchmark", "commands": ["campaign", "secret", "sign", "ci"]},
        {"name": "This machine", "commands": ["doctor", "engine", "weights"]},
    ]
}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Benchmark ultra-low-dose lung CT denoisers that are submitted as containers."""


for verb in (
    new, check, run, score, audit, anchors, import_, labels, pairs, noise, data, board, store, withdraw, list_, weights,
    campaign, campaign_job, secret, sign, ci, engine, doctor,
):  # fmt: skip
    add_quiet(verb)
    cli.add_command(verb)
