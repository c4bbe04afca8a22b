"""Batches as objects of `Client` and `AsyncClient`: each method is a verb of `warmcast.batches`."""

import importlib
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread

from warmcast import batches
from warmcast.batches import BatchInfo

if TYPE_CHECKING:
    import xarray as xr

    from warmcast.async_client import AsyncClient
    from warmcast.client import Client
    from warmcast.verbs import Files


class RemoteBatch(BatchInfo):
    """A batch of a service; `info` is the newest status document that the service has sent (`GET /batch/ID`)."""

    def __init__(self, client: "Client", info: dict[str, Any]) -> None:
        super().__init__(client.service, info)
        self.client = client

    def refresh(self) -> Self:
        """Request the current status and return this batch."""
        self.info = self.client.run(batches.read_batch(self.client.service, self.id))
        return self

    def wait(self, timeout_seconds: float | None = None) -> Self:
        """Return when all forecasts are successful, also if the service was restarted in the meantime.

        Raises `ForecastFailedError` if any has failed or was cancelled, when all have ended, and `WaitTimeoutError`
        after `timeout_seconds`.
        """
        self.info = self.client.run(batches.wait_for_batch(self.client.service, self.id, timeout_seconds))
        batches.require_batch_success(self.info)
        return self

    def to_xarray(self, *, summary: bool = False) -> "xr.Dataset":
        """Open the ensembles of all forecasts along `init_time`, or with `summary` their statistics.

        Values are NaN until they are computed; later reads of the same dataset return them. Raises
        `ServiceProblemError` if the service lacks the data, for instance because it was deleted.
        """
        name, url = ("summary.zarr", self.summary_url) if summary else ("ensemble.zarr", self.ensemble_url)
        self.client.run(batches.check_batch_store(self.client.service, self.id, name))
        dataset: xr.Dataset = importlib.import_module("warmcast.datasets").open_store(url, self.client.service.headers)
        return dataset

    def cancel(self) -> Self:
        """Cancel the forecasts that have not ended and return this batch; complete lead times are kept."""
        self.info = self.client.run(batches.cancel_batch(self.client.service, self.id))
        return self

    def restart(self) -> Self:
        """Submit the forecasts again that failed or were cancelled, and return this batch."""
        self.info = self.client.run(batches.restart_batch(self.client.service, self.id))
        return self

    def verify(self, truth: "Files", *, reference: str) -> dict[str, Any]:
        """Score all forecasts against analyses in files, and return the means of their scores."""
        verification: dict[str, Any] = self.client.run(
            batches.verify_batch(self.client.service, self.id, truth, reference=reference)
        )
        return verification

    def delete(self) -> None:
        """Delete the data if all forecasts have ended, else cancel them; the records are kept."""
        self.client.run(batches.delete_batch(self.client.service, self.id))


class AsyncRemoteBatch(BatchInfo):
    """A batch of a service, with coroutine methods; otherwise as `RemoteBatch`."""

    def __init__(self, client: "AsyncClient", info: dict[str, Any]) -> None:
        super().__init__(client.service, info)
        self.client = client

    async def refresh(self) -> Self:
        """Request the current status and return this batch."""
        self.info = await self.client.run(batches.read_batch(self.client.service, self.id))
        return self

    async def wait(self, timeout_seconds: float | None = None) -> Self:
        """Return when all forecasts are successful; raises the errors of `RemoteBatch.wait`."""
        self.info = await self.client.run(batches.wait_for_batch(self.client.service, self.id, timeout_seconds))
        batches.require_batch_success(self.info)
        return self

    async def to_xarray(self, *, summary: bool = False) -> "xr.Dataset":
        """Open the ensembles of all forecasts along `init_time`, or with `summary` their statistics."""
        name, url = ("summary.zarr", self.summary_url) if summary else ("ensemble.zarr", self.ensemble_url)
        await self.client.run(batches.check_batch_store(self.client.service, self.id, name))
        open_store = importlib.import_module("warmcast.datasets").open_store
        dataset: xr.Dataset = await anyio.to_thread.run_sync(open_store, url, self.client.service.headers)
        return dataset

    async def cancel(self) -> Self:
        """Cancel the forecasts that have not ended and return this batch; complete lead times are kept."""
        self.info = await self.client.run(batches.cancel_batch(self.client.service, self.id))
        return self

    async def restart(self) -> Self:
        """Submit the forecasts again that failed or were cancelled, and return this batch."""
        self.info = await self.client.run(batches.restart_batch(self.client.service, self.id))
        return self

    async def verify(self, truth: "Files", *, reference: str) -> dict[str, Any]:
        """Score all forecasts against analyses in files, and return the means of their scores."""
        verification: dict[str, Any] = await self.client.run(
            batches.verify_batch(self.client.service, self.id, truth, reference=reference)
        )
        return verification

    async def delete(self) -> None:
        """Delete the data if all forecasts have ended, else cancel them; the records are kept."""
        await self.client.run(batches.delete_batch(self.client.service, self.id))
