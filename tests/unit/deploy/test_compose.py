import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.settings import PREFIX, Settings
from storage.errors import ConfigurationError

ROOT = Path(__file__).parents[3]
COMPOSE = Path(sys.executable).parent / "docker-compose"


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


def _configuration(folder: Path, *profiles: str) -> dict[str, Any]:
    """Return the configuration that Compose reads in a folder with a copy of `docker-compose.yml`, and its `.env`."""
    (folder / "docker-compose.yml").write_text((ROOT / "docker-compose.yml").read_text())
    command = [COMPOSE, *(f"--profile={profile}" for profile in profiles), "config", "--format=json"]
    loaded: dict[str, Any] = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)
    return loaded


def test_every_setting_and_credential_in_env_reaches_api_and_workers(tmp_path: Path) -> None:
    values = {f"{PREFIX}{name.upper()}": f"{number}.5" for number, name in enumerate(Settings.fields())}
    values |= {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a+b/c",
        "AWS_ENDPOINT_URL": "https://s3.example.org",
    }
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    found = _configuration(tmp_path, "gpu", "cpu")["services"]
    for name in ("api", "worker", "worker-cpu"):
        assert values.items() <= found[name]["environment"].items(), name
    for name in ("redis", "postgres", "prometheus", "grafana"):
        assert not values.keys() & found[name].get("environment", {}).keys(), name


def test_a_mistyped_setting_in_env_reaches_api_and_workers_which_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("WARMCAST_PRECISON=bfloat16\n")
    found = _configuration(tmp_path, "gpu", "cpu")["services"]
    for name in ("api", "worker", "worker-cpu"):
        with monkeypatch.context() as environment:
            for variable, value in found[name]["environment"].items():
                environment.setenv(variable, value or "")
            with pytest.raises(ConfigurationError, match="`WARMCAST_PRECISON` is not a setting"):
                Settings.read()


def test_api_and_workers_start_without_env_from_defaults_that_are_settings(tmp_path: Path) -> None:
    environment = _configuration(tmp_path, "cpu")["services"]["api"]["environment"]
    assert environment["WARMCAST_DATA"] == "/data"
    assert {name for name in environment if name.startswith(PREFIX)} <= {
        f"{PREFIX}{name.upper()}" for name in Settings.fields()
    }


def test_checkpoints_of_the_user_are_mounted_read_only(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHECKPOINTS=./mine\n")
    found = _configuration(tmp_path, "gpu", "cpu")["services"]
    for name in ("api", "worker", "worker-cpu"):
        (mount,) = [volume for volume in found[name]["volumes"] if volume["target"] == "/checkpoints"]
        assert (mount["source"], mount["read_only"]) == (str(tmp_path / "mine"), True)
        assert found[name]["environment"]["WARMCAST_CHECKPOINTS"] == "/checkpoints"


def test_the_index_of_torch_can_be_replaced_for_each_worker(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TORCH_INDEX_URL=https://a.example.org\nTORCH_CPU_INDEX_URL=https://b.example.org\n")
    found = _configuration(tmp_path, "gpu", "cpu")["services"]
    assert found["worker"]["build"]["args"]["TORCH_INDEX_URL"] == "https://a.example.org"
    assert found["worker-cpu"]["build"]["args"]["TORCH_INDEX_URL"] == "https://b.example.org"


def test_every_variable_of_compose_is_in_the_example() -> None:
    read = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert read <= _example_variables().keys()


def test_passwords_are_files_that_only_their_services_read(services: dict[str, Any], tmp_path: Path) -> None:
    texts = [(ROOT / name).read_text() for name in ("docker-compose.yml", ".env.example")]
    for text in texts:
        assert not re.search(r"^\s*[A-Z_]*PASSWORD[:=]", text, flags=re.M), "a password in an environment variable"
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/passwords.sh", tmp_path / "deploy")
    made = []
    for _ in range(2):
        subprocess.run(["sh", tmp_path / "deploy/passwords.sh"], check=True)
        made.append({file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()})
    assert made[0] == made[1], "a second run keeps the passwords"
    assert made[0].keys() == _configuration(tmp_path)["secrets"].keys()
    assert len(set(made[0].values())) == len(made[0])
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made[0].values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    readers = {secret: {name for name in services if secret in services[name].get("secrets", [])} for secret in made[0]}
    programs = {"api", "worker", "worker-cpu"}
    assert readers == {
        "grafana_password": {"grafana"},
        "postgres_password": {"postgres", *programs},
        "redis_password": {"redis", *programs},
    }


def test_each_service_reaches_only_the_services_that_it_uses(services: dict[str, Any], tmp_path: Path) -> None:
    networks = _configuration(tmp_path)["networks"]
    assert {name for name, network in networks.items() if network.get("internal")} == {"database", "metrics", "queue"}
    members = {network: {name for name in services if network in services[name]["networks"]} for network in networks}
    programs = {"api", "worker", "worker-cpu"}
    assert members["database"] == {"postgres", *programs}
    assert members["queue"] == {"redis", *programs}
    assert members["metrics"] == {"api", "prometheus", "grafana"}
    assert not members["outside"] & {"postgres", "redis"}


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    ports = {name: port for name, service in services.items() for port in service.get("ports", [])}
    assert ports.keys() == {"api", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in ports.values())


def test_every_service_has_health_check_restart_policy_and_restrictions(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert 10 <= float(service["healthcheck"]["interval"].removesuffix("s")) <= 15, name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["restart"] == "unless-stopped", name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
    for name in ("api", "worker", "worker-cpu"):
        assert re.fullmatch(r"\$\{\w+_CPUS:-0\}", str(services[name]["cpus"])), name


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
    locks = {stage.split()[2]: re.findall(r"--require-hashes --requirement (\w+)\.txt", stage) for stage in stages[1:]}
    assert {name: lock for name, lock in locks.items() if lock} == {
        "api-dependencies": ["api"],
        "worker-dependencies": ["worker"],
    }
    packages = {lock: (ROOT / f"deploy/locks/{lock}.txt").read_text() for lock in ("api", "worker")}
    assert [lock for lock, text in packages.items() if re.search("^torch==", text, flags=re.M)] == ["worker"]
    assert "torch" not in _extras(project, "service")
    assert "torch" in _extras(project, "worker")


def test_the_worker_image_has_what_compiling_needs() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.M)
    (worker,) = [stage for stage in stages if re.match(r"\S+ AS worker\n", stage)]
    assert re.search(r"apt-get install .* g\+\+", worker), "a C++ compiler, with its headers"
    folders = re.findall(r"(?:TORCHINDUCTOR|TRITON)_CACHE_DIR=(\S+)", worker)
    assert len(folders) == 2
    assert re.search(r"install --directory --owner=\w+ .*/cache", worker)
    assert all(folder.startswith("/cache/") for folder in folders), "code cannot be loaded from /tmp"


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
