import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = ROOT / "deploy/locks"
sys.path.insert(0, str(ROOT / "deploy"))

from lock import lock_of_report, merge, read_lock, write_lock  # noqa: E402 # a script, not in a package

IMAGES = {"api": ("service", "s3"), "worker": ("worker", "s3")}


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=; ]", requirement)[0]).lower()


@pytest.mark.parametrize("image", IMAGES)
def test_a_lock_has_names_versions_and_hashes_only(image: str) -> None:
    text = (LOCKS / f"{image}.txt").read_text()
    assert write_lock(read_lock(text)) == text
    assert all("+" not in version for _, version in read_lock(text))


@pytest.mark.parametrize("image", IMAGES)
def test_a_lock_has_all_dependencies_in_the_versions_of_the_constraints(image: str) -> None:
    lock = dict(read_lock((LOCKS / f"{image}.txt").read_text()))
    versions = dict(lock.keys())
    constraints = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.M))
    pinned = {_name(name): version for name, version in constraints.items()}
    assert {name: version for name, version in versions.items() if pinned.get(name, version) != version} == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        "service": ("service", "jobs", "plot", "grib"),
        "worker": ("worker", "jobs", "plot", "grib"),
        "s3": ("s3",),
    }
    needed = [*project["dependencies"]]
    for extra in IMAGES[image]:
        for part in extras[extra]:
            needed += project["optional-dependencies"][part]
    assert {_name(requirement) for requirement in needed} - {"warmcast"} <= versions.keys()


def test_hashes_of_other_platforms_are_kept_for_the_same_version() -> None:
    def report(version: str, digest: str) -> dict[str, object]:
        download = {"url": "x", "archive_info": {"hashes": {"sha256": digest * 64}}}
        folder = {"metadata": {"name": "warmcast", "version": "0"}, "download_info": {"dir_info": {}}}
        return {"install": [{"metadata": {"name": "A_b", "version": version}, "download_info": download}, folder]}

    first = lock_of_report(report("1.0+local", "a"))
    assert first == {("a-b", "1.0"): {"a" * 64}}
    assert merge(first, lock_of_report(report("1.0", "b"))) == {("a-b", "1.0"): {"a" * 64, "b" * 64}}
    assert merge(first, lock_of_report(report("2.0", "c"))) == {("a-b", "2.0"): {"c" * 64}}


@pytest.mark.parametrize("image", IMAGES)
def test_a_lock_holds_what_its_packages_need_on_the_first_python_311_too(image: str) -> None:
    locked = {package for package, _ in read_lock((LOCKS / f"{image}.txt").read_text())}
    oldest = {"python_version": "3.11", "python_full_version": "3.11.0", "extra": ""}
    needed = {
        canonicalize_name(requirement.name)
        for package in locked
        for requirement in map(Requirement, importlib.metadata.requires(package) or [])
        if requirement.marker is None or requirement.marker.evaluate(oldest)
    }
    other_layers = {"torch", "triton", "setuptools"}  # torch and what only its build for GPUs needs
    assert {package for package in needed - locked if not package.startswith(("nvidia-", "cuda-"))} <= other_layers
