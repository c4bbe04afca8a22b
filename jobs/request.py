"""A complete, validated request of a forecast: every option that determines its values."""

import hashlib
import json
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from weather.manifest import Sampling
from weather.readers.provenance import ChosenSource
from weather.schema import FrozenModel
from weather.stores.layout import count_groups
from weather.stores.rounding import MANTISSA_BITS
from weather.stores.summary_request import Summary


class Output(FrozenModel):
    """Which fields of the members are stored in addition to their summary."""

    members: bool = Field(True, description="Whether they are stored; if not, only the summary is.")
    keep_bits: int | None = Field(
        None, ge=1, le=MANTISSA_BITS, description="Number of mantissa bits they are rounded to; exact by default."
    )

    @field_validator("keep_bits")
    @classmethod
    def _require_members_to_round(cls, keep_bits: int | None, info: ValidationInfo) -> int | None:
        if keep_bits is not None and info.data.get("members") is False:
            raise ValueError(f"`keep_bits` must be null if `members` is false: no members are stored. Got: {keep_bits}")
        return keep_bits

    @property
    def is_exact(self) -> bool:
        """Whether the exact fields of the members are stored, so that a worker can restart from them."""
        return self.members and self.keep_bits is None


class CatalogueSource(FrozenModel):
    """An initial state of the catalogue."""

    source: Literal["catalogue"]
    dataset: str = Field(max_length=100, examples=["gfs"], description="Data set, as listed by `GET /catalogue`.")
    init_time: str | None = Field(None, max_length=40, description="Initial time in UTC; the newest by default.")


class UploadSource(FrozenModel):
    """An initial state in the files of the same multipart request."""

    source: Literal["upload"]
    init_time: str | None = Field(None, max_length=40, description="Initial time in UTC; the newest by default.")


class ForecastSource(FrozenModel):
    """The initial state of an earlier forecast of the same caller and checkpoint, whose data is still available."""

    source: Literal["forecast"]
    id: str = Field(max_length=40, examples=["fc_0123456789abcdef01234567"], description="Id of that forecast.")


class StateSource(FrozenModel):
    """An initial state that the same caller keeps, made by `POST /states`, on the checkpoint's grid."""

    source: Literal["state"]
    id: str = Field(max_length=40, examples=["st_0123456789abcdef01234567"], description="Id of that state.")


InitialStateSource = Annotated[
    CatalogueSource | UploadSource | ForecastSource | StateSource, Field(discriminator="source")
]
"""Where the initial state of a forecast comes from."""


class ForecastRequest(FrozenModel):
    """A request without open options; equal requests have equal forecasts."""

    checkpoint: str = Field(description="Name or folder of the checkpoint.")
    checkpoint_digest: str = Field(description="SHA-256 of the checkpoint's manifest.")
    initial_state_digest: str = Field(description="SHA-256 of the initial state.")
    sources: tuple[str, ...] = Field(description="Files or data sets that the initial state was read from.")
    choice: tuple[ChosenSource, ...] = Field(
        (), description="What was chosen from them: file, run, step, type and version; unknown in old rows."
    )
    warnings: tuple[str, ...] = Field((), description="What is unusual about the initial state, as sentences.")
    init_time: str = Field(description="Initial time of the forecast, UTC.")
    lead_hours: int = Field(gt=0, description="Last lead time, in hours.")
    members: int = Field(ge=1, description="Number of members.")
    group_size: int = Field(ge=1, description="Members computed, stored and resumed together.")
    seed: int = Field(ge=0, lt=2**63, description="Seed of the members' noise.")
    sampling: Sampling
    deadline_seconds: float | None = Field(
        None, gt=0, description="Seconds after acceptance by which the forecast must have ended."
    )
    nfe_is_automatic: bool = Field(False, description="Whether `nfe` was chosen to meet the deadline.")
    summary: Summary = Summary()
    output: Output = Output()
    member_numbers: tuple[int, ...] | None = Field(
        None, description="Numbers of the members; 0 to `members` - 1 by default."
    )
    initial_state: InitialStateSource | None = Field(
        None, description="Source of the initial state as it was submitted, with its time; unknown in old rows."
    )

    @model_validator(mode="after")
    def _match_member_numbers(self) -> Self:
        if self.member_numbers is not None and len(self.member_numbers) != self.members:
            raise ValueError("`members` must be the number of `member_numbers`")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the members to compute: `member_numbers`, or 0 to `members` - 1 if that is None."""
        return self.member_numbers or tuple(range(self.members))

    @property
    def num_groups(self) -> int:
        """Number of member groups; the last one may be smaller than `group_size`."""
        return count_groups(self.members, self.group_size)

    def count_evaluations(self, num_lead_times: int) -> int:
        """Return the evaluations of both networks that so many lead times need, each for one member."""
        return self.members * num_lead_times * self.sampling.network_evaluations

    @property
    def digest(self) -> str:
        """SHA-256 of the request as it was submitted, without what the service chose: group size, automatic `nfe`.

        The initial state is part of it by its own digest, not by its source, the choice from its files or
        warnings.
        """
        fields = self.model_dump(mode="json", exclude={"group_size", "initial_state", "choice", "warnings"})
        if self.nfe_is_automatic:
            fields["sampling"]["nfe"] = "auto"
        for name in ("deadline_seconds", "nfe_is_automatic"):
            if not fields[name]:
                del fields[name]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def init_datetime(self) -> np.datetime64:
        """Initial time of the forecast, UTC."""
        return np.datetime64(self.init_time, "s")
