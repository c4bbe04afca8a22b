"""The closed sets that rows speak in."""

from enum import StrEnum


class Status(StrEnum):
    """Status of a forecast, in the words of OGC API Processes."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


OPEN = (Status.ACCEPTED, Status.RUNNING)
"""What may still change; the other three are final."""


class Priority(StrEnum):
    """Which of the forecasts that wait comes first; it says nothing of their values."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Data(StrEnum):
    """Whether the data of a forecast is there."""

    AVAILABLE = "available"
    EXPIRED = "expired"
    DELETED = "deleted"


class Kind(StrEnum):
    """What a row of work is: a member group's rollout, or what comes after the last of them."""

    GROUP = "group"
    FINISH = "finish"


class EventKind(StrEnum):
    """What a forecast's event tells."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    LEAD_TIME = "lead_time"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"
