"""Schedules of a TOML file: made, changed and deleted when the service starts, so that they are as the file says."""

import logging
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from jobs.audit import COMMAND_LINE, acting_as
from jobs.errors import ScheduleNotFoundError
from jobs.keys import LOCAL_OWNER, read_key
from jobs.schedule_runs import read_clock
from jobs.schedules import (
    Plan,
    change_schedule,
    delete_schedule,
    insert_schedule,
    list_file_schedules,
)
from service.dependencies import Service
from service.schedule_plans import make_plan
from service.schedule_requests import ScheduleBody, digest_of, format_cycle
from storage.errors import ConfigurationError, WarmcastError
from weather.schema import first_error_sentence

MAX_SCHEDULES = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

_log = logging.getLogger(__name__)


class FileSchedule(ScheduleBody):
    """A schedule of the file, whose name is that of its table."""

    owner: str = Field(LOCAL_OWNER, max_length=64, description="Id of the API key whose forecasts it submits.")


def read_schedules(file: Path) -> dict[str, FileSchedule]:
    """Return the schedules of a file by name; raise `ConfigurationError` that names the file, table and field."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The file of schedules `{file}` cannot be read: {error}.") from error
    if len(tables) > MAX_SCHEDULES:
        raise ConfigurationError(f"The file of schedules `{file}` may have {MAX_SCHEDULES}. Got: {len(tables)}.")
    return {name: _parse(file, name, table) for name, table in tables.items()}


def _parse(file: Path, name: str, table: Any) -> FileSchedule:
    if not _NAME.fullmatch(name) or not isinstance(table, Mapping):
        raise ConfigurationError(
            f"The file of schedules `{file}` must have a table for each, named by letters, digits, dots, dashes and "
            f"underscores, such as [north-sea]. Got: {name!r}."
        )
    try:
        return FileSchedule.model_validate({"name": name, **table})
    except ValidationError as error:
        raise ConfigurationError(f"Schedule `{name}` of `{file}`: {first_error_sentence(error)}") from error


def apply_file(service: Service, file: Path) -> None:
    """Make, change and delete schedules so that those of the source `file` are the ones in it; pauses are kept.

    Several processes may do so at the same time. Raises `ConfigurationError` for a schedule that is not possible.
    """
    wanted = read_schedules(file)
    with service.database.read() as connection:
        now = read_clock(connection)
        present = {schedule.plan.name: schedule for schedule in list_file_schedules(connection)}
    with acting_as(COMMAND_LINE):
        for name, schedule in list(present.items()):
            if name not in wanted or wanted[name].owner != schedule.owner:
                _delete(service, schedule.id, schedule.owner)
                del present[name]
        for name, body in wanted.items():
            earlier = present[name].plan if name in present else None
            plan = _check(service, body, present[name].created if name in present else now, earlier, file)
            if name not in present:
                _insert(service, body, plan)
            elif plan != earlier:
                with service.database.write() as connection:
                    change_schedule(connection, present[name], plan)


def _check(service: Service, body: FileSchedule, now: float, earlier: Plan | None, file: Path) -> Plan:
    try:
        if body.owner != LOCAL_OWNER:
            with service.database.read() as connection:
                read_key(connection, body.owner)
        fields = {name: getattr(body, name) for name in ScheduleBody.model_fields}
        if earlier is not None and body.start is None:
            fields["start"] = format_cycle(earlier.start)
        return make_plan(service, body.owner, ScheduleBody.model_construct(**fields), now, earlier)
    except WarmcastError as error:
        raise ConfigurationError(f"Schedule `{body.name}` of `{file}`: {error}") from error


def _insert(service: Service, body: FileSchedule, plan: Plan) -> None:
    """Insert a schedule, unless another process has done so meanwhile."""
    with service.database.write() as connection:
        if any(each.plan.name == body.name for each in list_file_schedules(connection)):
            return
        schedule, _ = insert_schedule(connection, body.owner, plan, digest_of(body), source="file")
    _log.info("schedule %s: made from the configuration, as %s", body.name, schedule.id)


def _delete(service: Service, schedule_id: str, owner: str) -> None:
    with service.database.write() as connection, suppress(ScheduleNotFoundError):
        delete_schedule(connection, schedule_id, owner)
