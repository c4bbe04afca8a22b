"""Definitions of data sets: where their analyses are and how they are laid out, read from TOML files.

The built-in ones are in `datasets.toml`; an operator's file adds others, and replaces those of the same name whole.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, field_validator

from storage.errors import ConfigurationError
from weather.schema import FrozenModel, first_error_sentence
from weather.upstream.dataset import Description
from weather.upstream.templates import check_template
from weather.variables import KNOWN

BUILT_IN = Path(__file__).parent / "datasets.toml"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}")
Template = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(check_template)]


def check_variables(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of variables; raise `ValueError` for one that Warmcast does not know."""
    for name in names:
        if name not in KNOWN:
            raise ValueError(f"variables must be some of {', '.join(KNOWN)}. Got: {name!r}")
    return names


def _check_address(template: str) -> str:
    parts = urlsplit(template)
    if parts.scheme not in ("https", "http") or not parts.hostname or "{" in parts.netloc or "@" in parts.netloc:
        raise ValueError("an address must begin with https:// and the name of a host, without fields in it")
    return template


Address = Annotated[Template, AfterValidator(_check_address)]


class _Definition(FrozenModel):
    """What every definition has."""

    title: str = Field("", max_length=200)
    licence: str = Field("", max_length=200)
    attribution: str = Field("", max_length=500)
    step_hours: int = Field(6, ge=1, le=24)
    delay_hours: float | None = Field(None, ge=0, le=24_000)
    state_bytes: int | None = Field(None, ge=1)
    late_hours: float = Field(9.0, gt=0, allow_inf_nan=True)
    lookback_hours: int = Field(72, ge=1, le=24_000)
    max_bytes: int = Field(50_000_000, ge=1, le=2_000_000_000)

    @field_validator("step_hours")
    @classmethod
    def _divide_a_day(cls, step_hours: int) -> int:
        if 24 % step_hours:
            raise ValueError(f"`step_hours` must divide 24. Got: {step_hours}")
        return step_hours

    def describe(self, hosts: tuple[str, ...] = ()) -> Description:
        """Return the description of the data set."""
        late_hours = self.late_hours if math.isfinite(self.late_hours) else None
        terms = self.title, self.licence, self.attribution
        return Description(*terms, self.delay_hours, self.state_bytes, hosts, late_hours)


class _WithVariables(_Definition):
    """A definition of files of which variables are selected."""

    variables: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(check_variables)] = ("u10", "v10")


class FolderDefinition(_WithVariables):
    """A folder that is watched."""

    kind: Literal["folder"]
    folder: Path
    file: Template
    settle_seconds: float = Field(60.0, ge=0)


class GribIndexDefinition(_Definition):
    """GRIB files with an index, of which the messages of `parameters` are fetched; `streams` are by the hour."""

    kind: Literal["grib-index"]
    url: Address
    index_url: Address
    index: Literal["idx", "json-lines"]
    parameters: dict[str, str] = Field(min_length=1)
    streams: dict[Annotated[int, Field(ge=0, le=23)], str] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _know(cls, parameters: dict[str, str]) -> dict[str, str]:
        check_variables(tuple(parameters))
        return parameters

    @property
    def addresses(self) -> tuple[str, ...]:
        """The templates of all addresses."""
        return self.url, self.index_url


class WholeFileDefinition(_WithVariables):
    """Whole files at addresses of a template: GRIB, NetCDF or zipped Zarr."""

    kind: Literal["file"]
    url: Address

    @property
    def addresses(self) -> tuple[str, ...]:
        """The templates of all addresses."""
        return (self.url,)


class ZarrDefinition(_Definition):
    """A Zarr store of format 2 with consolidated metadata, and the names of its arrays by variable."""

    kind: Literal["zarr"]
    url: Annotated[str, AfterValidator(_check_address)]
    arrays: dict[str, str] = Field(min_length=1)

    @field_validator("arrays")
    @classmethod
    def _know(cls, arrays: dict[str, str]) -> dict[str, str]:
        check_variables(tuple(arrays))
        return arrays

    @property
    def addresses(self) -> tuple[str, ...]:
        """The address of the store."""
        return (self.url,)


FetchedDefinition = GribIndexDefinition | WholeFileDefinition | ZarrDefinition
Definition = FolderDefinition | FetchedDefinition
_ADAPTER: TypeAdapter[Definition] = TypeAdapter(Annotated[Definition, Field(discriminator="kind")])


def read_definitions(file: Path | None) -> dict[str, Definition]:
    """Return the built-in definitions and those of a file by name; raise `ConfigurationError` that names the field."""
    tables = _read_tables(BUILT_IN)
    if file is not None:
        tables |= _read_tables(file)
    return {name: _parse(name, table) for name, table in tables.items()}


def _read_tables(file: Path) -> dict[str, Mapping[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The file of data sets `{file}` cannot be read: {error}.") from error
    for name, table in tables.items():
        if not _NAME.fullmatch(name) or not isinstance(table, dict):
            raise ConfigurationError(
                f"The file of data sets `{file}` must have a table for each, named by small letters, digits, dots, "
                f"dashes and underscores, such as [my-analyses]. Got: {name!r}."
            )
    return tables


def _parse(name: str, table: Mapping[str, Any]) -> Definition:
    try:
        return _ADAPTER.validate_python(table)
    except ValidationError as error:
        raise ConfigurationError(f"The definition of data set `{name}`: {first_error_sentence(error)}") from error
