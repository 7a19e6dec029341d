"""The system calls that a run may make, as a filter (seccomp) that engines take: what computing needs, and no more.

Not there, among others: namespaces and mounts, the kernel's keys, io_uring, BPF, performance counters, and sockets but
those of UNIX, IPv4, IPv6 and netlink (AF_VSOCK reaches the host of a virtual machine whatever the network). The filter
names no processor, so it holds for the machine's own, and calls of an older kind (32 bits) end the program.
"""

from __future__ import annotations

ENOSYS = 38  # what programs take for an older kernel, and do without
FAMILIES = {"UNIX": 1, "INET": 2, "INET6": 10, "NETLINK": 16}
NEW_NAMESPACES = 0x7E020000  # the flags of clone that create any
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, its 32-bit kinds, and to ask which

CALLS = """
read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek sendfile splice tee vmsplice
copy_file_range open openat openat2 creat close close_range dup dup2 dup3 fcntl flock ioctl truncate ftruncate fallocate
fadvise64 readahead fsync fdatasync sync syncfs sync_file_range stat lstat fstat newfstatat statx statfs fstatfs
access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir umask mkdir mkdirat rmdir
rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mknod mknodat chmod fchmod fchmodat fchmodat2
chown fchown lchown fchownat utime utimes futimesat utimensat cachestat
getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr
removexattr lremovexattr fremovexattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch

pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
eventfd eventfd2 signalfd signalfd4 io_setup io_submit io_getevents io_pgetevents io_cancel io_destroy

brk mmap munmap mprotect mremap remap_file_pages msync madvise mincore membarrier memfd_create
mlock mlock2 mlockall munlock munlockall pkey_alloc pkey_free pkey_mprotect

fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal ptrace
process_vm_readv process_vm_writev futex futex_waitv set_robust_list get_robust_list set_tid_address rseq
arch_prctl set_thread_area get_thread_area prctl seccomp
landlock_create_ruleset landlock_add_rule landlock_restrict_self
getpid getppid gettid getpgid getpgrp setpgid getsid setsid getuid geteuid getresuid setuid setreuid setresuid setfsuid
getgid getegid getresgid setgid setregid setresgid setfsgid getgroups setgroups capget capset
getrlimit setrlimit prlimit64 getrusage times sysinfo uname getcpu getpriority setpriority ioprio_get ioprio_set
sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
sched_getscheduler sched_setscheduler sched_get_priority_min sched_get_priority_max sched_rr_get_interval

rt_sigaction rt_sigprocmask rt_sigpending rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
sigaltstack pause restart_syscall alarm getitimer setitimer nanosleep time gettimeofday clock_gettime clock_getres
clock_nanosleep timer_create timer_settime timer_gettime timer_getoverrun timer_delete timerfd_create timerfd_settime
timerfd_gettime getrandom

socketpair bind connect listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt
sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg
shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
"""


def seccomp_profile() -> dict[str, object]:
    """The filter in the form that Docker and Podman read."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "syscalls": [
            _allowed(*CALLS.split()),
            *(_allowed("socket", value=family) for family in FAMILIES.values()),
            *(_allowed("personality", value=one) for one in PERSONALITIES),
            _allowed("clone", value=NEW_NAMESPACES, op="SCMP_CMP_MASKED_EQ"),
            # its flags lie in memory, where no filter sees them
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
            # for package installers in a build: a run lacks the capability
            {**_allowed("chroot"), "includes": {"caps": ["CAP_SYS_CHROOT"]}},
        ],
    }


def _allowed(*names: str, value: int | None = None, op: str = "SCMP_CMP_EQ") -> dict[str, object]:
    """A rule that allows calls, if `value` is given only with that first argument (for MASKED_EQ: with none of its
    bits)."""
    args = [] if value is None else [{"index": 0, "value": value, "valueTwo": 0, "op": op}]
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": args}
