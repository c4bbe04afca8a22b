"""A forecast of a service as its client knows it: what `RemoteForecast` and `AsyncRemoteForecast` share."""

from typing import Any

from warmcast.exchange import Service


class ForecastInfo:
    """A forecast by its id; `info` is the newest status document that the service has sent (`GET /forecast/ID`)."""

    def __init__(self, service: Service, info: dict[str, Any]) -> None:
        self._service = service
        self.info = info
        self.id: str = info["id"]

    @property
    def status(self) -> str:
        """The status in `info`: accepted, running, successful, failed or dismissed (cancelled)."""
        return str(self.info["status"])

    @property
    def ensemble_url(self) -> str:
        """URL of the ensemble, which `xarray.open_zarr` opens."""
        return f"{self._service.url}/v1/forecast/{self.id}/ensemble.zarr"

    @property
    def summary_url(self) -> str:
        """URL of the statistics over the members, which `xarray.open_zarr` opens."""
        return f"{self._service.url}/v1/forecast/{self.id}/summary.zarr"

    def __repr__(self) -> str:
        progress, request = self.info["progress_detail"], self.info["request"]
        lead_times = f"{progress['lead_times']} of {progress['num_lead_times']} lead times"
        members = "1 member" if request["members"] == 1 else f"{request['members']} members"
        start = request["init_time"]
        return f"<{type(self).__name__} {self.id}: {self.status}, {lead_times}, {members} from {start}>"
