import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES, BUILT = ROOT / "viewer", ROOT / "service" / "static" / "viewer"
_NAMES = ("index.html", "package-lock.json", "package.json", "src", "tsconfig.json", "vite.config.js")
_MAX_COMPRESSED_BYTES = 700_000
_VITE = SOURCES / "node_modules" / "vite" / "bin" / "vite.js"
_MIN_NODE = 20


def _files(name: str) -> list[str]:
    path = SOURCES / name
    return [name] if path.is_file() else [f"{name}/{entry.relative_to(path)}" for entry in path.rglob("*.*")]


def test_the_built_files_are_those_of_the_sources() -> None:
    digest = hashlib.sha256()
    for name in sorted(file for top in _NAMES for file in _files(top)):
        digest.update(f"{name}\n{hashlib.sha256((SOURCES / name).read_bytes()).hexdigest()}\n".encode())
    assert json.loads((BUILT / "build.json").read_text()) == {"sources": digest.hexdigest()}, "run `make viewer`"


def _why_not_built() -> str:
    """Return why the page cannot be built here; empty if it can."""
    node = shutil.which("node")
    if node is None:
        return "Node is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < _MIN_NODE:
        return f"Node {_MIN_NODE} or later is needed, and this is {version}"
    return "" if _VITE.exists() else "the packages of the page are not installed: run `npm ci` in viewer/"


def test_a_new_build_gives_the_committed_files_byte_for_byte(tmp_path: Path) -> None:
    if reason := _why_not_built():
        pytest.skip(reason)
    command = ["node", str(_VITE), "build", "--logLevel", "warn", "--emptyOutDir", "--outDir", str(tmp_path / "built")]
    subprocess.run(command, cwd=SOURCES, check=True, capture_output=True, timeout=300)
    assert _contents(tmp_path / "built") == _contents(BUILT)


def _contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder, by its path."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_page_is_small() -> None:
    sizes = [len(gzip.compress(path.read_bytes())) for path in BUILT.rglob("*.*") if path.suffix != ".txt"]
    assert 50_000 < sum(sizes) < _MAX_COMPRESSED_BYTES


def test_the_page_and_the_lock_name_no_other_host() -> None:
    assert "://" not in (BUILT / "index.html").read_text()
    assert "://" not in (SOURCES / "package-lock.json").read_text()
    scripts = "".join(path.read_text() for path in (BUILT / "assets").glob("*.js"))
    hosts = set(re.findall(r"https?://([\w.-]+)", scripts))
    assert hosts <= {"www.w3.org"}, "only the name of the namespace of SVG"


def test_every_package_in_the_page_has_its_licence() -> None:
    text = (BUILT / "licenses.txt").read_text()
    for name in json.loads((SOURCES / "package.json").read_text())["dependencies"]:
        assert re.search(rf"^{name} \d", text, flags=re.M), name
    assert "See the package." not in text
