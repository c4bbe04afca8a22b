import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.settings import PREFIX, Settings

ROOT = Path(__file__).parents[3]
BUILD_VARIABLES = {"PIP_INDEX_URL", "REVISION", "TORCH_INDEX_URL"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return loaded


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _example_variables() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, flags=re.M))


def _extras(project: dict[str, Any], extra: str) -> set[str]:
    """Return the names of the packages that an extra installs, including those of extras that it refers to."""
    found: set[str] = set()
    for requirement in project["project"]["optional-dependencies"][extra]:
        if own := re.match(r"warmcast\[([\w,]+)\]", requirement):
            found |= {name for other in own[1].split(",") for name in _extras(project, other)}
        else:
            found.add(re.split(r"[\[<>=]", requirement)[0])
    return found


@pytest.mark.parametrize("file", ["docker-compose.yml", ".env.example", "Dockerfile"])
def test_every_warmcast_variable_is_a_setting(file: str) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.fields()}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+", (ROOT / file).read_text())) <= known


def test_settings_in_the_example_are_passed_to_api_and_workers(services: dict[str, Any]) -> None:
    offered = {name for name in _example_variables() if name.startswith(PREFIX)}
    for name in ("api", "worker", "worker-cpu"):
        assert offered <= services[name]["environment"].keys()


def test_every_variable_of_compose_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    read = {*re.findall(r"(?<!\$)\$\{([A-Z_]+)", text), *re.findall(rf"^ +({PREFIX}[A-Z_]+):$", text, flags=re.M)}
    assert read - BUILD_VARIABLES <= _example_variables().keys() | {f"{PREFIX}CHECKPOINTS"}


def test_passwords_have_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD"):
        assert _example_variables()[name] == ""
        assert f"${{{name}:?" in text
        assert f"${{{name}:-" not in text


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    ports = {name: port for name, service in services.items() for port in service.get("ports", [])}
    assert ports.keys() == {"api", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in ports.values())


def test_every_service_has_health_check_restart_policy_and_restrictions(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name


def test_third_party_images_are_pinned(services: dict[str, Any]) -> None:
    for name in services.keys() - {"api", "worker", "worker-cpu"}:
        assert re.search(r":v?\d", services[name]["image"]), name


def test_the_number_of_workers_is_a_variable_of_the_example(services: dict[str, Any]) -> None:
    assert services["worker-cpu"]["scale"] == "${CPU_WORKERS:-1}"
    assert "CPU_WORKERS" in _example_variables()


def test_a_worker_has_time_to_release_its_work_before_it_is_killed(services: dict[str, Any]) -> None:
    for name in ("worker", "worker-cpu"):
        assert float(services[name]["stop_grace_period"].removesuffix("s")) > Settings().worker.stop_seconds


def test_the_worker_image_has_torch_and_the_api_image_has_not(project: dict[str, Any]) -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.M)
    extras = {stage.split()[2]: re.findall(r"warmcast\[(.+)\] @", stage) for stage in stages if "warmcast[" in stage}
    assert extras == {"api-dependencies": ["service,s3"], "worker-dependencies": ["worker,s3"]}
    assert "torch" not in _extras(project, "service")
    assert "torch" in _extras(project, "worker")


def test_the_api_image_and_compose_run_the_same_command(services: dict[str, Any]) -> None:
    (command,) = re.findall(r'^CMD \["warmcast", "api", (.*)\]$', (ROOT / "Dockerfile").read_text(), flags=re.M)
    assert ["warmcast", "api", *(part.strip('", ') for part in command.split(","))] == services["api"]["command"]


def test_the_docker_build_context_contains_all_sources_of_the_wheel(project: dict[str, Any]) -> None:
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    allowed = {line.removeprefix("!/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    assert {*wheel["packages"], *wheel["shared-data"], "pyproject.toml", "README.md", "LICENSE"} <= allowed
    assert all((ROOT / name).exists() for name in allowed)


def test_prometheus_scrapes_the_metrics_port_of_the_api(services: dict[str, Any]) -> None:
    command = services["api"]["command"]
    port = command[command.index("--metrics-port") + 1]
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = [target for job in config["scrape_configs"] for own in job["static_configs"] for target in own["targets"]]
    assert f"api:{port}" in targets


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).is_dir()


def test_lint_covers_the_dockerfile_and_compose() -> None:
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.M)
    assert "hadolint Dockerfile" in recipe
    assert "docker-compose --env-file .env.example" in recipe
