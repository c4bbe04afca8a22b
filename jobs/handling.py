"""How a forecast is handled apart from its computation; its values do not depend on it."""

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from jobs.alerts import MAX_ALERTS, Alert
from jobs.callbacks import Callback
from storage.errors import ConfigurationError
from weather.schema import FrozenModel, check_printable

MAX_LABELS = 20
MAX_RETENTION_HOURS = 87_600.0
"""Ten years."""


_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"

LabelName = Annotated[str, Field(pattern=_NAME)]
"""The name of a label: 1 to 63 letters, digits, dots, underscores, slashes and hyphens."""
LabelValue = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_printable)]


class Handling(FrozenModel):
    """What a caller may add to any forecast, computed for the first time or again."""

    labels: dict[LabelName, LabelValue] = Field(
        {},
        max_length=MAX_LABELS,
        description="Names and values of the caller's own, such as a project, by which forecasts are listed.",
        examples=[{"project": "harbour"}],
    )
    retention_hours: float | None = Field(
        None,
        gt=0,
        le=MAX_RETENTION_HOURS,
        description="Hours after its end for which the data is kept; by default as long as the service keeps any.",
    )

    alerts: tuple[Alert, ...] = Field(
        (), max_length=MAX_ALERTS, description="Events to report, each once for each of its places."
    )

    callback: Callback | None = Field(None, description="Where events of the forecast are posted; nowhere by default.")

    @property
    def handling(self) -> "Handling":
        """These fields alone, of a request that has others too."""
        return Handling.model_construct(**{name: getattr(self, name) for name in Handling.model_fields})

    def extend_digest(self, request_digest: str) -> str:
        """Return the digest of a submission: that of its request, if nothing is added."""
        added = self.model_dump_json(exclude_defaults=True)
        if added == "{}":
            return request_digest
        secret = "" if self.callback is None else self.callback.secret.get_secret_value()
        return hashlib.sha256(f"{request_digest} {added} {secret}".encode()).hexdigest()


def parse_label(text: str) -> tuple[str, str]:
    """Return name and value of a label in a text `NAME:VALUE`; raises `ConfigurationError` for other text."""
    name, _, value = text.partition(":")
    if re.fullmatch(_NAME, name) is None or not (value and value.isprintable()):
        raise ConfigurationError(f"`label` must be NAME:VALUE, such as project:harbour. Got: {text!r}.", ("label",))
    return name, value


PLAIN = Handling()
"""The handling of a forecast to which nothing was added."""
