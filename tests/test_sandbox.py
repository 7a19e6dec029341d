from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.base.errors import ImagePolicyError, UsageError
from harness.base.text import sanitise
from harness.sandbox import (
    LEAST,
    MAX_IMAGE_BYTES,
    USERS,
    AskedLimits,
    BuildPolicy,
    ImageFacts,
    Limits,
    Machine,
    build_policy,
    check_image,
    largest_png,
    lower,
    output_quota,
    plan_container,
    share_of,
)

MACHINE = Machine(cpus=8, memory_bytes=64 * 10**9, os="linux", architecture="amd64")
FACTS = ImageFacts(id="sha256:1", os="linux", architecture="amd64", command=("python3", "/denoise.py"))
positive = st.floats(0.01, 1e6)
some_limits = st.builds(
    Limits,
    wall_s=st.floats(1, 1e6),
    memory_gb=positive,
    cpus=positive,
    shm_gb=positive,
    tmp_gb=positive,
    pids=st.integers(4, 10**6),
)
some_asked = st.builds(
    AskedLimits,
    wall_s=st.none() | st.floats(1, 1e6),
    memory_gb=st.none() | positive,
    cpus=st.none() | positive,
    pids=st.none() | st.integers(4, 10**6),
)


def test_runs_side_by_side_share_the_machine_and_take_its_gpus_in_turn() -> None:
    machine = msgspec.structs.replace(MACHINE, gpus=("a", "b"))
    shares = [share_of(machine, part=part, parts=3) for part in range(3)]
    assert [one.gpus for one in shares] == [("a",), ("b",), ("a",)]
    assert sum(one.cpus for one in shares) == pytest.approx(machine.cpus)
    assert sum(one.memory_bytes for one in shares) <= machine.memory_bytes
    assert share_of(MACHINE, part=0, parts=1) == MACHINE
    assert share_of(MACHINE, part=1, parts=2).gpus == ()


def test_limits_that_fit_stay_as_they_are() -> None:
    granted = lower(Limits(), machine=MACHINE)
    assert granted.limits == Limits()
    assert granted.lowered == ()


def test_what_the_machine_lacks_is_lowered_and_said() -> None:
    small = Machine(cpus=2, memory_bytes=11 * 10**9, os="linux", architecture="amd64")
    granted = lower(Limits(memory_gb=16, tmp_gb=4, shm_gb=2, cpus=4), machine=small)
    # 0.9 * 11 GB = 9.9 GB shared by 22 GB: factor 0.45
    assert (granted.limits.memory_gb, granted.limits.tmp_gb, granted.limits.shm_gb) == (7.2, 1.8, 0.9)
    assert granted.limits.cpus == 2
    assert granted.lowered[0] == "cpus 4 -> 2 (the machine has no more)"
    assert len(granted.lowered) == 4


def test_asking_for_less_of_one_thing_leaves_the_others() -> None:
    large = Machine(cpus=64, memory_bytes=10**12, os="linux", architecture="amd64")
    granted = lower(Limits(memory_gb=64), machine=large, asked=AskedLimits(wall_s=60))
    assert granted.limits == Limits(memory_gb=64, wall_s=60)
    assert granted.lowered == ("wall_s 3600 -> 60 (the submission asks for less)",)


@given(limits=some_limits, asked=st.none() | some_asked, cpus=st.integers(1, 64), memory=st.integers(10**9, 10**12))
def test_nothing_is_ever_raised_and_memory_fits(
    limits: Limits, asked: AskedLimits | None, cpus: int, memory: int
) -> None:
    machine = Machine(cpus=cpus, memory_bytes=memory, os="linux", architecture="amd64")
    granted = lower(limits, machine=machine, asked=asked).limits
    for name in limits.__struct_fields__:
        assert LEAST[name] <= getattr(granted, name) <= getattr(limits, name)
        bound = getattr(asked, name, None)
        assert bound is None or getattr(granted, name) <= bound
    assert granted.cpus <= cpus
    # each is at least what can be granted at all
    least = sum(LEAST[name] for name in ("memory_gb", "tmp_gb", "shm_gb"))
    assert granted.memory_gb + granted.tmp_gb + granted.shm_gb <= 0.9 * memory / 1e9 + least


@given(count=st.integers(1, 500), height=st.integers(1, 2048), width=st.integers(1, 2048))
def test_the_quota_holds_one_largest_file_per_case_and_no_second_set(count: int, height: int, width: int) -> None:
    quota = output_quota([(height, width)] * count)
    one = -(-largest_png(height, width) // 4096) * 4096
    assert count * one < quota.bytes <= (count + 1) * one + 2**20
    assert quota.inodes == 2 * count + 64


@pytest.mark.parametrize("name", list(LEAST))
@pytest.mark.parametrize("kind", [Limits, AskedLimits])
def test_no_limit_is_so_small_that_it_rounds_to_none(kind: type[Limits] | type[AskedLimits], name: str) -> None:
    least = LEAST[name]
    for value in (0, -1) if name == "pids" else (least * 0.9, 1e-10, 0, -1, float("nan"), float("inf")):
        with pytest.raises(msgspec.ValidationError, match=f"{name} must be at least"):
            msgspec.convert({name: value}, kind)
    limits = msgspec.convert(LEAST, Limits)
    plan = plan_container(
        FACTS, limits=limits, quota=output_quota([]), input_folder="/i", model_folder=None, seed=1, gpu=None
    )
    assert round(plan.cpus * 1e9) >= 10**7
    assert min(plan.memory_bytes, plan.shm_bytes, plan.file_bytes, plan.cpu_s, plan.pids, plan.quota.bytes) > 0
    assert "size=1000000," in plan.tmpfs["/tmp"]


def test_a_share_of_a_machine_is_never_nothing() -> None:
    granted = lower(Limits(), machine=share_of(MACHINE, part=0, parts=10**6))
    assert all(getattr(granted.limits, name) >= least for name, least in LEAST.items())


def test_a_plan_says_everything_that_bounds_a_run() -> None:
    quota = output_quota([(512, 512)] * 48)
    facts = msgspec.structs.replace(FACTS, volumes=("/data", "/tmp"))
    plan = plan_container(
        facts,
        limits=Limits(memory_gb=1, tmp_gb=0.5, shm_gb=0.25, cpus=1.5, wall_s=100),
        quota=quota,
        input_folder="/host/input",
        model_folder=None,
        seed=2602,
        gpu=None,
    )
    assert plan.image == "sha256:1"
    # RAM asked for + /output + /tmp + /dev/shm + one covered VOLUME of 64 MiB, since their pages all count
    assert plan.memory_bytes == 10**9 + quota.bytes + 5 * 10**8 + 25 * 10**7 + 2**26
    assert plan.file_bytes == 5 * 10**8
    assert plan.cpu_s == 210
    assert plan.tmpfs == {
        "/tmp": "rw,exec,nosuid,nodev,size=500000000,mode=1777",
        "/data": "rw,noexec,nosuid,nodev,size=67108864,mode=1777",
    }
    user, group = plan.user.split(":")
    assert user == group
    assert int(user) in USERS
    others = [
        plan_container(facts, limits=Limits(), quota=quota, input_folder="/", model_folder=None, seed=1, gpu=None)
        for _ in range(20)
    ]
    assert len({one.user for one in others}) > 10, "a user of its own for each run"
    environment = plan.environment
    assert environment["HARNESS_DEVICE"] == "cpu"
    assert environment["HARNESS_SEED"] == "2602"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("change", "device", "said"),
    [
        ({"architecture": "arm64"}, "cpu", "for linux/arm64, the engine runs linux/amd64"),
        ({"os": "windows"}, "cpu", "for windows/amd64"),
        ({"os": "\n::error::" + "x" * 1000}, "cpu", r"for \n::error::xxx"),
        ({"command": ()}, "cpu", "neither ENTRYPOINT nor CMD"),
        ({"volumes": ("/proc/x",)}, "cpu", "VOLUME '/proc/x'"),
        ({"volumes": ("/",)}, "cpu", "VOLUME '/'"),
        ({"volumes": ("//d0",)}, "cpu", "VOLUME '//d0'"),
        ({"volumes": ("/..d/..",)}, "cpu", "VOLUME '/..d/..'"),
        ({"volumes": ("/d0/.",)}, "cpu", "VOLUME '/d0/.'"),
        ({"volumes": ("/a/../b",)}, "cpu", "VOLUME '/a/../b'"),
        ({"volumes": ("/a,size=1",)}, "cpu", "VOLUME '/a,size=1'"),
        ({"volumes": ("/output/sub",)}, "cpu", "VOLUME '/output/sub'"),
        ({"volumes": tuple(f"/v{i}" for i in range(9))}, "cpu", "9 VOLUMEs"),
        ({"environment": ("A=1", "LD_PRELOAD=/x.so")}, "cuda", "LD_PRELOAD"),
    ],
)
def test_images_that_may_not_run(change: dict[str, object], device: str, said: str) -> None:
    with pytest.raises(ImagePolicyError) as caught:
        check_image(msgspec.structs.replace(FACTS, **change), machine=MACHINE, device=device)  # type: ignore[arg-type]
    assert said in caught.value.message


def test_a_usual_image_may_run() -> None:
    facts = msgspec.structs.replace(
        FACTS, volumes=("/data", "/output", "/..d/.cache/a.b"), environment=("LD_PRELOAD=/x.so",)
    )
    check_image(facts, machine=MACHINE, device="cpu")


def test_an_image_of_more_than_its_share_is_refused() -> None:
    check_image(msgspec.structs.replace(FACTS, bytes=MAX_IMAGE_BYTES), machine=MACHINE, device="cpu")
    with pytest.raises(ImagePolicyError, match="at most 20 GB"):
        check_image(msgspec.structs.replace(FACTS, bytes=MAX_IMAGE_BYTES + 1), machine=MACHINE, device="cpu")


def test_the_organiser_may_allow_images_and_a_network() -> None:
    assert build_policy({}) == BuildPolicy()
    assert build_policy({"HARNESS_BUILD_IMAGES": "", "HARNESS_BUILD_NETWORK": ""}) == BuildPolicy()
    named = {"HARNESS_BUILD_IMAGES": " python:3.12, nvidia/cuda@sha256:0a\n", "HARNESS_BUILD_NETWORK": "bridge"}
    assert build_policy(named) == BuildPolicy(images=("python:3.12", "nvidia/cuda@sha256:0a"), network="bridge")
    for mistake in ({"HARNESS_BUILD_IMAGES": "a;b"}, {"HARNESS_BUILD_NETWORK": "container:x y"}):
        with pytest.raises(UsageError, match="HARNESS_BUILD_"):
            build_policy(mistake)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("::error file=a::b", "error file=a::b"),
        ("  ::warning::x\n##[error]y", "  warning::x\nerror]y"),
        ("a\r::error::b", "a\nerror::b"),
        ("\x1b[0m::error::c", "error::c"),
        (":\x00:error::d", "error::d"),
        (":: ::error::e", "error::e"),
        (":##[:error::f", "error::f"),
        ("mid ##[add-mask]g ####[[h", "mid add-mask]g h"),
        ("abc\u202edef", "abcdef"),
        ("#" * 2**20, "#" * 2**20),  # for hours, were it quadratic
        ("a\u061cb\u200bc\ufeffd\U000e0041e\ud800", "abcde"),
        ("a\u2028::error::b\u2029 ::c\x85::d", "a\nerror::b\n c::d"),
    ],
)
def test_hostile_text_is_made_harmless(raw: str, clean: str) -> None:
    assert sanitise(raw) == clean


@given(
    st.text(st.sampled_from("\x1b[]0;m:# \n\r\x07\x00\x9babc\u202e\u2028\x85\x0b"), max_size=60)
    | st.text(":#[ ", max_size=12)
)
def test_no_text_keeps_a_control_sequence_or_a_workflow_command(text: str) -> None:
    clean = sanitise(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", clean)
    assert not re.search(r"^\s*::|##\[", clean, flags=re.MULTILINE)
    assert clean.splitlines() == clean.removesuffix("\n").split("\n") or not clean
    assert not any(line.lstrip().startswith("::") for line in clean.splitlines())
    assert sanitise(clean) == clean
