"""Write a lock with the SHA-256 of every package that pip would install.

    pip install --dry-run --ignore-installed --quiet --report - PACKAGE | python deploy/lock.py LOCK

Hashes that LOCK already has of a version are kept: those of other platforms and builds, from other machines.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.atomic import write_text

_LINE = re.compile(r"(?P<name>\S+)==(?P<version>\S+)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)")
Lock = dict[tuple[str, str], set[str]]


def read_lock(text: str) -> Lock:
    """Return the hashes in a lock by name and version."""
    return {
        (match["name"], match["version"]): set(re.findall(r"sha256:([0-9a-f]+)", match["hashes"]))
        for match in _LINE.finditer(text)
    }


def lock_of_report(report: Mapping[str, Any]) -> Lock:
    """Return the hash of each package in pip's report, without local versions and without projects of folders."""
    lock = Lock()
    for package in report["install"]:
        hashes = package["download_info"].get("archive_info", {}).get("hashes", {})
        if "sha256" in hashes:
            metadata = package["metadata"]
            name = re.sub(r"[-_.]+", "-", metadata["name"]).lower()
            lock[name, metadata["version"].partition("+")[0]] = {hashes["sha256"]}
    return lock


def merge(old: Lock, new: Lock) -> Lock:
    """Return the packages of `new`, with the hashes of both locks."""
    return {package: hashes | old.get(package, set()) for package, hashes in new.items()}


def write_lock(lock: Lock) -> str:
    """Return the text of a lock, which pip reads with `--require-hashes --requirement`."""
    return "".join(
        f"{name}=={version}{''.join(f' --hash=sha256:{digest}' for digest in sorted(hashes))}\n"
        for (name, version), hashes in sorted(lock.items())
    )


if __name__ == "__main__":
    path = Path(sys.argv[1])
    earlier = read_lock(path.read_text()) if path.exists() else {}
    write_text(path, write_lock(merge(earlier, lock_of_report(json.load(sys.stdin)))))
