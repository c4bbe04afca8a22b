"""Carry out schedules: a task of the event loop that looks every few seconds for what is due, and does it.

Several API processes may do so on one database: each run and each verification is claimed by one of them.
"""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from sqlalchemy.exc import SQLAlchemyError

from jobs.schedule_figures import OUTCOMES
from jobs.schedule_polls import claim_poll, find_due_polls, save_poll
from jobs.schedule_runs import (
    CLAIM_SECONDS,
    ClaimedRun,
    advance_schedules,
    claim_runs,
    has_claimable_run,
    has_due_work,
    renew_claims,
)
from jobs.schedule_verifications import (
    ClaimedVerification,
    claim_verifications,
    has_due_verification,
    has_ended,
    renew_verification,
    skip_ended,
)
from service.datasets import Newest
from service.dependencies import Service
from service.schedule_submission import submit_run
from service.schedule_verification import verify_run
from service.threads import FETCHERS
from storage.errors import ConfigurationError, DataDirectoryError

_MAX_RUNS, _MAX_RUNS_OF_OWNER, _MAX_VERIFICATIONS = 8, 4, 2

_log = logging.getLogger(__name__)


class Scheduler:
    """Submits the forecasts of schedules and verifies them; `count` is called with each of `OUTCOMES`."""

    def __init__(self, service: Service, count: Callable[[str], None]) -> None:
        self._service, self._count = service, count
        self._runs: dict[int, ClaimedRun] = {}
        self._verifications: dict[int, ClaimedVerification] = {}
        self._polls = set[str]()
        self._renewed, self._seconds = 0.0, service.settings.service.reconcile_seconds

    async def run(self) -> None:
        """Look for work until this task is cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    await self.tick(tasks)
                except (SQLAlchemyError, OSError, DataDirectoryError) as error:
                    _log.warning("schedules: failed, next try in %g s: %s", self._seconds, error)
                except Exception:
                    _log.exception("schedules: failed, next try in %g s", self._seconds)
                await anyio.sleep(self._seconds)

    async def tick(self, tasks: TaskGroup) -> None:
        """Do what is due: end and insert runs at once; begin submissions, verifications and polls in `tasks`."""
        await self._renew()
        for outcome, number in (await to_thread.run_sync(self._advance)).items():
            for _ in range(number):
                self._count(outcome)
        runs, verifications, polls = await to_thread.run_sync(self._claim)
        for run in runs:
            self._runs[run.id] = run
            tasks.start_soon(self._finish, submit_run(self._service, run), self._runs, run.id)
        for claim in verifications:
            self._verifications[claim.run_id] = claim
            tasks.start_soon(self._finish, verify_run(self._service, claim), self._verifications, claim.run_id)
        for dataset in polls:
            self._polls.add(dataset)
            tasks.start_soon(self._poll, dataset)

    async def _finish(self, work: Awaitable[str], claims: dict[int, Any], key: int) -> None:
        """Count what comes of a claimed run or verification; an error leaves its claim to expire."""
        try:
            outcome = await work
            if outcome in OUTCOMES:
                self._count(outcome)
        except (SQLAlchemyError, OSError, DataDirectoryError) as error:
            _log.warning("schedules: a result could not be stored: %s", error)
        except Exception:
            _log.exception("schedules: a result could not be stored")
        finally:
            del claims[key]

    def _advance(self) -> Counter[str]:
        outcomes = Counter[str]()
        with self._service.database.read() as connection:
            is_due, is_ended = has_due_work(connection), has_ended(connection)
        if is_due:
            outcomes += self._service.database.write_at_any_cost(advance_schedules)
        if is_ended:
            outcomes["verification_skipped"] += self._service.database.write_at_any_cost(skip_ended)
        return outcomes

    def _claim(self) -> tuple[list[ClaimedRun], list[ClaimedVerification], list[str]]:
        free, free_checks = _MAX_RUNS - len(self._runs), _MAX_VERIFICATIONS - len(self._verifications)
        with self._service.database.read() as connection:
            free *= has_claimable_run(connection)
            free_checks *= has_due_verification(connection)
            polls = [name for name in find_due_polls(connection) if name not in self._polls]
        if not (free or free_checks or polls):
            return [], [], []
        owners = Counter(run.schedule.owner for run in list(self._runs.values()))
        with self._service.database.write() as connection:
            return (
                claim_runs(connection, free, _MAX_RUNS_OF_OWNER, owners) if free else [],
                claim_verifications(connection, free_checks) if free_checks else [],
                [name for name in polls if claim_poll(connection, name)],
            )

    async def _renew(self) -> None:
        """Extend the claims of what is in progress, a few times before they expire."""
        if (self._runs or self._verifications) and anyio.current_time() - self._renewed > CLAIM_SECONDS / 4:
            self._renewed = anyio.current_time()
            await to_thread.run_sync(self._extend, list(self._runs.values()), list(self._verifications.values()))

    def _extend(self, runs: list[ClaimedRun], verifications: list[ClaimedVerification]) -> None:
        with self._service.database.write() as connection:
            renew_claims(connection, runs)
            for claim in verifications:
                renew_verification(connection, claim)

    async def _poll(self, dataset: str) -> None:
        """Look for the newest analysis of a data set."""
        try:
            await to_thread.run_sync(self._save_newest, dataset, limiter=FETCHERS)
        except (SQLAlchemyError, OSError, DataDirectoryError) as error:
            _log.warning("schedules: the newest analysis of %s is unknown: %s", dataset, error)
        except Exception:
            _log.exception("schedules: the newest analysis of %s is unknown", dataset)
        finally:
            self._polls.discard(dataset)

    def _save_newest(self, dataset: str) -> None:
        try:
            newest = self._service.datasets.refresh(dataset)
        except ConfigurationError as error:
            newest = Newest(failure=str(error))
        time = None if newest.init_time is None else int(newest.init_time.astype("datetime64[s]").astype("int64"))
        with self._service.database.write() as connection:
            save_poll(connection, dataset, time, None if newest.failure is None else newest.failure[:300])


@asynccontextmanager
async def run_scheduler(scheduler: Scheduler) -> AsyncIterator[None]:
    """Carry out schedules while the block runs; what is in progress at its end is left to the next process."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scheduler.run)
        yield
        tasks.cancel_scope.cancel()
