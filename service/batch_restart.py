"""Submit the failed and cancelled parts of a batch again, each from the initial state that the part keeps."""

from dataclasses import replace

from jobs.audit import Action, submitting_as
from jobs.batches import BatchRecord, read_parts, replace_parts
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, new_forecast_id
from jobs.planning.plans import Plan
from jobs.rows.states import Priority, Status
from jobs.submit import create_folder, remove_unless_accepted
from service.damage import answering_damage, load_state_of
from service.dependencies import Service, find_data_folder
from service.limits import admission_of
from service.submission import allowed_priority, estimate_plan, notify_workers, read_same_manifest
from weather.manifest import Manifest

_AGAIN = (Status.FAILED, Status.DISMISSED)


def restart_parts(service: Service, batch: BatchRecord) -> bool:
    """Submit all parts again that failed or were cancelled, in their places; return whether there were any.

    The earlier forecasts keep their records and leave the batch; the new ones have their callbacks. A request that is
    sent twice restarts them once. Raises `ServiceError` if the data of such a part is gone or damaged, and the errors
    of a submission; then nothing is changed.
    """
    with service.database.read() as connection:
        parts = read_parts(connection, [batch.id])[batch.id]
    again = [part for part in parts if part.status in _AGAIN]
    if not again:
        return False
    for part in again:
        find_data_folder(part, service)
    manifest = read_same_manifest(service, again[0])
    folders: list[ForecastFolder] = []
    try:
        new: list[tuple[ForecastRecord, str, Plan, Priority]] = []
        for part in again:
            plan = _plan_again(service, part, manifest, len(again))
            folders.append(ForecastFolder(service.data, new_forecast_id()))
            with answering_damage(part, service):
                state = load_state_of(part, service)
            create_folder(folders[-1], plan, state, manifest)
            new.append((part, folders[-1].forecast_id, plan, allowed_priority(service, batch.owner, part.priority)))
        with submitting_as(Action.RESTART):
            is_done = replace_parts(service.database, batch, new, admission_of(service.settings.limits))
    except BaseException:
        _remove_folders(service, folders)
        raise
    if is_done:
        notify_workers(service)
    else:
        _remove_folders(service, folders)
    return True


def _plan_again(service: Service, part: ForecastRecord, manifest: Manifest, number: int) -> Plan:
    """Return the plan of a part that is computed again: with the NFE that it had, evaluated in the same way."""
    request = part.request.model_copy(update={"nfe_is_automatic": False})
    plan = replace(Plan.of(request, manifest), mode=part.mode, handling=part.handling)
    return estimate_plan(service, part.owner, plan, manifest, number)


def _remove_folders(service: Service, folders: list[ForecastFolder]) -> None:
    for folder in folders:
        remove_unless_accepted(service.database, folder)
