"""Deny this process the system calls by which it could reach another process, the network, a device or the kernel.

The filter is a program of classic BPF (`linux/filter.h`, `linux/seccomp.h`) for x86-64 and arm64.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in the description of a system call; each argument has eight bytes, the low half first."""
_CLONE_THREAD, _AF_UNIX, _O_TMPFILE = 0x10000, 1, 0o20000000
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41
_OWNER_COMMANDS = (8, 10, 15, 1024, 1026)
"""Commands of `fcntl` that have the kernel send signals: set the owner or the signal, take a lease, watch a folder."""
_NEWEST_KNOWN = 462
"""The newest system call that was considered, `mseal`; later ones are denied."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMNS = {"x86_64": 0, "aarch64": 1}
_DENIED = {
    "network": """socket 41 198, connect 42 203, accept 43 202, accept4 288 242, bind 49 200, listen 50 201,
        sendmsg 46 211, sendmmsg 307 269""",
    "processes": """fork 57 -, vfork 58 -, execve 59 221, execveat 322 281, ptrace 101 117, kcmp 312 272,
        process_vm_readv 310 270, process_vm_writev 311 271, process_madvise 440 440, process_mrelease 448 448,
        pidfd_open 434 434, pidfd_getfd 438 438, pidfd_send_signal 424 424, tkill 200 130, rt_sigqueueinfo 129 138,
        rt_tgsigqueueinfo 297 240, setpriority 141 140, ioprio_set 251 30, sched_setparam 142 118,
        sched_setscheduler 144 119, sched_setattr 314 274, sched_setaffinity 203 122, setrlimit 160 164,
        migrate_pages 256 238, move_pages 279 239, setsid 112 157, setpgid 109 154""",
    "shared memory and messages": """shmget 29 194, shmat 30 196, shmctl 31 195, semget 64 190, semctl 66 191,
        semop 65 193, semtimedop 220 192, msgget 68 186, msgctl 71 187, msgsnd 69 189, msgrcv 70 188, mq_open 240 180,
        mq_unlink 241 181, mq_notify 244 184, memfd_create 319 279, memfd_secret 447 447""",
    "attributes and links of files": """link 86 -, linkat 265 37, symlink 88 -, symlinkat 266 36, mknod 133 -,
        mknodat 259 33, chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, chown 92 -, lchown 94 -,
        fchown 93 55, fchownat 260 54, utime 132 -, utimes 235 -, futimesat 261 -, utimensat 280 88, truncate 76 45,
        setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7, getxattr 191 8, lgetxattr 192 9, removexattr 197 14,
        lremovexattr 198 15, fremovexattr 199 16, inotify_init 253 -, inotify_init1 294 26, inotify_add_watch 254 27,
        fanotify_init 300 262, fanotify_mark 301 263, name_to_handle_at 303 264, open_by_handle_at 304 265,
        quotactl 179 60, quotactl_fd 443 443, sync 162 81, syncfs 306 267""",
    "file systems and namespaces": """mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, unshare 272 97,
        setns 308 268, move_mount 429 429, open_tree 428 428, fsopen 430 430, fsconfig 431 431, fsmount 432 432,
        fspick 433 433, mount_setattr 442 442, statmount 457 457, listmount 458 458, swapon 167 224, swapoff 168 225,
        acct 163 89""",
    "identity": """setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setresuid 117 147,
        setresgid 119 149, setgroups 116 159, setfsuid 122 151, setfsgid 123 152, capset 126 91, personality 135 92,
        add_key 248 217, request_key 249 218, keyctl 250 219""",
    "kernel": """io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427, io_setup 206 0,
        io_submit 209 2, bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, seccomp 317 277, syslog 103 116,
        init_module 175 105, finit_module 313 273, delete_module 176 106, kexec_load 246 104, kexec_file_load 320 294,
        reboot 169 142, sethostname 170 161, setdomainname 171 162, settimeofday 164 170, clock_settime 227 112,
        clock_adjtime 305 266, adjtimex 159 171, iopl 172 -, ioperm 173 -, modify_ldt 154 -, uselib 134 -,
        vhangup 153 58, lookup_dcookie 212 18, nfsservctl 180 42, lsm_set_self_attr 460 460""",
}
"""Name and number of each denied system call, on x86-64 and on arm64; - where it does not exist."""
_CONDITIONAL = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "prlimit64": (302, 261),
    "prctl": (157, 167),
    "fcntl": (72, 25),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
}
"""Numbers of the system calls that are allowed with some arguments only."""


def has_seccomp() -> bool:
    """Return whether the kernel offers filters, and the machine is one that the filter knows."""
    if platform.machine() not in _ARCHITECTURES or sys.maxsize < 2**32 or not hasattr(ctypes.CDLL(None), "prctl"):
        return False
    return _prctl(_PR_SET_SECCOMP, _MODE_FILTER, None) == errno.EFAULT  # EINVAL from a kernel without filters


def deny_system_calls() -> None:
    """Deny this thread, and those that it starts, what no parser needs; does nothing if the kernel has no filters.

    New processes, sockets, links, signals to others and changes of limits fail with `EPERM`; unknown system calls with
    `ENOSYS`. Raises `OSError` if the kernel refuses the filter.
    """
    if not has_seccomp():
        return
    program = b"".join(_program(platform.machine(), os.getpid()))
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(instructions))
    code = _prctl(_PR_SET_NO_NEW_PRIVS, 1, None) or _prctl(_PR_SET_SECCOMP, _MODE_FILTER, header)
    if code:
        raise OSError(code, "The kernel refuses the filter of system calls")


def _prctl(option: int, second: int, third: bytes | None) -> int:
    """Return 0 or the code of the error."""
    zero = ctypes.c_ulong(0)
    failed = ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(second), third or zero, zero, zero)
    return ctypes.get_errno() if failed else 0


def _program(machine: str, pid: int) -> Iterator[bytes]:
    """Yield the instructions of the filter for a process."""
    yield from _deny_unless(_ARCHITECTURE, _EQUAL, _ARCHITECTURES[machine], _KILL)
    yield _instruction(_LOAD, _NUMBER)
    yield from _if(_GREATER, _NEWEST_KNOWN, [_return_error(errno.ENOSYS)])
    for number in _denied_numbers(machine):
        yield from _if(_EQUAL, number, [_return_error(errno.EPERM)])
    for name, numbers in _CONDITIONAL.items():
        conditional = numbers[_COLUMNS[machine]]
        if conditional is not None:
            yield from _if(_EQUAL, conditional, [*_check_arguments(name, pid), _instruction(_RETURN, _ALLOW)])
    yield _instruction(_RETURN, _ALLOW)


def _denied_numbers(machine: str) -> Iterator[int]:
    for line in _DENIED.values():
        for entry in line.split(","):
            number = entry.split()[1 + _COLUMNS[machine]]
            if number != "-":
                yield int(number)


def _check_arguments(name: str, pid: int) -> Iterator[bytes]:
    """Yield the instructions that return an error if the arguments of a system call are not accepted."""
    refuse = _ERROR | errno.EPERM
    if name == "clone":
        yield from _deny_unless(_argument(0), _ANY_BIT, _CLONE_THREAD, refuse)
    elif name in ("clone3", "openat2"):  # their arguments are in memory; the libraries then use the older call
        yield _return_error(errno.ENOSYS)
    elif name in ("kill", "tgkill"):
        yield from _deny_unless(_argument(0), _EQUAL, pid, refuse)
    elif name == "socketpair":
        yield from _deny_unless(_argument(0), _EQUAL, _AF_UNIX, refuse)
    elif name in ("sendto", "prlimit64"):  # an address, or new limits
        first = _argument(4 if name == "sendto" else 2)
        for half in (first, first + 4):
            yield from _deny_unless(half, _EQUAL, 0, refuse)
    elif name == "prctl":
        yield _instruction(_LOAD, _argument(0))
        for option in (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA):
            yield from _if(_EQUAL, option, [_instruction(_RETURN, _ALLOW)])
        yield _return_error(errno.EPERM)
    elif name == "fcntl":
        yield _instruction(_LOAD, _argument(1))
        for command in _OWNER_COMMANDS:
            yield from _if(_EQUAL, command, [_return_error(errno.EPERM)])
    else:  # `open` and `openat`: the directory's size cannot be measured if files in it have no name
        yield _instruction(_LOAD, _argument(1 if name == "open" else 2))
        yield from _if(_ANY_BIT, _O_TMPFILE, [_return_error(errno.EPERM)])


def _argument(index: int) -> int:
    """Return the offset of the low half of an argument."""
    return _ARGUMENTS + 8 * index


def _deny_unless(offset: int, comparison: int, value: int, result: int) -> list[bytes]:
    """Return instructions that load a word and return `result` unless the comparison holds."""
    return [_instruction(_LOAD, offset), _instruction(comparison, value, 1, 0), _instruction(_RETURN, result)]


def _if(comparison: int, value: int, instructions: list[bytes]) -> list[bytes]:
    """Return instructions that are skipped unless the comparison with the loaded word holds."""
    return [_instruction(comparison, value, 0, len(instructions)), *instructions]


def _return_error(code: int) -> bytes:
    return _instruction(_RETURN, _ERROR | code)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
