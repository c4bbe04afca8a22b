"""The body of `POST /batch`: the fields of a forecast, and the initial states of its parts."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Discriminator, Field, Tag

from jobs.request import CatalogueSource, InitialStateSource
from service.requests import ForecastBody, ForecastOptions
from storage.errors import ConfigurationError, Location
from weather.schema import FrozenModel
from weather.times import parse_lead_time, parse_time

MAX_PARTS = 400


def _refuse_files(source: InitialStateSource) -> InitialStateSource:
    if source.source == "upload":
        raise ValueError("`source` must be one of those without files in a batch. Got: 'upload'.")
    return source


_State = Annotated[InitialStateSource, AfterValidator(_refuse_files)]
_Time = Annotated[str, Field(max_length=40)]
_Times = Annotated[tuple[_Time, ...], Field(min_length=1, max_length=MAX_PARTS)]
_States = Annotated[tuple[_State, ...], Field(min_length=1, max_length=MAX_PARTS)]


class InitTimeRange(FrozenModel):
    """The times from `start` to `end`, both included, in steps."""

    start: _Time
    end: _Time
    step: str = Field("24h", max_length=10, examples=["6h", "1d"], description="Hours or days from one to the next.")

    def times(self) -> list[str]:
        """Return the times; raise `ConfigurationError` if a text is wrong, or there are none or too many."""
        start, end, step = parse_time(self.start, "start"), parse_time(self.end, "end"), self._step()
        number = int((end - start) // step) + 1
        if not 1 <= number <= MAX_PARTS:
            raise ConfigurationError(
                f"`end` must be at or after `start`, at most {MAX_PARTS} times from it. Got: {number} times from "
                f"{self.start} to {self.end} in steps of {self.step}.",
                ("end",),
            )
        return [str(np.datetime_as_string(start + index * step, "s")) for index in range(number)]

    def _step(self) -> np.timedelta64:
        message = f"`step` must be hours or days, at least 1h, such as 6h or 1d. Got: {self.step!r}."
        try:
            step = parse_lead_time(self.step)
        except ConfigurationError as error:
            raise ConfigurationError(message, ("step",)) from error
        if step <= np.timedelta64(0, "h"):
            raise ConfigurationError(message, ("step",))
        return step


def _kind_of_times(times: Any) -> Literal["list", "range"]:
    return "list" if isinstance(times, list | tuple) else "range"


class CatalogueSeries(FrozenModel):
    """States of a data set of the catalogue."""

    dataset: str = Field(max_length=100, examples=["gfs"], description="Data set, as listed by `GET /catalogue`.")
    init_times: Annotated[
        Annotated[_Times, Tag("list")] | Annotated[InitTimeRange, Tag("range")], Discriminator(_kind_of_times)
    ]


def _kind_of_states(states: Any) -> Literal["list", "series"]:
    return "list" if isinstance(states, list | tuple) else "series"


InitialStates = Annotated[
    Annotated[_States, Tag("list")] | Annotated[CatalogueSeries, Tag("series")], Discriminator(_kind_of_states)
]
"""A list of initial states, or those of a data set at several times."""


class BatchBody(ForecastOptions):
    """Forecasts to submit together: equal but for their initial states, one for each."""

    initial_states: InitialStates = Field(
        description="The initial state of each part, in their order: a list of sources of any kind but `upload`, or a "
        "data set with a list or a range of initial times. Initial times may be repeated, states not."
    )

    def sources(self) -> list[tuple[Location, InitialStateSource]]:
        """Return the location in the body and the source of each initial state.

        Raises `ConfigurationError`, with its location in the body, for a range of times that is wrong.
        """
        states = self.initial_states
        if not isinstance(states, CatalogueSeries):
            return [((index,), source) for index, source in enumerate(states)]
        if isinstance(states.init_times, InitTimeRange):
            try:
                times = states.init_times.times()
            except ConfigurationError as error:
                error.location = ("init_times", *error.location)
                raise
            locations: list[Location] = [("init_times",)] * len(times)
        else:
            times = list(states.init_times)
            locations = [("init_times", index) for index in range(len(times))]
        sources = [CatalogueSource(source="catalogue", dataset=states.dataset, init_time=time) for time in times]
        return list(zip(locations, sources, strict=True))

    def part(self, source: InitialStateSource) -> ForecastBody:
        """Return the body that submits the forecast of one initial state."""
        fields = {name: getattr(self, name) for name in ForecastOptions.model_fields}
        return ForecastBody.model_construct(**fields, initial_state=source)

    @classmethod
    def of(cls, body: ForecastBody, sources: list[InitialStateSource]) -> "BatchBody":
        """Return the body of a batch of the forecast of a body from several initial states."""
        fields = {name: getattr(body, name) for name in ForecastOptions.model_fields}
        return cls.model_construct(**fields, initial_states=tuple(sources))
