"""Doors of the kernel that must be closed: each function fails where one is open."""

import ctypes
import errno
import functools
import os
import socket
from collections.abc import Callable
from pathlib import Path


def refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return True
    return False


def kernel_doors() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    user_namespace, mount_namespace = 0x10000000, 0x00020000
    for flag in (user_namespace, mount_namespace):
        assert libc.unshare(flag) == -1, flag
    assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == -1
    assert refused(lambda: os.chroot("/tmp"))
    assert refused(lambda: os.mknod("/tmp/sda", 0o60660, os.makedev(8, 0)))
    assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    assert refused(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/dev/mem"):
        assert refused(functools.partial(Path(path).write_bytes, b"x")), path
    assert not Path("/proc/kcore").exists() or not Path("/proc/kcore").read_bytes()


def other_sockets() -> None:
    packet, alg, vsock = 17, 38, 40
    for family in (packet, alg, vsock):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            assert refused(functools.partial(socket.socket, family, kind)), (family, kind)
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        socket.socket(family).close()


def io_uring() -> None:
    setup, enter, register = 425, 426, 427
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (setup, enter, register):
        assert libc.syscall(call, 1, ctypes.byref(ctypes.create_string_buffer(120))) == -1
        assert ctypes.get_errno() in (errno.ENOSYS, errno.EPERM), os.strerror(ctypes.get_errno())


DOORS = {one.__name__: one for one in (kernel_doors, other_sockets, io_uring)}
