"""Enumerations stored in rows: of forecasts, their work and events, of keys, deliveries and schedules."""

from enum import StrEnum


class Status(StrEnum):
    """Status of a forecast, in the words of OGC API Processes."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


OPEN = (Status.ACCEPTED, Status.RUNNING)
"""Statuses of a forecast that has not ended; the other three are final."""


class Priority(StrEnum):
    """Priority of a forecast in the queue; it has no influence on the forecast's values."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class Phase(StrEnum):
    """What the workers of a running forecast do."""

    READING_STATE = "reading_state"
    LOADING_MODEL = "loading_model"
    ROLLOUT = "rollout"
    FINALISING = "finalising"


class Data(StrEnum):
    """Whether the data of a forecast still exists."""

    AVAILABLE = "available"
    EXPIRED = "expired"
    DELETED = "deleted"


class Kind(StrEnum):
    """Kind of a row of work: the rollout of a member group, or the finishing work after the last group."""

    GROUP = "group"
    FINISH = "finish"


class EventKind(StrEnum):
    """Kind of a forecast's event: a change of status, a complete lead time, a fault, an alert, or an ended delivery."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    LEAD_TIME = "lead_time"
    WORKER_LOST = "worker_lost"
    RETRY = "retry"
    ALERT = "alert"
    DELIVERY = "delivery"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


class Role(StrEnum):
    """What the holder of an API key may do.

    A reader reads the forecasts of one owner; a submitter reads, submits, cancels and deletes its own; an operator does
    so too, and lists, cancels and deletes those of all owners.
    """

    READER = "reader"
    SUBMITTER = "submitter"
    OPERATOR = "operator"


class DeliveryState(StrEnum):
    """State of the delivery of an event to a callback; all but the first are final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    STOPPED = "stopped"
    GIVEN_UP = "given_up"


class ScheduleState(StrEnum):
    """Whether a schedule submits forecasts; a stopped one cannot any more, such as after its key was revoked."""

    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"


class RunState(StrEnum):
    """State of one cycle of a schedule; all but the first are final.

    A missed run had no analyses within its time, a failed one was refused, and a skipped one was left out because
    newer cycles came first or its time had passed.
    """

    WAITING = "waiting"
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


class VerificationState(StrEnum):
    """State of the verification of a scheduled forecast; all but the first two are final."""

    OFF = "off"
    WAITING = "waiting"
    DONE = "done"
    MISSED = "missed"
    SKIPPED = "skipped"
    FAILED = "failed"
