from __future__ import annotations

from harness.engines._seccomp import FAMILIES, NEW_NAMESPACES, seccomp_profile

CLOSED = {
    *("unshare", "setns", "mount", "umount2", "pivot_root", "fsopen", "fsmount", "open_tree", "move_mount"),
    *("add_key", "keyctl", "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf"),
    *("perf_event_open", "userfaultfd", "kexec_load", "init_module", "finit_module", "reboot", "swapon", "syslog"),
    *(
        "name_to_handle_at",
        "open_by_handle_at",
        "settimeofday",
        "quotactl",
        "acct",
        "socketcall",
        "ipc",
        "fanotify_init",
    ),
}


def test_what_a_denoiser_never_needs_is_closed() -> None:
    profile = seccomp_profile()
    rules = profile["syscalls"]
    assert isinstance(rules, list)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [(name, rule) for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]]
    assert not CLOSED & {name for name, _ in allowed}
    assert [rule["args"][0]["value"] for name, rule in allowed if name == "socket"] == list(FAMILIES.values())
    assert 40 not in FAMILIES.values(), "AF_VSOCK"
    (clone,) = (rule for name, rule in allowed if name == "clone")
    assert (clone["args"][0]["op"], clone["args"][0]["value"]) == ("SCMP_CMP_MASKED_EQ", NEW_NAMESPACES)
    (chroot,) = (rule for name, rule in allowed if name == "chroot")
    assert chroot["includes"] == {"caps": ["CAP_SYS_CHROOT"]}
    # whatever stands here without a condition is open
    assert {name for name, rule in allowed if rule["args"] or "includes" in rule} == {
        *("socket", "personality", "clone", "chroot"),
    }
