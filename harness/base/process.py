"""Child processes, all started here: git, apptainer, nvidia-smi, and `harness` itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from harness.base.errors import InfrastructureError

STDERR = 2  # the descriptor


def run(
    command: Sequence[str], *, cwd: Path | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a command without a shell and without standard input; whatever its exit status, its output is text.

    InfrastructureError if the program does not exist or does not end within `timeout_s` seconds.
    """
    try:
        return subprocess.run(
            list(command),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise InfrastructureError(f"{command[0]}: no such program", fix=f"install {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"{' '.join(command)}: no answer within {timeout_s:g} s") from None


def run_shown(command: Sequence[str]) -> int:
    """Run a command without a shell and without standard input, its output shown as it comes; its exit status.

    InfrastructureError when the program does not exist.
    """
    try:
        return subprocess.run(list(command), stdin=subprocess.DEVNULL, check=False).returncode
    except FileNotFoundError:
        raise InfrastructureError(f"{command[0]}: no such program", fix=f"install {command[0]}") from None


def run_interruptible(command: Sequence[str], *, inherits: Sequence[int] = ()) -> int:
    """Run a command without a shell and without standard input, its output shown as it comes on standard error; its
    exit status. It inherits these file descriptors.

    An interrupt of this process (Ctrl-C, SIGTERM) is passed on to the command and what it started, and waited for.
    """
    child = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=STDERR, pass_fds=inherits, start_new_session=True
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGINT)
        child.wait()
        raise


@contextlib.contextmanager
def started(command: Sequence[str], *, stdout: IO[bytes], stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, without standard input; when the block ends the whole session is killed.

    InfrastructureError if the program does not exist.
    """
    try:
        child = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
        )
    except FileNotFoundError:
        raise InfrastructureError(f"{command[0]}: no such program", fix=f"install {command[0]}") from None
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def run_into(command: Sequence[str], path: Path, *, cwd: Path, timeout_s: float = 600.0) -> None:
    """Run a command without a shell and without standard input and write its standard output to a file.

    InfrastructureError if it does not exist, fails, or does not end within `timeout_s` seconds.
    """
    with path.open("wb") as file:
        try:
            subprocess.run(
                list(command),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=True,
            )
        except FileNotFoundError:
            raise InfrastructureError(f"{command[0]}: no such program", fix=f"install {command[0]}") from None
        except subprocess.TimeoutExpired:
            raise InfrastructureError(f"{' '.join(command)}: no answer within {timeout_s:g} s") from None
        except subprocess.CalledProcessError as error:
            said = ascii(error.stderr.decode(errors="replace").strip())
            raise InfrastructureError(f"{' '.join(command)}: ended with status {error.returncode}: {said}") from None


def run_together(
    commands: Sequence[Sequence[str]],
    *,
    jobs: int,
    started: Callable[[int], None],
    ended: Callable[[int, subprocess.CompletedProcess[str]], None],
) -> None:
    """Run commands without standard input, at most `jobs` at a time, to their ends, whatever their exit statuses.

    `started` receives the index of a command, `ended` also how it went; only one thread calls them at a time. If this
    process is interrupted the commands get SIGTERM and are waited for.
    """
    alive: dict[int, subprocess.Popen[str]] = {}
    told, stopped = threading.Lock(), threading.Event()

    def one(index: int) -> None:
        with told:
            if stopped.is_set():
                return
            started(index)
            process = alive[index] = subprocess.Popen(
                list(commands[index]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches this process, which passes it on
            )
        out, err = process.communicate()
        with told:
            del alive[index]
            ended(index, subprocess.CompletedProcess(process.args, process.returncode, out, err))

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, index) for index in range(len(commands))]
        try:
            for future in futures:
                future.result()
        except BaseException:
            with told:
                stopped.set()
                for process in alive.values():
                    process.terminate()
            raise


def source_commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout that this package runs from, and whether it is dirty; (None, None) outside one."""
    here = Path(__file__).resolve().parents[1]
    if not (here.parent / ".git").exists():
        return None, None
    head = run(["git", "rev-parse", "HEAD"], cwd=here)
    status = run(["git", "status", "--porcelain", "--untracked-files=no", "--", str(here)], cwd=here)
    if head.returncode or status.returncode:
        return None, None
    return head.stdout.strip(), bool(status.stdout.strip())
