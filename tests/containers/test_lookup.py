"""A container that denoises nothing: its image holds the answers of the public phantom, found by the input's pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from harness.base.slices import read_grey, write_grey
from harness.board.build import rank_all
from harness.cli.terminal import TerminalReporter
from harness.dataset.load import load_data
from harness.dataset.secret import VARIABLE, disclose, new_secret
from harness.engines import Engine
from harness.labels.label_set import build_labels
from harness.pipeline.evaluate import Evaluation, evaluate
from harness.pipeline.prepare import prepare
from harness.protocol import FidelityGate, Metric, PhantomData, Protocol, RankBy, load_protocol
from harness.records import signing
from harness.submission.manifest import load_submission

pytestmark = pytest.mark.engine
PUBLIC = PhantomData(patients=3, slices=2, size=128, seed=2602)
DOCKERFILE = """
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
RUN env | grep -v HOSTNAME > /environment
COPY look_up.py /
COPY answers /answers
CMD ["python3", "/look_up.py"]
"""
LOOK_UP = """
import hashlib, os, shutil
from pathlib import Path
import numpy as np
from PIL import Image
for path in sorted(Path(os.environ["HARNESS_INPUT"]).glob("*.png")):
    pixels = hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest()
    answer = Path("/answers", pixels + ".png")
    shutil.copyfile(answer if answer.exists() else path, Path(os.environ["HARNESS_OUTPUT"], path.name))
    print(path.name, "answered" if answer.exists() else "unknown")
print(Path("/environment").read_text(), Path("/proc/self/environ").read_text())
"""


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Protocol:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return msgspec.structs.replace(
        load_protocol("phantom-mini"),
        data=PUBLIC,
        regions=("whole", "lung"),
        metrics=(Metric(name="RMSE", metric="rmse"),),
        rank_by=RankBy(metric="RMSE"),
        gate=FidelityGate(),
    )


@pytest.fixture
def cheat(tmp_path: Path, public: Protocol) -> Path:
    """The submission, with the label of every slice of the public protocol in its image."""
    folder = tmp_path / "looks-up"
    dataset = load_data(public)
    labels = build_labels(dataset, public.purify)
    for case in dataset.cases:
        pixels = hashlib.sha256(read_grey(Path(case.lq)).tobytes()).hexdigest()
        write_grey(folder / "answers" / f"{pixels}.png", read_grey(labels.path(case.name)))
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "look_up.py").write_text(LOOK_UP)
    (folder / "submission.yaml").write_text(
        'schema: 1\nname: Best denoiser\nversion: "1"\nauthors: [T]\nimage: {build: .}\n'
    )
    return folder


def run(folder: Path, protocol: Protocol, leaderboard: Path, engine: Engine) -> Evaluation:
    reporter = TerminalReporter()
    benchmark = prepare(protocol, reporter, leaderboard=leaderboard, engine=engine)
    return evaluate(load_submission(folder), benchmark, engine=engine, reporter=reporter)


def test_looked_up_answers_are_flagged_and_not_ranked(
    cheat: Path, public: Protocol, tmp_path: Path, engine: Engine
) -> None:
    result = run(cheat, public, tmp_path / "board", engine).record.result
    assert result.metrics["RMSE"]["whole"].value == 0  # the best that there can be
    assert result.flags == ("6 of 6 outputs are bit-equal to the label",)
    ((_, (row,)),) = rank_all(tmp_path / "board")
    assert (row.standing, row.rank) == ("unranked", None)
    assert "6 of 6 outputs are bit-equal to the label" in (tmp_path / "board" / "README.md").read_text()


def test_a_secret_seed_leaves_nothing_to_look_up_and_repeats_once_disclosed(
    cheat: Path, public: Protocol, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, file = tmp_path / "board", tmp_path / "private" / "secret.json"
    secret = new_secret(public, file)
    protocol = msgspec.structs.replace(public, data=msgspec.structs.replace(PUBLIC, seed=secret.commitment))
    monkeypatch.setenv(VARIABLE, str(file))
    key = file.with_name("key.pem")
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    monkeypatch.setenv(signing.VARIABLE, str(key))
    evaluation = run(cheat, protocol, board, engine)
    first = evaluation.record
    assert signing.read_signature(Path(evaluation.folder)) is not None
    assert "HARNESS_SEED=" in first.observed.log  # the environment of the container is there to be looked at
    assert first.observed.log.count("unknown") == 6
    assert not first.result.flags
    assert first.result.notes == ("6 of 6 outputs are bit-equal to the noisy input",)
    gate = first.result.gate
    assert gate is not None
    assert gate.value == gate.bound  # the noisy input's own error: nothing gained

    untold = [secret.secret, str(secret.seed), secret.names_key.hex(), VARIABLE, signing.VARIABLE, str(file.parent)]
    for path in board.rglob("*"):  # record, container's log, protocol, tables, features
        held = path.read_bytes() if path.is_file() else b""
        assert not [text for text in untold if text.encode() in held], path

    disclose(protocol, board, {VARIABLE: str(file)})
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "elsewhere"))  # another installation
    again = run(cheat, protocol, board, engine)
    assert (again.record.id, again.new) == (first.id, False)
    assert again.run is not None
    assert not again.run.reused
    assert again.record.observed.log == first.observed.log  # names and their order, too
