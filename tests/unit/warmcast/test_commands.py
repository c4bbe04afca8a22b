import importlib
import inspect
import sys
from pathlib import Path

import pytest
import typer

from warmcast import commands
from warmcast.cli import app
from warmcast.commands import COMMANDS, EXTRAS, run
from warmcast.errors import MissingExtraError


@pytest.mark.parametrize("target", COMMANDS.values())
def test_every_command_of_the_table_exists(target: str) -> None:
    module, function = target.split(":")
    assert inspect.isfunction(getattr(importlib.import_module(module), function))


def test_the_command_line_offers_exactly_the_table() -> None:
    offered = set()
    for name, command in typer.main.get_command(app).commands.items():
        parts = {f"{name} {part}" for part in getattr(command, "commands", ())}
        offered |= parts | ({name} if not parts or command.invoke_without_command else set())
    assert offered == set(COMMANDS) - {"verify ID"}


@pytest.mark.parametrize("command", [name for name, target in COMMANDS.items() if not target.startswith("warmcast.")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(commands.importlib, "import_module", fail)
    extra = EXTRAS.get(command) or EXTRAS[COMMANDS[command].partition(".")[0]]
    with pytest.raises(MissingExtraError) as caught:
        run(command)
    assert str(caught.value) == (
        f"`warmcast {command}` needs packages that are not installed, such as `torch`. Install them: "
        f"pip install 'warmcast[{extra}]'"
    )


def test_every_extra_is_one_of_the_package() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for extra in ",".join(EXTRAS.values()).split(","):
        assert f"\n{extra} = [" in project


def test_a_package_that_shadows_one_of_warmcast_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "service"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "service.py").write_text("raise ZeroDivisionError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=rf"was found in `{tmp_path}/service\.py`, which is not Warmcast's"):
        run("serve")
