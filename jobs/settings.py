"""Settings of a process, read once from the environment variables `WARMCAST_*`."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.errors import ConfigurationError

PREFIX = "WARMCAST_"
_CLIENT_VARIABLES = {"WARMCAST_URL", "WARMCAST_KEY"}
"""Variables of the client, which are no settings of this process."""


class Settings(BaseSettings):
    """Settings of the service and of workers; the defaults suit one machine without other servers."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data: Path = Field(Path("warmcast-data"), description="Folder of forecasts, uploads and the embedded database.")
    store: str | None = Field(
        None,
        pattern=r"^s3://[^/\s?#]+(/[^\s?#]*)?$",
        description="Object storage of forecasts, such as s3://bucket/prefix; the data folder by default.",
    )
    database_url: SecretStr | None = Field(
        None, description="Database of the rows, such as postgresql+pg8000://…; SQLite in the data folder by default."
    )
    dispatcher: Literal["local", "celery"] = Field(
        "local", description="Who hands work over: one worker process on this machine, or Celery on Redis."
    )
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Redis that Celery uses.")
    checkpoints: str = Field("", description="Folders of checkpoints beside the bundled ones, separated by colons.")
    device: str = Field("auto", description="Device of a worker: cpu, cuda, cuda:N, or auto.")
    threads: int | None = Field(None, ge=1, description="CPU threads of a worker; one a core by default.")
    group_size: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Members of a group: computed, stored and resumed together; found by a trial by default.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether a worker compiles the networks: by default on GPUs only, as it takes minutes."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision that a worker evaluates the networks in; states are float32 always."
    )
    lease_seconds: float = Field(60.0, gt=0, description="How long work stays with a worker that is not heard of.")
    heartbeat_seconds: float = Field(15.0, gt=0, description="How often a worker renews its leases.")
    poll_seconds: float = Field(0.5, gt=0, description="How often a worker that waits for work looks for some.")
    reconcile_seconds: float = Field(5.0, gt=0, description="How often forgotten work is looked for.")
    stall_seconds: float = Field(600.0, gt=0, description="How long one evaluation may take before a worker is ended.")
    max_attempts: int = Field(3, ge=1, description="How often work is begun without any progress before it fails.")
    max_members: int = Field(1000, ge=1, description="Most members of a forecast.")
    max_lead_hours: int = Field(360, ge=1, description="Longest lead time of a forecast, in hours.")
    max_store_bytes: int = Field(20_000_000_000, ge=1, description="Most bytes of a forecast before compression.")
    max_open_forecasts: int = Field(100, ge=1, description="Most forecasts that wait or run at once.")
    max_upload_bytes: int = Field(500_000_000, ge=1, description="Most bytes of an upload.")
    keep_hours: float | None = Field(
        None, gt=0, description="How long the data of a forecast is kept after its end, in hours; for ever by default."
    )
    public_url: str | None = Field(
        None, pattern=r"^https?://[^/\s]+(/[^\s?#]*)?$", description="What callers' URLs begin with, behind a proxy."
    )
    stop_seconds: float = Field(20.0, gt=0, description="How long a worker has to hand its work back when stopped.")

    @classmethod
    def read(cls) -> Self:
        """Return the settings of the environment; raises `ConfigurationError` that names the variable at fault."""
        known = {f"{PREFIX}{name.upper()}" for name in cls.model_fields} | _CLIENT_VARIABLES
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise ConfigurationError(f"`{unknown[0]}` is no setting. Expected one of: {', '.join(sorted(known))}.")
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = f"{PREFIX}{str(first['loc'][0]).upper()}" if first["loc"] else PREFIX
            raise ConfigurationError(f"`{name}` is wrong: {first['msg']}. Got: {first['input']!r}.") from error

    @property
    def url(self) -> str:
        """URL of the database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data / 'warmcast.db').resolve()}"

    @property
    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Folders of checkpoints beside the bundled ones."""
        return tuple(Path(folder) for folder in self.checkpoints.split(":") if folder)

    def environment(self) -> dict[str, str]:
        """Return the variables that give another process these settings."""
        result = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                result[f"{PREFIX}{name.upper()}"] = text
        return result
