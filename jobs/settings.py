"""Settings of a process, read once from the environment variables `WARMCAST_*`."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.callback_hosts import AllowedHosts, check_hosts
from jobs.mode import Precision
from storage.errors import ConfigurationError, Location
from storage.hosts import check_networks
from weather.schema import first_error_sentence
from weather.upstream.registry import UpstreamOptions

PREFIX = "WARMCAST_"
_CLIENT_VARIABLES = {"WARMCAST_URL", "WARMCAST_KEY"}
"""Variables of the client, which are not settings of this process."""


class _Group(BaseSettings):
    """Settings of one subject; the variable of a field is its name in capitals after the prefix."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")


class StorageSettings(_Group):
    """Folders, object storage and the database."""

    data: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        Path("warmcast-data"),
        validate_default=True,
        description="Folder of forecasts, uploads and the embedded database.",
    )
    store: str | None = Field(
        None,
        pattern=r"^s3://[^/\s?#]+(/[^\s?#]*)?$",
        description="Object storage for forecasts, such as s3://bucket/prefix; the data folder by default.",
    )
    database_url: SecretStr | None = Field(
        None, description="URL of the database, such as postgresql+pg8000://…; SQLite in the data folder by default."
    )
    database_password_file: Path | None = Field(
        None, description="File with the password of the database, if its URL has none."
    )
    checkpoints: str = Field(
        "", description="Folders of checkpoints in addition to the bundled ones, separated by colons."
    )
    reserve_bytes: int = Field(
        64_000_000,
        ge=0,
        description="Bytes of the data folder's disk that are kept for deletions; with less free, new work is refused.",
    )
    keep_hours: float | None = Field(
        None,
        gt=0,
        description="Hours for which the data of a forecast is kept after its end, and an initial state after it was "
        "made; no limit by default.",
    )
    audit_days: float = Field(
        365.0, gt=0, description="Days for which entries of the audit log and runs of schedules are kept."
    )
    scrub_days: float = Field(
        7.0, ge=0, description="Days after which the service checks the files of a forecast again; 0: never."
    )
    scrub_bytes_per_second: float = Field(
        20_000_000.0, gt=0, description="Largest number of bytes a second that checks of files read."
    )

    @property
    def sql_url(self) -> str:
        """URL of the database: `database_url`, or else SQLite in the data folder."""
        if self.database_url is not None:
            return _with_password(self.database_url.get_secret_value(), self.database_password_file)
        return f"sqlite:///{(self.data / 'warmcast.db').resolve()}"

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Folders of checkpoints in addition to the bundled ones."""
        return tuple(Path(folder) for folder in self.checkpoints.split(":") if folder)


class WorkerSettings(_Group):
    """Device, precision and times of a worker."""

    device: str = Field("auto", description="Device of a worker: cpu, cuda, cuda:N, or auto.")
    threads: int | None = Field(None, ge=1, description="CPU threads of a worker; one for each core by default.")
    host_threads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Threads of a worker that write chunks, and at most as many that draw noise; by default one beside "
        "a CPU, and one for each processor, at most 8, beside a GPU.",
    )
    group_size: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Members computed, stored and resumed together; measured once for each device by default.",
    )
    forecasts_at_once: int | None = Field(
        None,
        ge=1,
        le=8,
        description="Forecasts that a worker computes at the same time while one does not fill its device; by default "
        "1 on a CPU, and 2 on a GPU.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether a worker compiles the networks, which takes minutes; auto compiles on GPUs only."
    )
    precision: Precision = Field(
        "float32",
        description="Precision in which a worker evaluates the networks, tf32 on GPUs only; states are always float32.",
    )
    lease_seconds: float = Field(
        60.0, gt=0, description="Seconds without a heartbeat after which another worker may claim a worker's work."
    )
    heartbeat_seconds: float = Field(15.0, gt=0, description="Seconds between two renewals of a worker's leases.")
    poll_seconds: float = Field(0.5, gt=0, description="Seconds between two checks for work by a worker that has none.")
    stall_seconds: float = Field(
        600.0, gt=0, description="Seconds without progress after which a worker ends its process."
    )
    stop_seconds: float = Field(20.0, gt=0, description="Seconds that a stopped worker has to release its work.")
    max_attempts: int = Field(3, ge=1, description="Attempts without progress after which a forecast fails.")
    heartbeat_file: Path | None = Field(
        None, description="File that a worker touches at each heartbeat, for the health check of a container."
    )


class LimitSettings(_Group):
    """Limits on what callers of the service may request."""

    max_members: int = Field(1000, ge=1, description="Largest number of members of a forecast.")
    max_lead_hours: int = Field(360, ge=1, description="Longest lead time of a forecast, in hours.")
    max_store_bytes: int = Field(
        20_000_000_000, ge=1, description="Largest size of a forecast before compression, in bytes."
    )
    max_open_forecasts: int = Field(
        100, ge=1, description="Largest number of forecasts that wait or run at the same time."
    )
    max_states: int = Field(1000, ge=0, description="Largest number of initial states that an API key keeps.")
    max_schedules: int = Field(100, ge=0, description="Largest number of schedules of an API key.")
    max_upload_bytes: int = Field(500_000_000, ge=1, description="Largest size of an upload, in bytes.")
    key_open_forecasts: int = Field(
        50, ge=0, description="Largest number of forecasts of one API key that wait or run at the same time."
    )
    key_forecast_evaluations: int = Field(
        1_000_000,
        ge=0,
        description="Largest number of evaluations for a forecast of an API key: members × lead times × (NFE + 1).",
    )
    key_day_evaluations: int = Field(
        10_000_000, ge=0, description="Largest number of evaluations for all forecasts of an API key of a day in UTC."
    )
    key_kept_bytes: int = Field(
        100_000_000_000, ge=0, description="Largest size of all forecasts of an API key whose data is kept, in bytes."
    )
    key_uploads: int = Field(4, ge=0, description="Largest number of uploads of an API key at the same time.")
    key_high_priority: bool = Field(
        default=False, description="Whether forecasts of API keys may have the priority high."
    )
    max_parsing: int = Field(
        2, ge=1, description="Largest number of requests whose files are read at the same time, by a process for each."
    )
    max_drawing: int = Field(
        1, ge=1, description="Largest number of pictures drawn at the same time, by a process for each."
    )
    max_reading: int = Field(
        2, ge=1, description="Largest number of time series and exports read at the same time, by a process for each."
    )
    max_waiting: int = Field(
        16,
        ge=0,
        description="Largest number of requests with files that wait for their turn, of pictures, and of values.",
    )


class ServiceSettings(_Group):
    """Notification of workers, and the public address of the service."""

    dispatcher: Literal["local", "celery"] = Field(
        "local", description="Kind of workers: one process on this machine (local), or Celery with Redis (celery)."
    )
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="URL of the Redis of Celery.")
    redis_password_file: Path | None = Field(None, description="File with the password of Redis, if its URL has none.")
    reconcile_seconds: float = Field(
        5.0,
        gt=0,
        description="Seconds between two notifications of workers about waiting work, and between two looks of a "
        "Celery worker for work.",
    )
    public_url: str | None = Field(
        None, pattern=r"^https?://[^/\s]+(/[^\s?#]*)?$", description="Base URL for callers, behind a proxy."
    )
    webhook_hosts: Annotated[str, AfterValidator(check_hosts)] = Field(
        "",
        description="Hosts to which callbacks may be sent: names, *.domain, * for all, and networks of addresses that "
        "are not public, separated by commas; none by default.",
    )
    webhook_http: bool = Field(default=False, description="Whether callbacks may be sent by http, unencrypted.")
    metrics_keys: int = Field(
        0,
        ge=0,
        le=100,
        description="Largest number of API keys, the most active ones, whose usage is among the metrics of "
        "--metrics-port; by default 0, none.",
    )
    schedules_file: Path | None = Field(
        None, description="TOML file of schedules, which are made, changed and deleted at each start to match it."
    )
    docs: Literal["public", "key"] = Field(
        "public", description="Who may read /docs and /openapi.json: everyone (public), or callers with a key (key)."
    )

    @property
    def allowed_hosts(self) -> AllowedHosts:
        """Hosts to which callbacks may be sent."""
        return AllowedHosts.parse(self.webhook_hosts, allows_http=self.webhook_http)

    @property
    def broker_url(self) -> str:
        """URL of Redis with its password."""
        return _with_password(self.redis_url.get_secret_value(), self.redis_password_file)


class DatasetSettings(_Group):
    """Data sets of the catalogue whose analyses are fetched when they are needed."""

    datasets: str = Field(
        "", description="Names of the data sets that are enabled beside the bundled ones, separated by commas."
    )
    datasets_file: Path | None = Field(
        None, description="TOML file with definitions of data sets, in addition to the built-in ones."
    )
    datasets_networks: Annotated[str, AfterValidator(check_networks)] = Field(
        "",
        description="Networks of addresses that are not public, such as 10.0.0.0/8, at which the servers of data sets "
        "may be, separated by commas; none by default.",
    )
    datasets_http: bool = Field(
        default=False, description="Whether data sets may have addresses with http, unencrypted."
    )
    datasets_cache_bytes: int = Field(
        1_000_000_000, ge=1, description="Largest size of the cache of fetched analyses in the data folder, in bytes."
    )

    @property
    def upstream_options(self) -> UpstreamOptions:
        """Which data sets are enabled, and where they are defined."""
        names = tuple(filter(None, (name.strip() for name in self.datasets.split(","))))
        return UpstreamOptions(
            names, self.datasets_file, self.datasets_networks, self.datasets_http, self.datasets_cache_bytes
        )


class LogSettings(_Group):
    """The log that each process writes to standard error."""

    log_format: Literal["text", "json"] = Field("text", description="Form of the lines of the log: text or json.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of the log; each request is a line of the level info."
    )


_GROUPS: dict[str, type[_Group]] = {
    "storage": StorageSettings,
    "worker": WorkerSettings,
    "limits": LimitSettings,
    "service": ServiceSettings,
    "datasets": DatasetSettings,
    "log": LogSettings,
}


class Settings(BaseModel):
    """Settings of the service and of workers; the defaults suit one machine without other servers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    storage: StorageSettings = Field(default_factory=StorageSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    service: ServiceSettings = Field(default_factory=ServiceSettings)
    datasets: DatasetSettings = Field(default_factory=DatasetSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Return settings with the given values, by name of the field in its group; others are from the environment."""
        known = cls.fields()
        unknown = sorted(values.keys() - known.keys())
        if unknown:
            raise TypeError(f"`{unknown[0]}` is not a setting. Expected one of: {', '.join(known)}.")
        return cls(
            **{
                name: group(**{field: value for field, value in values.items() if field in group.model_fields})
                for name, group in _GROUPS.items()
            }
        )

    @classmethod
    def read(cls, data: Path | None = None) -> Self:
        """Return the settings of the environment, with `data` as the data folder if it is given.

        Raises `ConfigurationError` that names an invalid variable.
        """
        known = {_variable(name) for name in cls.fields()} | _CLIENT_VARIABLES
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ConfigurationError(f"`{unknown[0]}` is not a setting. Expected one of: {', '.join(sorted(known))}.")
        try:
            settings = cls.of()
        except ValidationError as error:
            raise ConfigurationError(first_error_sentence(error, _variable_of_location)) from error
        return settings if data is None else settings.replace(data=data)

    @staticmethod
    def fields() -> dict[str, FieldInfo]:
        """Return the fields of all groups by name."""
        return {name: field for group in _GROUPS.values() for name, field in group.model_fields.items()}

    def replace(self, **values: Any) -> Self:
        """Return these settings with some values replaced, by name of the field in its group."""
        return self.of(**self._values() | values)

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give another process these settings."""
        return {
            _variable(name): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in self._values().items()
            if value is not None
        }

    def _values(self) -> dict[str, Any]:
        return {
            field: getattr(getattr(self, name), field)
            for name, group in _GROUPS.items()
            for field in group.model_fields
        }


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _variable_of_location(location: Location) -> str:
    return _variable(str(location[0]))


def _with_password(url: str, file: Path | None) -> str:
    """Return the URL of a server with the password in `file`, unless the URL has a password or there is no file.

    Raises `ConfigurationError` if the file cannot be read.
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if file is None or not host or ":" in user:
        return url
    try:
        password = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file `{file}` with the password of {host} cannot be read: {error}.") from error
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
