"""The checks of what a schedule submits, as a request of its owner would be checked."""

from jobs.limits import NewForecast
from jobs.request import CatalogueSource
from jobs.schedule_cycles import HOUR, MAX_CATCH_UP, Rhythm
from jobs.schedules import Plan
from service.dependencies import Service
from service.faults import Faults, nested_in
from service.limits import admission_of
from service.problems import ServiceError
from service.requests import ForecastBody, ForecastOptions
from service.schedule_requests import CATCH_UP, ScheduleBody, format_cycle, options_row
from service.submission import check_body
from storage.errors import ConfigurationError, WarmcastError
from weather.times import parse_time


def make_plan(service: Service, owner: str, body: ScheduleBody, now: float, earlier: Plan | None = None) -> Plan:
    """Return the plan of a schedule after all checks that do not depend on a cycle, as a request would be checked.

    `earlier` is the plan that is changed. All errors are reported together, with their locations in the body.
    """
    faults = Faults()
    faults.attempt(("body",), _check_rhythm, service, body)
    start = faults.attempt(("body",), _read_time, body.start, "start")
    stop = faults.attempt(("body",), _read_time, body.stop, "stop")
    rhythm = Rhythm(body.every_hours, body.offset_hours)
    first = rhythm.last_until(now) if start is None else start
    if earlier is None:
        faults.attempt(("body",), _check_number, rhythm, first, stop, now)
    _add_faults_of_forecast(faults, service, owner, body)
    can_verify = body.forecast.output.members and body.forecast.num_members >= 2
    if body.verify and not can_verify:
        message = "`verify` must be false or absent: only two or more members whose fields are stored can be verified."
        faults.add(ConfigurationError(message, ("body", "verify")))
    faults.check()
    return Plan(
        name=body.name,
        dataset=body.dataset,
        every_hours=body.every_hours,
        offset_hours=body.offset_hours,
        start=first,
        stop=stop,
        catch_up=CATCH_UP.get(str(body.catch_up), 0) if isinstance(body.catch_up, str) else body.catch_up,
        wait_hours=body.wait_hours,
        late_hours=service.datasets.late_hours(body.dataset) if body.late_hours is None else body.late_hours,
        verify=can_verify if body.verify is None else body.verify,
        forecast=options_row(body.forecast),
    )


def _check_rhythm(service: Service, body: ScheduleBody) -> None:
    """Raise `ConfigurationError` unless the data set exists and has analyses at all cycles."""
    step = service.datasets.find(body.dataset).step_hours
    for name in ("every_hours", "offset_hours"):
        hours = getattr(body, name)
        if hours % step:
            message = (
                f"`{name}` must be a multiple of {step}, the hours from one analysis of {body.dataset} to the next. "
            )
            raise ConfigurationError(f"{message}Got: {hours}.", (name,))
    if body.offset_hours >= body.every_hours:
        message = f"`offset_hours` must be less than `every_hours`, {body.every_hours}. Got: {body.offset_hours}."
        raise ConfigurationError(message, ("offset_hours",))


def _read_time(text: str | None, name: str) -> int | None:
    return None if text is None else int(parse_time(text, name).astype("int64"))


def _check_number(rhythm: Rhythm, start: int, stop: int | None, now: float) -> None:
    """Raise `ConfigurationError` if a schedule has too many cycles before now, or none at all."""
    first = rhythm.first_from(start)
    if stop is not None and first > stop:
        raise ConfigurationError(
            f"`stop` must be at or after the first cycle, {format_cycle(first)}. Got: {format_cycle(stop)}.", ("stop",)
        )
    number = (min(now, now if stop is None else stop) - first) // (rhythm.every_hours * HOUR) + 1
    if number > MAX_CATCH_UP:
        raise ConfigurationError(
            f"`start` must be at most {MAX_CATCH_UP} cycles before now, or before `stop`. Got: {number:.0f} cycles.",
            ("start",),
        )


def _add_faults_of_forecast(faults: Faults, service: Service, owner: str, body: ScheduleBody) -> None:
    """Add all that a request of the owner for the forecast of a schedule would be refused for."""
    try:
        with nested_in("forecast"):
            _check_forecast(service, owner, body)
    except ServiceError as error:
        for part in error.errors:
            faults.add(part)
    except WarmcastError as error:
        faults.add(error)


def _check_forecast(service: Service, owner: str, body: ScheduleBody) -> None:
    source = CatalogueSource(source="catalogue", dataset=body.dataset)
    fields = {name: getattr(body.forecast, name) for name in ForecastOptions.model_fields}
    checked = check_body(service, owner, ForecastBody.model_construct(**fields, initial_state=source), [])
    steps = checked.lead_hours // checked.manifest.model.time_step_hours
    evaluations = body.forecast.num_members * steps * checked.sampling.network_evaluations
    new = NewForecast(evaluations, 0, body.forecast.priority)
    with service.database.read() as connection:
        admission_of(service.settings.limits).check_forecast(connection, owner, new)
