"""The plan of a campaign: what is refused, and the jobs that it settles."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness.base.errors import InfrastructureError, UsageError
from harness.base.structs import write_json
from harness.campaign.jobs import Ended, problem_file, score_file
from harness.campaign.plan import Campaign, most_rounds, read_campaign, read_plan, read_protocol, settle
from harness.campaign.snakemake import forget_lost_records, outcomes, snakemake_command
from harness.dataset.load import load_data
from harness.protocol import Protocol, load_protocol
from harness.run.staging import rounds_of
from tests.small import small_protocol


def settled(organiser: Path, **changes: object) -> tuple[Campaign, Path]:
    plan, folder = read_plan(organiser / "plan.yaml")
    return settle(msgspec.structs.replace(plan, **changes), folder), folder


def test_every_readable_submission_meets_every_protocol_and_the_others_are_named(organiser: Path) -> None:
    campaign, folder = settled(organiser)
    assert folder == organiser / "plan.campaign"
    assert [(one.identity, one.slug) for one in campaign.cells] == [
        (identity, slug) for identity in ("small-1", "smaller-1") for slug in ("c-copies", "c-fails")
    ]
    (refused,) = campaign.refused
    assert (refused.folder, refused.exit_status) == ("submissions/c-unread", 2)
    assert "unknown field" in refused.message
    assert read_campaign(folder) == campaign
    for key in campaign.protocols:
        assert read_protocol(folder, key) == load_protocol(f"{key.split('-')[0]}.yaml")


def test_another_text_has_other_keys_so_that_no_older_result_is_taken_for_it(organiser: Path) -> None:
    before = {one.path for one in settled(organiser)[0].cells}
    assert {one.path for one in settled(organiser)[0].cells} == before
    with (organiser / "submissions/c-copies/Dockerfile").open("a") as file:
        file.write("# changed\n")
    kept = before & {one.path for one in settled(organiser)[0].cells}
    assert {path.split("/")[1].rsplit("-", 1)[0] for path in kept} == {"c-fails"}
    (organiser / "small.yaml").write_text((organiser / "small.yaml").read_text() + "seed: 7\n")
    assert {path.split("-1-")[0] for path in kept & {one.path for one in settled(organiser)[0].cells}} == {"smaller"}


def test_what_a_job_takes_follows_from_the_limits_and_the_plan(organiser: Path) -> None:
    (organiser / "submissions/c-copies/submission.yaml").open("a").write("gpu: required\n")
    campaign, _ = settled(organiser, resources={"gpu": {"slurm_partition": "a100"}, "score": {"runtime": 9}})
    on_gpu, on_cpu = campaign.cells[:2]
    assert (on_gpu.kind, on_cpu.kind) == ("gpu", "run")
    # 0.5 GB + /tmp 0.05 + /dev/shm 0.01 + 2 of the harness itself; 60 s and 1800 s for the image
    assert on_cpu.takes == {"threads": 1, "mem_mb": 2560, "runtime": 31}
    assert campaign.resources["gpu"] == {"gpu": 1, "slurm_partition": "a100"}
    assert campaign.resources["score"] == {"threads": 4, "mem_mb": 8000, "runtime": 9}


def test_each_seed_and_dose_is_a_protocol_of_its_own(organiser: Path) -> None:
    campaign, folder = settled(organiser, seeds=(1, 2), doses=(0.02, 0.005))
    protocols = [read_protocol(folder, key) for key in campaign.protocols[:4]]
    assert [one.name for one in protocols] == [
        f"small-dose-{dose}-seed-{seed}" for dose in ("2pct", "0-5pct") for seed in (1, 2)
    ]
    assert [(one.seed, getattr(one.data, "dose", None)) for one in protocols] == [
        (1, 0.02), (2, 0.02), (1, 0.005), (2, 0.005)
    ]  # fmt: skip
    assert len(campaign.cells) == 2 * 4 * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"submissions": ("nothing/*",)}, "'nothing/\\*' fits no folder"),
        ({"protocols": ("small.yaml", "small.yaml")}, "named twice"),
        ({"protocols": ("phantom-train",)}, "training set"),
        ({"submissions": ("submissions/*", "others/c-copies")}, "have one name"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(organiser: Path, changes: dict[str, object], message: str) -> None:
    (organiser / "others/c-copies").mkdir(parents=True)
    with pytest.raises(UsageError, match=message):
        settled(organiser, **changes)


def test_an_unknown_key_is_named(organiser: Path) -> None:
    (organiser / "plan.yaml").open("a").write("dose: [0.1]\n")
    with pytest.raises(UsageError, match=r"plan\.yaml.*dose"):
        read_plan(organiser / "plan.yaml")


def test_a_run_has_time_for_all_its_containers(
    organiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    lesion = "conditions: [{diameter_mm: 20, contrast_hu: -300}], sites: 1"
    data = f"patients: 1, slices: 1, size: 96, realisations: 3, lesions: {{{lesion}}}"
    (organiser / "many.yaml").write_text(small_protocol(data))
    many = load_protocol("many.yaml")
    assert len(rounds_of(load_data(many))) <= most_rounds(many) == 4
    assert most_rounds(load_protocol("small.yaml")) == 1


def test_outcomes_are_read_from_what_jobs_left(organiser: Path) -> None:
    campaign, folder = settled(organiser)
    scored, failed, unmade, other = campaign.cells
    record = organiser / "board/records/small-1/c-copies/0123"
    record.mkdir(parents=True)
    (record / "record.json").touch()
    write_json(score_file(folder, scored), Ended(exit_status=0, message="scored", record="0123", folder=str(record)))
    write_json(problem_file(folder, failed), Ended(exit_status=24, message="needs a GPU"))
    write_json(problem_file(folder, unmade.protocol), Ended(exit_status=40, message="no data"))
    forget_lost_records(folder, campaign)
    assert [one.ended.exit_status for one in outcomes(folder, campaign)] == [0, 24, 40, 40]
    assert other.protocol == unmade.protocol
    (record / "record.json").unlink()
    forget_lost_records(folder, campaign)
    lost = next(iter(outcomes(folder, campaign)))
    assert lost.ended.exit_status == InfrastructureError.exit_code
    assert "killed" in lost.ended.message


def test_an_executor_without_its_plug_in_is_refused(organiser: Path) -> None:
    campaign, folder = settled(organiser)
    assert "slurm" in snakemake_command(folder, campaign, executor="slurm", jobs=None, dry_run=False)
    with pytest.raises(UsageError, match="no such plug-in") as caught:
        snakemake_command(folder, campaign, executor="abacus", jobs=None, dry_run=False)
    assert caught.value.fix == "pip install snakemake-executor-plugin-abacus"


def test_a_protocol_survives_the_way_through_json(tmp_path: Path) -> None:
    for name in ("phantom", "phantom-mini", "patient-uldct"):
        protocol = load_protocol(name)
        write_json(tmp_path / "p.json", protocol)
        again = msgspec.json.decode((tmp_path / "p.json").read_bytes(), type=Protocol)
        assert again == protocol
        assert again.digest == protocol.digest
        assert json.loads((tmp_path / "p.json").read_text())["name"] == protocol.name
