import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import servers

APT = """#!/bin/sh
echo "$*" >>"$LOG"
case $1 in
update) touch "$LISTS" ;;
install)
  test -e "$LISTS" || exit 100
  for option; do case $option in Dir::Cache::archives=*) touch "${option#*=}/it.deb" ;; esac; done ;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/lib/it/bin" "$3/usr/lib/machine"
touch "$3/usr/lib/machine/libit.so.1"
printf '#!/bin/sh\\necho "$LD_LIBRARY_PATH" "$@"\\n' >"$3/usr/lib/it/bin/it"
chmod +x "$3/usr/lib/it/bin/it"
"""
Fresh = Callable[[], list[str]]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fresh:
    """Simulate a machine on which root has installed nothing; returns the commands that apt-get has received."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {"apt-get": APT, "dpkg": DPKG}.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("LISTS", str(tmp_path / "lists"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    servers._unpack.cache_clear()
    return lambda: [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]


def test_a_program_on_the_path_is_used(fresh: Fresh, tmp_path: Path) -> None:
    assert servers.debian_program("sh", "dash")[0] in {"/usr/bin/sh", "/bin/sh"}
    assert not (tmp_path / "log").exists()


def test_a_package_is_unpacked_after_an_update_and_runs_with_its_own_libraries(fresh: Fresh, tmp_path: Path) -> None:
    command = servers.debian_program("it", "^it-[0-9]+$")
    answer = subprocess.run([*command, "works"], check=True, capture_output=True, text=True).stdout
    assert answer == f"{tmp_path}/warmcast-it/usr/lib/machine works\n"
    assert fresh() == ["install", "update", "install"]


def test_a_package_is_unpacked_once_for_all_users(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "lists").touch()
    first = servers.debian_program("it", "it")
    servers._unpack.cache_clear()
    assert servers.debian_program("it", "it") == first
    assert fresh() == ["install"]
    assert (tmp_path / "warmcast-it").stat().st_mode & 0o777 == 0o755


def test_without_root_the_error_names_the_package_to_install(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(AssertionError, match="apt-get install it"):
        servers.debian_program("it", "it")


def test_without_a_postgres_user_postgresql_runs_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"nobody": pwd.getpwnam("nobody")}
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    assert servers._find_unprivileged_user().pw_name == "nobody"
