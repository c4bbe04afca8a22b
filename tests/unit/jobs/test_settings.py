from pathlib import Path

import pytest

from jobs.settings import PREFIX, Settings
from storage.errors import ConfigurationError

VARIABLES = {
    "DATA": "folder",
    "DATABASE_URL": "sqlite:///rows.db",
    "DISPATCHER": "celery",
    "REDIS_URL": "redis://:secret@127.0.0.1:6379/1",
    "CHECKPOINTS": "a:b",
    "THREADS": "3",
    "LEASE_SECONDS": "2.5",
    "MAX_MEMBERS": "7",
    "PUBLIC_URL": "https://example.org/warmcast",
}


@pytest.fixture
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    monkeypatch.setenv("WARMCAST_URL", "http://127.0.0.1:8000")


@pytest.mark.usefixtures("_environment")
def test_variables_set_the_fields_of_their_groups() -> None:
    settings = Settings.read()
    assert (settings.storage.data, settings.storage.sql_url) == (Path("folder"), "sqlite:///rows.db")
    assert settings.storage.checkpoint_folders == (Path("a"), Path("b"))
    assert (settings.worker.threads, settings.worker.lease_seconds) == (3, 2.5)
    assert (settings.limits.max_members, settings.limits.max_lead_hours) == (7, 360)
    assert (settings.service.dispatcher, settings.service.public_url) == ("celery", "https://example.org/warmcast")
    assert "secret" not in repr(settings)


@pytest.mark.usefixtures("_environment")
def test_the_environment_of_settings_gives_another_process_the_same_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.read().replace(device="cpu", keep_hours=1.5)
    environment = settings.environment()
    assert {f"{PREFIX}{name}": value for name, value in VARIABLES.items()}.items() <= environment.items()
    assert environment["WARMCAST_KEEP_HOURS"] == "1.5"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.read() == settings


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_MEMBERS", "7")
    with pytest.raises(ConfigurationError, match="`WARMCAST_MEMBERS` is not a setting"):
        Settings.read()


def test_an_invalid_value_is_refused_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_THREADS", "none")
    with pytest.raises(ConfigurationError, match="`WARMCAST_THREADS` is wrong"):
        Settings.read()


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="`lease_hours` is not a setting"):
        Settings.of(lease_hours=1)


def test_names_of_fields_are_unique_over_all_groups() -> None:
    settings = Settings()
    names = [field for group in type(settings).model_fields for field in type(getattr(settings, group)).model_fields]
    assert sorted(names) == sorted(Settings.fields())
