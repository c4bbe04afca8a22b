import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from jobs.settings import PREFIX, Settings
from storage.errors import ConfigurationError

VARIABLES = {
    "DATA": "/folder",
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
    assert (settings.storage.data, settings.storage.sql_url) == (Path("/folder"), "sqlite:///rows.db")
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


def test_the_defaults_suit_one_machine_without_other_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    settings = Settings.read()
    assert settings.service.dispatcher == "local"
    assert settings.storage.sql_url == f"sqlite:///{Path.cwd()}/warmcast-data/warmcast.db"
    assert settings.storage.checkpoint_folders == ()
    assert (settings.storage.store, settings.storage.keep_hours, settings.worker.threads) == (None, None, None)
    assert settings.worker.heartbeat_seconds * 2 < settings.worker.lease_seconds, "a lease survives a lost heartbeat"


@pytest.mark.parametrize("given", [None, "demo", "a/demo"])
def test_the_data_folder_is_absolute_for_processes_with_another_working_directory(
    given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WARMCAST_DATA", raising=False)
    settings = Settings.of() if given is None else Settings.of(data=Path(given))
    assert settings.storage.data == tmp_path / (given or "warmcast-data")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "0"),
        ("THREADS", "1.5"),
        ("GROUP_SIZE", "257"),
        ("LEASE_SECONDS", "0"),
        ("LEASE_SECONDS", "-1"),
        ("MAX_ATTEMPTS", "0"),
        ("MAX_MEMBERS", ""),
        ("KEEP_HOURS", "0"),
        ("PRECISION", "float64"),
        ("COMPILE", "yes"),
        ("DISPATCHER", "redis"),
        ("STORE", "gs://bucket"),
        ("STORE", "s3://"),
        ("STORE", "s3://bucket/a b"),
        ("PUBLIC_URL", "example.org"),
        ("PUBLIC_URL", "https://example.org/?a=b"),
    ],
)
def test_an_invalid_value_is_refused_with_variable_and_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(ConfigurationError) as refusal:
        Settings.read()
    assert str(refusal.value).startswith(f"`{PREFIX}{name}` is wrong: ")
    assert value in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("STORE", "s3://bucket"), ("STORE", "s3://bucket/some/where"), ("PUBLIC_URL", "http://[::1]:8000/base")],
)
def test_the_bounds_of_accepted_values_are_accepted(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    assert Settings.read().environment()[f"{PREFIX}{name}"] == value


def test_an_unknown_variable_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_THREAD", "7")
    with pytest.raises(ConfigurationError) as refusal:
        Settings.read()
    assert "WARMCAST_THREADS" in str(refusal.value)
    assert "WARMCAST_URL" in str(refusal.value), "variables of the client are accepted in the same environment"


def test_a_password_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMCAST_DATABASE_URL", "postgresql+pg8000://user:hunter2@db/warmcast")
    monkeypatch.setenv("WARMCAST_REDIS_URL", "redis://:hunter3@redis/0")
    settings = Settings.read()
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter" not in text
    assert settings.storage.sql_url == "postgresql+pg8000://user:hunter2@db/warmcast"
    assert settings.environment()["WARMCAST_REDIS_URL"] == "redis://:hunter3@redis/0"


def test_replacing_a_value_keeps_all_others_and_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.of(threads=3, keep_hours=2.0, database_url=SecretStr("sqlite:///a.db"))
    monkeypatch.setenv("WARMCAST_THREADS", "9")
    replaced = settings.replace(data=Path("/other"))
    assert (replaced.worker.threads, replaced.storage.keep_hours) == (3, 2.0)
    assert (replaced.storage.data, replaced.storage.sql_url) == (Path("/other"), "sqlite:///a.db")
    assert settings.storage.data != Path("/other")
    assert settings.replace() == settings


def test_a_value_that_replaces_another_is_checked_as_well() -> None:
    with pytest.raises(ValidationError, match="threads"):
        Settings().replace(threads=0)
    with pytest.raises(TypeError, match=r"`thread` is not a setting. Expected one of: data, store"):
        Settings().replace(thread=1)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().worker.threads = 5


def test_values_without_a_limit_are_absent_from_the_environment() -> None:
    environment = Settings.of(keep_hours=None, threads=None).environment()
    assert "WARMCAST_KEEP_HOURS" not in environment
    assert "WARMCAST_THREADS" not in environment
    assert all(isinstance(value, str) and value != "None" for value in environment.values())


@pytest.mark.parametrize(
    ("checkpoints", "folders"),
    [("", ()), ("a", ("a",)), ("a:b/c", ("a", "b/c")), (":a::b:", ("a", "b"))],
)
def test_folders_of_checkpoints_are_separated_by_colons(checkpoints: str, folders: tuple[str, ...]) -> None:
    assert Settings.of(checkpoints=checkpoints).storage.checkpoint_folders == tuple(map(Path, folders))


def test_every_setting_has_a_description() -> None:
    for name, field in Settings.fields().items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql+pg8000://user@db:5432/warmcast?x=1",
            "postgresql+pg8000://user:s%2F%40%3A%20t@db:5432/warmcast?x=1",
        ),
        ("postgresql+pg8000://user:own@db/warmcast", "postgresql+pg8000://user:own@db/warmcast"),
        ("sqlite:////data/rows.db", "sqlite:////data/rows.db"),
    ],
)
def test_a_password_file_completes_the_url_of_a_server(url: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s/@: t\n")
    settings = Settings.of(database_url=SecretStr(url), database_password_file=tmp_path / "password")
    assert settings.storage.sql_url == expected


def test_redis_may_have_a_password_without_a_user(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret")
    settings = Settings.of(redis_url=SecretStr("redis://redis:6379/0"), redis_password_file=tmp_path / "password")
    assert settings.service.broker_url == "redis://:secret@redis:6379/0"


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = Settings.of(
        database_url=SecretStr("postgresql+pg8000://user@db/warmcast"), database_password_file=tmp_path / "missing"
    )
    with pytest.raises(ConfigurationError, match="missing` with the password of db cannot be read"):
        _ = settings.storage.sql_url
