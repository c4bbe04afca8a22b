import importlib
import inspect

import pytest
import typer

from warmcast.cli import app
from warmcast.commands import COMMANDS


@pytest.mark.parametrize("target", COMMANDS.values())
def test_every_command_of_the_table_exists(target: str) -> None:
    module, function = target.split(":")
    assert inspect.isfunction(getattr(importlib.import_module(module), function))


def test_the_command_line_offers_exactly_the_table() -> None:
    offered = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        offered |= {f"{name} {part}" for part in command.commands} if hasattr(command, "commands") else {name}
    assert offered == set(COMMANDS)
