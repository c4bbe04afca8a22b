"""What a forecast is asked to be, checked and complete: every choice that its values follow from."""

import hashlib
import json
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from weather.manifest import Sampling
from weather.stores.rounding import MANTISSA_BITS
from weather.stores.summary_request import Summary


class Output(BaseModel):
    """What is kept of the members beside their summary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: bool = Field(True, description="Whether they are kept; without them there is only the summary.")
    keep_bits: int | None = Field(
        None, ge=1, le=MANTISSA_BITS, description="Round them to so many mantissa bits; exact by default."
    )

    @model_validator(mode="after")
    def _rounds_what_is_kept(self) -> Self:
        if self.keep_bits is not None and not self.members:
            raise ValueError("`keep_bits` rounds members, and `members` is false")
        return self

    @property
    def is_exact(self) -> bool:
        """Whether a forecast can go on from what is kept."""
        return self.members and self.keep_bits is None


class ForecastRequest(BaseModel):
    """A request with nothing left open; two equal ones have equal forecasts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str = Field(description="Name or folder of the checkpoint.")
    checkpoint_digest: str = Field(description="SHA-256 of the checkpoint's manifest.")
    initial_state_digest: str = Field(description="SHA-256 of the initial state.")
    sources: tuple[str, ...] = Field(description="What the initial state was read from.")
    init_time: str = Field(description="Time that the forecast begins at, UTC.")
    lead_hours: int = Field(gt=0, description="How far ahead, in hours.")
    members: int = Field(ge=1, description="Number of members.")
    group_size: int = Field(ge=1, description="Members computed, stored and resumed together.")
    seed: int = Field(ge=0, lt=2**63, description="Seed of the members' noise.")
    sampling: Sampling
    deadline_seconds: float | None = Field(
        None, gt=0, description="Seconds from acceptance to when it must have ended."
    )
    nfe_is_automatic: bool = Field(False, description="Whether `nfe` was chosen to meet the deadline.")
    summary: Summary = Summary()
    output: Output = Output()
    member_numbers: tuple[int, ...] | None = Field(None, description="Which members; the first ones by default.")

    @model_validator(mode="after")
    def _counts_members(self) -> Self:
        if self.member_numbers is not None and len(self.member_numbers) != self.members:
            raise ValueError("`members` must be the number of `member_numbers`")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the members."""
        return self.member_numbers or tuple(range(self.members))

    @property
    def digest(self) -> str:
        """SHA-256 that tells one request from another, as asked: what was chosen for it is no part of it."""
        asked = self.model_dump(mode="json", exclude={"group_size"})
        if self.nfe_is_automatic:
            asked["sampling"]["nfe"] = "auto"
        for name in ("deadline_seconds", "nfe_is_automatic"):
            if not asked[name]:
                del asked[name]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    @property
    def start(self) -> np.datetime64:
        """Time that the forecast begins at."""
        return np.datetime64(self.init_time, "s")
