from typing import Any

import pytest

from tests.unit.warmcast.scripted import BROKEN, REFUSED, Run, answer
from warmcast.errors import ForecastFailedError, ServiceUnreachableError, WaitTimeoutError
from warmcast.exchange import Service
from warmcast.forecasts import require_success, wait_for_end


@pytest.fixture
def service() -> Service:
    return Service("http://service", None, 60.0)


def _info(status: str, eta_seconds: float | None = 0.0, error: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": "fc_1", "status": status, "progress_detail": {"eta_seconds": eta_seconds}, "error": error}


def test_waiting_requests_the_status_a_few_times_until_the_expected_end(service: Service) -> None:
    statuses = [_info("accepted", None), _info("running", 100.0), _info("running", 4.0), _info("running", 0.1)]
    run = Run(wait_for_end(service, "fc_1"), [*map(answer, statuses), answer(_info("successful"))])
    assert run.pauses == [0.5, 5.0, 1.0, 0.2]
    assert run.result == _info("successful")


def test_waiting_survives_outages(service: Service) -> None:
    answers = [answer(_info("running")), REFUSED, BROKEN, answer(None, 503), answer(_info("failed"))]
    assert Run(wait_for_end(service, "fc_1", 60.0), answers).result["status"] == "failed"


def test_waiting_ends_at_its_timeout(service: Service) -> None:
    with pytest.raises(WaitTimeoutError, match=r"Forecast fc_1 is running after 0 s\.") as caught:
        Run(wait_for_end(service, "fc_1", 0.0), [answer(_info("running"))])
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(ServiceUnreachableError):
        Run(wait_for_end(service, "fc_1", 0.0), [REFUSED])


def test_every_final_status_except_success_is_an_error() -> None:
    require_success(_info("successful"))
    problem = {"type": "insufficient-storage", "detail": "The disk is full."}
    with pytest.raises(ForecastFailedError, match=r"Forecast fc_1 has failed: The disk is full\.") as caught:
        require_success(_info("failed", error=problem))
    assert (caught.value.status, caught.value.problem) == ("failed", problem)
    with pytest.raises(ForecastFailedError, match=r"Forecast fc_1 was cancelled\.") as caught:
        require_success(_info("dismissed"))
    assert (caught.value.status, caught.value.problem) == ("dismissed", None)
