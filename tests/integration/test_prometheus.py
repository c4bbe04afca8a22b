import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers import wait_until
from tests.served import Served, write_truth
from tests.servers import free_port, prometheus_program, run_promtool

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def served(own_served: Served) -> Served:
    return own_served


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Debian's Prometheus with the project's configuration, except for addresses, folders and the scrape interval."""
    folder = tmp_path_factory.mktemp("prometheus")
    shipped = (DEPLOY / "prometheus/prometheus.yml").read_text()
    text = shipped.replace("api:9100", served.url.removeprefix("http://")).replace("15s", "1s")
    text = text.replace("/etc/prometheus/rules.yml", str(DEPLOY / "prometheus/rules.yml"))
    (folder / "prometheus.yml").write_text(text)
    run_promtool("check", "config", "prometheus.yml", folder=folder)
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command = [*prometheus_program("prometheus"), *options, f"--web.listen-address={address}"]
    with (
        (folder / "log").open("w") as log,
        httpx.Client(base_url=f"http://{address}/api/v1") as client,
        subprocess.Popen(command, stderr=log) as process,
    ):
        try:
            wait_until(lambda: _value(client, 'up{job="warmcast"}') == 1)
            yield client
        finally:
            process.terminate()


def _value(client: httpx.Client, query: str) -> float | None:
    """Return the first finite value of a query, or None."""
    try:
        found = client.get("/query", params={"query": query})
    except httpx.TransportError:
        return None
    if found.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return None
    answer = found.json()
    assert answer["status"] == "success", (query, answer)
    values = [float(series["value"][1]) for series in answer["data"]["result"]]
    return next((value for value in values if math.isfinite(value)), None)


def _panels() -> list[tuple[str, str]]:
    boards = [json.loads(path.read_text()) for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json"))]
    panels = [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_after_one_forecast_and_one_verification_every_panel_has_data(
    served: Served, prometheus: httpx.Client, tmp_path: Path
) -> None:
    forecast = served.wait(served.submit(members=4, lead_time="24h")["id"])
    files = [("truth", ("truth.nc", write_truth(tmp_path, forecast).read_bytes()))]
    verified = served.client.post(f"/forecast/{forecast['id']}/verify", data={"reference": "waves"}, files=files)
    assert verified.status_code == 200, verified.text
    served.client.get(f"/forecast/{forecast['id']}/ensemble.zarr/zarr.json")
    body = {"name": "waves", "dataset": "gfs", "forecast": {"model": "untrained", "members": 2, "lead_time": "6h"}}
    schedule = served.client.post("/schedules", json=body)
    assert schedule.status_code == 201, schedule.text
    empty = dict(_panels())

    def all_have_values() -> bool:
        for title, expression in list(empty.items()):
            query = re.sub(
                r"\$__rate_interval", "1m", re.sub(r"\$(model|variable|lead_hours|reference)", ".*", expression)
            )
            if _value(prometheus, query) is not None:
                del empty[title]
        return not empty

    wait_until(all_have_values, every=1, describe=lambda: empty)
    assert served.client.delete(f"/schedules/{schedule.json()['id']}").is_success


def test_the_metrics_are_well_formed(served: Served) -> None:
    run_promtool("check", "metrics", text=served.client.get("/metrics").text)


def test_no_alert_fires_for_a_healthy_service(prometheus: httpx.Client) -> None:
    alerts = prometheus.get("/alerts").json()["data"]["alerts"]
    assert [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"] == []
    assert prometheus.get("/rules").json()["data"]["groups"][0]["name"] == "warmcast"
