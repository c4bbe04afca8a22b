"""Debian's Prometheus for tests: of the path, else unpacked from its package."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path


def run_promtool(*arguments: str, folder: Path | None = None, text: str | None = None) -> str:
    """Return what `promtool` prints; raises `AssertionError` with it where it is not content."""
    ended = subprocess.run(
        [program("promtool"), *arguments], cwd=folder, input=text, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@cache
def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`."""
    found = shutil.which(name)
    if found is None:
        assert os.getuid() == 0, f"Prometheus' {name} is needed: apt-get install prometheus"
        found = str(_unpacked() / "usr/bin" / name)
    return found


@cache
def _unpacked() -> Path:
    """Unpack the package, without installing it, into a folder of the system's temporary files."""
    folder = Path(tempfile.gettempdir()) / "warmcast-prometheus"
    if not (folder / "usr/bin/prometheus").exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return folder
