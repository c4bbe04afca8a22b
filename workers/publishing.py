"""What is committed becomes public: chunks go from the folder of the attempt that committed them into the store."""

from jobs.folders import ForecastFolder
from weather.errors import StoreError
from weather.store import EnsembleStore


def publish_committed(store: EnsembleStore, folder: ForecastFolder, group: int, committed: int) -> None:
    """Publish those of the first `committed` lead times of a group that an earlier worker left unpublished.

    Of several attempts at a lead time the latest is the one that committed it: an attempt begins where the row stood
    when it claimed, so one that came later would have begun behind it. Lead times are published in order, so what is
    missing is at the end. Raises `StoreError` where none has it.
    """
    first = committed
    while first and not store.is_marked(store.path, group, first - 1):
        first -= 1
    for lead_index in range(first, committed):
        for attempt in folder.attempts(group):
            if store.is_marked(attempt, group, lead_index):
                store.publish(attempt, group, lead_index)
                break
        else:
            raise StoreError(f"`{folder.path}` lacks lead time {lead_index} of group {group}, which was committed.")
