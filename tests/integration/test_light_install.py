"""The wheel without extras in an environment of its own: the client works, other commands name their extra."""

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.served import Served

ROOT = Path(__file__).parents[2]
STATES = "--initial-state a.grib2 b.grib2"
COMMANDS = (
    (f"forecast {STATES} --output out", "worker"),
    ("serve", "service,worker"),
    ("api", "service"),
    ("worker", "worker"),
    ("key list", "jobs"),
    ("doctor", "worker"),
    ("train config.yaml --data data --output out", "train"),
    ("evaluate --data data --json scores.json", "train"),
    ("climatology --data data --valid-time 2018-09-15 --output c.nc", "train"),
    ("nature-run --output out", "nature"),
    ("nature-compare a.nc --reference b.nc", "nature"),
    ("verify out --truth truth.nc", "worker"),
    ("plot out", "plot"),
    ("inspect a.grib2", "service"),
    ("bench scores", "dev"),
)


def _list_required(requirements: list[str]) -> set[str]:
    """Return the names of all distributions that requirements need, directly or through others."""
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        item = (requirement.name, frozenset(requirement.extras))
        if item not in done:
            done.add(item)
            inner = [Requirement(text) for text in importlib.metadata.requires(requirement.name) or []]
            waiting += [other for other in inner if _applies(other, requirement)]
    return {name for name, _ in done}


def _applies(inner: Requirement, outer: Requirement) -> bool:
    """Return whether a requirement of a distribution applies, given the extras with which `outer` requires it."""
    extras = ["", *outer.extras]
    return inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras)


def _link(name: str, target: Path) -> None:
    """Link the files of an installed distribution into another environment."""
    distribution = importlib.metadata.distribution(name)
    for file in distribution.files or ():
        top = file.parts[0]
        if top not in {"..", "__pycache__"} and not (target / top).exists():
            (target / top).symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture(scope="module")
def light_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder / "env"), "platbase": str(folder / "env")}))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    (metadata,) = site.glob("warmcast-*.dist-info/METADATA")
    requirements = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), flags=re.M)
    for name in _list_required([text for text in requirements if "extra ==" not in text]):
        _link(name, site)
    return folder / "env/bin/python"


def _run(python: Path, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    return subprocess.run(
        [str(python), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(("command", "extra"), COMMANDS)
def test_a_command_names_the_extra_that_it_needs(command: str, extra: str, light_python: Path, tmp_path: Path) -> None:
    ended = _run(light_python, "-m", "warmcast", *command.split(), cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    name = command.split(" --")[0] if command.startswith(("key", "bench")) else command.split()[0]
    assert re.fullmatch(
        rf"Error: `warmcast {name}` needs packages that are not installed, such as `[\w.]+`\. Install them: "
        rf"pip install 'warmcast\[{extra}\]'\n",
        ended.stderr,
    ), ended.stderr
    assert not [*tmp_path.iterdir()]


def test_the_client_and_the_remote_commands_work(light_python: Path, served: Served, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncio, sys\n"
        "from warmcast import AsyncClient, Client\n"
        "with Client() as client:\n"
        "    forecast = client.submit('nature-run', model='untrained', members=2, lead_time='12h', nfe=2).wait(60)\n"
        "    assert float(forecast.to_xarray().u10.isnull().sum()) == 0\n"
        "async def main():\n"
        "    async with AsyncClient() as client:\n"
        "        assert (await client.list(limit=1))[0].id == forecast.id\n"
        "asyncio.run(main())\n"
        "assert not {'torch', 'dask', 'fastapi', 'sqlalchemy'} & {*sys.modules}\n"
        "print(forecast.id)\n"
    )
    ended = _run(light_python, "script.py", cwd=tmp_path, WARMCAST_URL=served.url)
    assert ended.returncode == 0, ended.stderr
    forecast_id = ended.stdout.strip()
    for command in ("status ID", "watch ID", "replay ID --member 1", "list", "download ID --output e.zip"):
        arguments = command.replace("ID", forecast_id).split()
        ended = _run(light_python, "-m", "warmcast", *arguments, cwd=tmp_path, WARMCAST_URL=served.url)
        assert (ended.returncode, ended.stderr) == (0, ""), command
    assert (tmp_path / "e.zip").stat().st_size > 1000
    submitted = _run(
        light_python, "-m", "warmcast", "submit", "--initial-state", "nature-run", "--model", "untrained", "--json",
        "--lead-time", "360h", "--members", "16", "--nfe", "40", cwd=tmp_path, WARMCAST_URL=served.url,
    )  # fmt: skip  # a command line is read in lines, not word by word
    forecast_id = re.findall(r"fc_\w+", submitted.stdout)[0]
    assert (
        "dismissed"
        in _run(light_python, "-m", "warmcast", "cancel", forecast_id, cwd=tmp_path, WARMCAST_URL=served.url).stdout
    )
