"""What code in the parser could try, once a damaged file has made it run the attacker's: run inside the parser.

`main` is given the request. Each attack that is not refused is named in the reply. None does harm where it succeeds.
"""

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_COLUMN = {"x86_64": 0, "aarch64": 1}[platform.machine()]


def _call(x86_64: int, arm64: int, *arguments: object) -> Callable[[], int]:
    """Return a system call; it raises `OSError` if it fails."""

    def call() -> int:
        result: int = _libc.syscall((x86_64, arm64)[_COLUMN], *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")
        return result

    return call


def _datagram(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        opened.sendto(b"secret", address)


def _stream(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        opened.connect(address)


def _send_from_pair(address: str) -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        first.sendto(b"secret", address)


def _connect_pair(address: str) -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        first.connect(address)
        first.send(b"secret")


def _message_from_pair(address: str) -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        first.sendmsg([b"secret"], [], 0, address)


def _read(path: str) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()[:10]


def _list(path: str) -> Callable[[], object]:
    return lambda: list(Path(path).iterdir())


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _memory_of(pid: int) -> None:
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_ulong * 2)(id(buffer), 8)
    _call(310, 270, pid, local, 1, remote, 1, 0)()


def _nameless_file() -> None:
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))


def _attacks(task: dict[str, Any]) -> dict[str, Callable[[], object]]:
    parent, other, secret, place = os.getppid(), task["other"], task["secret"], task["place"]
    core = resource.RLIMIT_CORE
    host, port, udp_port, path = "127.0.0.1", task["port"], task["udp_port"], task["unix"]
    abstract, inputs = "\0" + task["abstract"], task["input"]
    reads = {
        f"read {file}": _read(file)
        for file in (
            *(secret, "/proc/self/root/etc/passwd", f"/proc/{parent}/root{secret}", *task["foreign_files"]),
            *(f"/proc/{pid}/{name}" for pid in (parent, other, "self") for name in ("environ", "cmdline", "maps")),
            *(f"/proc/{pid}/mem" for pid in (parent, other)),
        )
    }
    lists = {f"list {folder}": _list(folder) for folder in ("..", place, *task["foreign_folders"])}
    writes: dict[str, Callable[[], object]] = {
        "write beside the folder": lambda: Path("../more").write_text("x"),
        "write into the folder of temporary files": lambda: Path(place, "more").write_text("x"),
        "write to /dev/shm": lambda: Path("/dev/shm/more").write_text("x"),
        "write to a library": lambda: Path(contextlib.__file__).open("a").close(),
        "overwrite the input": lambda: Path(inputs).write_text("x"),
        "append to a foreign file": lambda: Path(secret).open("a").close(),
        "truncate a foreign file": lambda: os.truncate(secret, 0),
        "remove a foreign file": lambda: Path(secret).unlink(),
        "rename a foreign file": lambda: Path(secret).rename("taken"),
        "link a foreign file": lambda: os.link(secret, "linked"),
        "link the input": lambda: os.link(inputs, "linked"),
        "make a symbolic link": lambda: Path("symlink").symlink_to(secret),
        "make a pipe": lambda: os.mkfifo("pipe"),
        "make a device": lambda: os.mknod("device", 0o020666, os.makedev(1, 3)),
        "change the mode of a foreign file": lambda: Path(secret).chmod(0o777),
        "change the owner of a foreign file": lambda: os.chown(secret, os.getuid(), os.getgid()),
        "change the times of a foreign file": lambda: os.utime(secret),
        "set an attribute of a foreign file": lambda: os.setxattr(secret, "user.x", b"x"),
        "open a file without a name": _nameless_file,
        "remove what was written": lambda: Path("written").unlink(),
    }
    sockets: dict[str, Callable[[], object]] = {
        "connect by TCP": lambda: _stream(socket.AF_INET, (host, port)),
        "connect by TCP over IPv6": lambda: _stream(socket.AF_INET6, ("::1", port)),
        "send by UDP": lambda: _datagram(socket.AF_INET, (host, udp_port)),
        "send by UDP over IPv6": lambda: _datagram(socket.AF_INET6, ("::1", udp_port)),
        "connect to a Unix socket": lambda: _stream(socket.AF_UNIX, path),
        "send to an abstract Unix socket": lambda: _datagram(socket.AF_UNIX, abstract),
        "send to an abstract socket from a pair": lambda: _send_from_pair(abstract),
        "connect a pair to an abstract socket": lambda: _connect_pair(abstract),
        "send a message to an abstract socket from a pair": lambda: _message_from_pair(abstract),
        "send to a Unix socket from a pair": lambda: _send_from_pair(task["unix_datagram"]),
        "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "open a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "open a vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
        "listen": lambda: socket.create_server((host, 0)),
        "look a host up": lambda: socket.getaddrinfo("example.org", 80, type=socket.SOCK_STREAM),
    }
    processes: dict[str, Callable[[], object]] = {
        "fork": _fork,
        "start a program": lambda: subprocess.run(["/bin/true"], check=True),
        "become a program": lambda: os.execv("/missing", ["true"]),
        "start a program by the C library": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "clone a process": _call(56, 220, signal.SIGCHLD, 0, 0, 0, 0),
        **{f"signal {name}": lambda pid=pid: os.kill(pid, 0) for name, pid in (("parent", parent), ("other", other))},
        "signal everything": lambda: os.kill(-1, 0),
        "signal the group": lambda: os.kill(0, 0),
        "signal a thread of the parent": _call(234, 131, parent, parent, 0),
        "signal a thread": _call(200, 130, parent, 0),
        "open the parent": _call(434, 434, parent, 0),
        "trace the parent": _call(101, 117, 0x4206, parent, 0, 0),
        "read the memory of the parent": lambda: _memory_of(parent),
        "change the priority of the parent": lambda: os.setpriority(
            os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)
        ),
        "change the limits of the parent": lambda: resource.prlimit(parent, core, resource.prlimit(parent, core)),
        "raise the limits": lambda: resource.setrlimit(core, (1, resource.getrlimit(core)[1] + 1)),
        "lower the limits": lambda: resource.setrlimit(core, (0, 0)),
        "outlive the parent": _call(157, 167, 1, 0, 0, 0, 0),
        "allow traces": _call(157, 167, 4, 1, 0, 0, 0),
        "have the kernel signal the parent": _call(72, 25, 1, 8, parent),
    }
    kernel: dict[str, Callable[[], object]] = {
        "shared memory": _call(29, 194, 0, 4096, 0o1600),
        "a message queue": _call(68, 186, 0, 0o1600),
        "a POSIX message queue": _call(240, 180, b"queue", 0o102, 0o600, 0),
        "a nameless memory file": _call(319, 279, b"x", 0),
        "io_uring": _call(425, 425, 8, ctypes.create_string_buffer(256)),
        "bpf": _call(321, 280, 0, ctypes.create_string_buffer(256), 128),
        "perf": _call(298, 241, ctypes.create_string_buffer(256), 0, -1, -1, 0),
        "userfaultfd": _call(323, 282, 1),
        "keys": _call(250, 219, 0, -3, 0),
        "inotify": _call(294, 26, 0),
        "fanotify": _call(300, 262, 0, 0),
        "namespaces": _call(272, 97, 0x04000000),
        "mount": _call(165, 40, b"none", b"/missing", b"tmpfs", 0, 0),
        "change the root": _call(161, 51, b"/missing"),
        "a handle of a file": _call(
            303, 264, -100, b"/etc", ctypes.create_string_buffer(256), ctypes.create_string_buffer(8), 0
        ),
        "another identity": _call(117, 147, -1, -1, -1),
        "the log of the kernel": _call(103, 116, 3, ctypes.create_string_buffer(256), 256),
        "set the host name": _call(170, 161, b"x", -1),
        "flush all disks": _call(162, 81),
        "a system call of the future": _call(700, 700),
        "a system call of another interface": _call(0x40000000 + 39, 0x40000000 + 39),
    }
    return reads | lists | writes | sockets | processes | kernel


def _needs(request: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Return what a parser must be able to do."""
    return {
        "read the input": lambda: Path(request["files"][0]).read_bytes(),
        "write into its folder": lambda: Path("written").write_text("x"),
        "make a folder": lambda: Path("made/deeper").mkdir(parents=True),
        "start a thread": lambda: threading.Thread(target=print, args=("",), kwargs={"file": sys.stderr}).start(),
        "make a pair of sockets": lambda: [each.close() for each in socket.socketpair()],
        "read the standard library": _read(contextlib.__file__),
    }


def main(request: dict[str, Any]) -> None:
    """Try everything, and reply with what is wrong: attacks that succeeded, and needs that were refused."""
    wrong = []
    for name, act in _needs(request).items():
        try:
            act()
        except Exception as error:
            wrong.append(f"cannot {name}: {error}")
    attacks = _attacks(request["task"])
    for name, act in attacks.items():
        try:
            act()
            wrong.append(f"can {name}")
        except (PermissionError, socket.gaierror, ValueError):  # the last for limits
            pass
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EXDEV):
                wrong.append(f"can try to {name}: {error}")
    descriptors = [number for number in range(256) if _is_open(number)]
    if descriptors != [0, 1, 2]:
        wrong.append(f"has the descriptors {descriptors}")
    if set(os.environ) & set(request["task"]["foreign_names"]):
        wrong.append(f"has the environment {dict(os.environ)}")
    json.dump({"kind": len(attacks), "problems": wrong}, sys.stdout)


def _is_open(number: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(number)
        return True
    return False
