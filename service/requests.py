"""Request bodies of the API: every field is bounded, unknown fields are refused."""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from jobs.handling import PLAIN, Handling
from jobs.request import ForecastRequest, InitialStateSource, Output
from jobs.rows.states import Priority
from weather.bundled import DEFAULT_CHECKPOINT
from weather.manifest import SolverName
from weather.schema import FrozenModel
from weather.stores.summary_request import Summary

_MAX_NUMBERS = 1000


def _check_numbers(numbers: tuple[int, ...]) -> tuple[int, ...]:
    repeated = [number for number, count in Counter(numbers).items() if count > 1]
    if repeated:
        raise ValueError(f"`members` must be different numbers. Got more than once: {repeated[0]}")
    return numbers


def _kind_of_members(members: Any) -> Literal["count", "numbers"]:
    return "numbers" if isinstance(members, list | tuple) else "count"


MemberNumbers = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**31)], ...],
    Field(min_length=1, max_length=_MAX_NUMBERS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_check_numbers),
]
"""Numbers of members; a member's noise depends on the seed and on its number alone."""

Members = Annotated[
    Annotated[int, Field(ge=1), Tag("count")] | Annotated[MemberNumbers, Tag("numbers")],
    Discriminator(_kind_of_members),
]
"""The number of members, or the list of their numbers."""


class Sampler(FrozenModel):
    """How the flow is sampled; missing fields take the checkpoint's values."""

    solver: SolverName | None = None
    nfe: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] | None = Field(
        None,
        description="Evaluations of the flow per time step, besides one of the warm start; 1 for the solver `single`; "
        "`auto`: as many as the deadline allows, up to the checkpoint's.",
    )
    warmth: float | None = Field(None, ge=0, le=1, description="Warmth of the start, from 0 (noise) to 1 (fully warm).")


class ForecastOptions(Handling):
    """All fields of a forecast but its initial state."""

    model: str = Field(
        DEFAULT_CHECKPOINT,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$",
        description="Name of a checkpoint, as listed by `GET /models`.",
    )
    lead_time: str = Field(
        "120h", max_length=10, examples=["120h", "5d"], description="Length of the forecast, in hours or days."
    )
    members: Members = Field(
        8, description="Number of ensemble members, which are numbered from 0; or a list of the numbers to compute."
    )
    seed: int | None = Field(None, ge=0, lt=2**63, description="Seed of the members' noise; random by default.")
    sampler: Sampler = Sampler()
    deadline_seconds: float | None = Field(
        None, ge=1, le=2_592_000, description="Seconds after acceptance at which a forecast that has not ended fails."
    )
    priority: Priority = Field(
        Priority.NORMAL,
        description="Waiting forecasts of a higher priority start first; the values do not depend on it.",
    )
    summary: Summary = Summary()
    output: Output = Output()

    @property
    def num_members(self) -> int:
        """The number of members."""
        return self.members if isinstance(self.members, int) else len(self.members)

    @property
    def member_numbers(self) -> tuple[int, ...] | None:
        """The numbers in `members` in ascending order, or None if `members` is only the number of members."""
        return None if isinstance(self.members, int) else tuple(sorted(self.members))


class ForecastBody(ForecastOptions):
    """A forecast to submit."""

    initial_state: InitialStateSource

    @classmethod
    def of(
        cls,
        request: ForecastRequest,
        priority: Priority,
        initial_state: InitialStateSource,
        handling: Handling = PLAIN,
    ) -> "ForecastBody":
        """Return the body that submits a request again, with every field filled in.

        It is not validated: a forecast must remain visible if its request exceeds a limit that was introduced later.
        """
        sampling = request.sampling
        return cls.model_construct(
            model=request.checkpoint,
            initial_state=initial_state,
            lead_time=f"{request.lead_hours}h",
            members=request.member_numbers or request.members,
            seed=request.seed,
            sampler=Sampler(solver=sampling.solver, nfe=sampling.nfe, warmth=sampling.warmth),
            deadline_seconds=request.deadline_seconds,
            priority=priority,
            summary=request.summary,
            output=request.output,
            labels=handling.labels,
            retention_hours=handling.retention_hours,
            alerts=handling.alerts,
        )


class ReplayBody(Handling):
    """Members of an earlier forecast to recompute, as a forecast with labels and a retention of its own."""

    members: MemberNumbers = Field(examples=[[7]], description="Numbers of the members.")


class ExecutionBody(BaseModel):
    """A forecast to submit: `inputs` are the fields of `POST /forecast` but `model`, which the process is."""

    model_config = ConfigDict(extra="ignore")

    inputs: dict[str, Any]


class DeletionBody(BaseModel):
    """Jobs to delete."""

    job_ids: list[str] = Field(max_length=200)
