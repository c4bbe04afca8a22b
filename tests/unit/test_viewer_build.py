import gzip
import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES, BUILT = ROOT / "viewer", ROOT / "service" / "static" / "viewer"
_NAMES = ("index.html", "package-lock.json", "package.json", "src", "tsconfig.json", "vite.config.js")
_MAX_COMPRESSED_BYTES = 700_000


def _files(name: str) -> list[str]:
    path = SOURCES / name
    return [name] if path.is_file() else [f"{name}/{entry.relative_to(path)}" for entry in path.rglob("*.*")]


def test_the_built_files_are_those_of_the_sources() -> None:
    digest = hashlib.sha256()
    for name in sorted(file for top in _NAMES for file in _files(top)):
        digest.update(f"{name}\n{hashlib.sha256((SOURCES / name).read_bytes()).hexdigest()}\n".encode())
    assert json.loads((BUILT / "build.json").read_text()) == {"sources": digest.hexdigest()}, "run `make viewer`"


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
