"""Files are written by `storage.atomic`, under a temporary name of their own; each exception states its reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("benchmarks", "deploy", "diagnostics", "jobs", "models", "service", "storage", "training", "warmcast",
            "weather", "workers")  # fmt: skip  # one name per line would be eleven lines
EXCEPTIONS = {
    "benchmarks/host_path.py": "chunks of a temporary folder",
    "benchmarks/serving.py": "a file of a temporary folder",
    "benchmarks/reading.py": "a file of a temporary folder",
    "models/compilation.py": "an empty file that is locked",
    "service/uploads.py": "files of a temporary folder",
    "storage/atomic.py": "the functions that the others use",
    "storage/lock.py": "empty files that are locked",
    "storage/scratch.py": "empty files that are locked",
    "training/evaluation/records_file.py": "lines that are appended to the records of an evaluation",
    "training/logs.py": "lines that are appended to the log of a training",
    "training/warm_start_outputs.py": "rows of one large file, with a record of those that are complete",
    "warmcast/files.py": "the client needs none of the other packages",
    "weather/checkpoint_archive.py": "files of a folder or archive that appears whole",
    "weather/ingest": "files of temporary folders, also by the child, which may not rename",
    "weather/readers": "files of temporary folders",
    "workers/timing.py": "a file of the kernel",
}
_ATOMIC, _TO_PATH = {"replace_file", "temporary_file"}, {"save_file", "to_netcdf"}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _target(call: ast.Call) -> ast.expr | None:
    """Return the path that a call writes or renames; None if it does neither, or returns what it would write."""
    name, texts = _name(call.func), [node.value for node in call.args if isinstance(node, ast.Constant)]
    if name in _TO_PATH:
        return call.args[-1] if call.args else None
    if not isinstance(call.func, ast.Attribute):
        return None
    is_open = name == "open" and any(isinstance(text, str) and set(text) & set("wxa+") for text in texts[:1])
    is_move = name == "replace" and (len(call.args) == 1 or _name(call.func.value) == "os")
    if ast.unparse(call.func.value) == "Path(os.devnull)":  # keeps nothing
        return None
    return call.func.value if is_open or is_move or name in {"write_text", "write_bytes"} else None


def _writers(source: str) -> Iterator[int]:
    """Yield the lines that write a file by another way than `storage.atomic`."""
    nodes = [*ast.walk(ast.parse(source))]
    items = [item for node in nodes if isinstance(node, ast.With) for item in node.items]
    temporary = {
        ast.dump(item.optional_vars).replace("Store", "Load")
        for item in items
        if item.optional_vars and isinstance(item.context_expr, ast.Call) and _name(item.context_expr.func) in _ATOMIC
    }
    for call in nodes:
        if isinstance(call, ast.Call):
            target = _target(call)
            if target is not None and ast.dump(target) not in temporary:
                yield call.lineno


def _find(package: str) -> dict[str, list[int]]:
    """Return the lines that `_writers` yields for each file of a package that has any."""
    files = {str(path.relative_to(ROOT)): [*_writers(path.read_text())] for path in (ROOT / package).rglob("*.py")}
    return {name: lines for name, lines in files.items() if lines}


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_written_by_the_functions_that_write_them_whole(package: str) -> None:
    assert {name: lines for name, lines in _find(package).items() if not name.startswith(tuple(EXCEPTIONS))} == {}


def test_every_exception_is_needed() -> None:
    found = [name for package in PACKAGES for name in _find(package)]
    assert [start for start in EXCEPTIONS if not any(name.startswith(start) for name in found)] == []


@pytest.mark.parametrize(
    "source",
    [
        "path.write_text(text)",
        "(folder / name).write_bytes(content)",
        "path.open('wb')",
        "path.open('a')",
        "partial.replace(path)",
        "os.replace(partial, path)",
        "save_file(tensors, path)",
        "dataset.to_netcdf(path)",
    ],
)
def test_each_way_to_write_a_file_is_found(source: str) -> None:
    assert list(_writers(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "write_text(path, text)",
        "path.open('rb')",
        "path.open()",
        "Path(os.devnull).open('w')",
        "text.replace('a', 'b')",
        "with replace_file(path) as partial: save_file(tensors, partial)",
    ],
)
def test_other_calls_are_not(source: str) -> None:
    assert list(_writers(source)) == []
