"""Send the deliveries of callbacks that are due, in threads of their own, so that no slow receiver delays another."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from jobs.callback_hosts import AllowedHosts
from jobs.deliveries import Delivery, Outcome, claim_due, find_end, save_outcome
from jobs.events import append_event
from jobs.rows.database import Database
from jobs.rows.states import DeliveryState, EventKind
from service.webhook_requests import post_delivery
from storage.errors import DataDirectoryError

_THREADS, _THREADS_OF_OWNER = 8, 2

_log = logging.getLogger(__name__)


class WebhookSender:
    """Claims due deliveries and sends them; of one owner at most two at the same time. A context that ends its threads.

    `count` is called with the state of each delivery after an attempt.
    """

    def __init__(self, database: Database, hosts: AllowedHosts, count: Callable[[str], None]) -> None:
        self._database, self._hosts, self._count = database, hosts, count
        self._threads = ThreadPoolExecutor(_THREADS, "webhook")
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Return this sender."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is being sent."""
        self._threads.shutdown()

    def send_due(self) -> None:
        """Begin to send deliveries that are due, as many as threads are free."""
        with self._lock:
            in_flight = +self._in_flight
        free = _THREADS - in_flight.total()
        if not free:
            return
        with self._database.write() as connection:
            claimed = claim_due(connection, free, _THREADS_OF_OWNER, in_flight)
        for delivery in claimed:
            with self._lock:
                self._in_flight[delivery.owner] += 1
            self._threads.submit(self._send, delivery)

    def _send(self, delivery: Delivery) -> None:
        try:
            with self._database.read() as connection:
                end = find_end(connection, delivery.owner)
            outcome = self._post(delivery) if end is None else Outcome(None, end, is_last=True)
            state = self._database.write_at_any_cost(partial(_save, delivery=delivery, outcome=outcome))
            self._count("retry" if state == DeliveryState.WAITING else state)
        except (SQLAlchemyError, OSError, DataDirectoryError) as error:
            _log.warning("delivery %s: its result could not be stored: %s", delivery.webhook_id, type(error).__name__)
        except Exception:
            _log.exception("delivery %s failed", delivery.webhook_id)
        finally:
            with self._lock:
                self._in_flight[delivery.owner] -= 1

    def _post(self, delivery: Delivery) -> Outcome:
        """Return the outcome of an attempt; an unexpected error is one too, or the attempts would never end."""
        try:
            return post_delivery(delivery, self._hosts)
        except Exception:
            _log.exception("delivery %s failed", delivery.webhook_id)
            return Outcome(None, "an internal error")


def _save(connection: Connection, delivery: Delivery, outcome: Outcome) -> DeliveryState:
    """Store the outcome of an attempt and, if it is final, the event that the log of the forecast tells of."""
    state = save_outcome(connection, delivery, outcome)
    if state != DeliveryState.WAITING:
        detail = {"event": delivery.event, "state": state, "attempts": delivery.attempts, "error": outcome.error}
        append_event(connection, delivery.forecast_id, EventKind.DELIVERY, webhook_id=delivery.webhook_id, **detail)
    return state
