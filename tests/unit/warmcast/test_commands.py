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
    group = typer.main.get_command(app)
    assert set(group.commands) == set(COMMANDS)  # type: ignore[attr-defined]
