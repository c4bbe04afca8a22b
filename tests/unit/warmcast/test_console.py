import errno
from pathlib import Path

import pytest
import typer

from storage.errors import ConfigurationError
from warmcast.console import exit_codes, folders, plural
from warmcast.errors import ClientError, DownloadError


def _run(error: BaseException, advice: str = "") -> int:
    with pytest.raises(typer.Exit) as caught, exit_codes(advice):
        raise error
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigurationError("`nfe` is odd."), 2, "Error: `nfe` is odd.\n"),
        (ClientError("No."), 2, "Error: No.\n"),
        (DownloadError("Full."), 3, "Error: Full.\n"),
        (OSError(errno.ENOSPC, "Disk full", "a.zarr"), 3, "Error: Disk full: `a.zarr`. Go on.\n"),
        (FileExistsError(errno.EEXIST, "File exists", "out"), 3, "Error: File exists: `out`.\n"),
        (OSError("plain"), 3, "Error: plain.\n"),
        (KeyboardInterrupt(), 130, "Interrupted. Go on.\n"),
    ],
)
def test_an_error_is_one_paragraph_with_an_exit_code_and_advice_only_where_it_helps(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(error, "Go on.") == code
    assert capsys.readouterr().err == message


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), exit_codes():
        (tmp_path / "missing/scores.json").write_text("")
    assert f"The folder `{tmp_path}/missing` does not exist. Create it, or choose another." in capsys.readouterr().err


def test_programming_errors_and_exits_are_raised_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), exit_codes():
        raise ZeroDivisionError
    with pytest.raises(typer.Exit) as caught, exit_codes():
        raise typer.Exit(3)
    assert caught.value.exit_code == 3


def test_nouns_are_singular_for_one_and_folders_are_split_at_colons() -> None:
    assert [plural(number, "member") for number in (0, 1, 2)] == ["0 members", "1 member", "2 members"]
    assert folders("a:b/c:") == [Path("a"), Path("b/c")]
