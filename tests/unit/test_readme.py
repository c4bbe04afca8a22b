import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from warmcast.cli import app

README = (Path(__file__).parents[2] / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_code_comes_early() -> None:
    assert "```sh" in "\n".join(README.splitlines()[:35])


def test_the_python_of_the_readme_opens_the_forecast_of_its_command(
    untrained_checkpoint: Path,
    gfs_files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command = next(
        line for block in _blocks("sh") for line in block.splitlines() if line.startswith("warmcast forecast")
    )
    for name, path in zip(("gfs.t18z.grib2", "gfs.t00z.grib2"), gfs_files, strict=True):
        assert name in command
        command = command.replace(name, str(path))
    arguments = command.split()[1:]
    result = CliRunner().invoke(app, [*arguments, "--checkpoint", str(untrained_checkpoint)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    exec(_blocks("python")[0], {})
    assert "latitude" in capsys.readouterr().out


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert f"\n{target}:" in makefile


def test_every_link_of_the_readme_has_a_target() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target
