"""compose.yaml against what it names: files, ports, settings, commands. No container is started here."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.config import SqlConfig
from dashboards.grafana import build
from ingest.config import FleetConfig

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "ingest" / "deploy" / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_nothing_that_it_need_not(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert service["mem_limit"]
    assert re.fullmatch(r"[a-z0-9/-]+:\d+\.\d+\.\d+", service["image"]), "a version of its own, never the latest"
    assert "privileged" not in service
    assert "network_mode" not in service
    assert "pid" not in service


@pytest.mark.parametrize("name", [s for s in SERVICES if s != "maintenance"])
def test_a_service_that_answers_says_whether_it_does(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_what_is_mounted_from_the_project_is_there() -> None:
    own = [v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", []) if v.startswith("./")]
    assert len(own) == 4
    for path in own:
        assert (ROOT / path).exists(), path
    assert all(v.endswith(":ro") for s in SERVICES.values() for v in s["volumes"] if v.startswith(("./", "${")))
    named = {v.split(":")[0] for s in SERVICES.values() for v in s["volumes"] if not v.startswith(("./", "${"))}
    assert named == set(COMPOSE["volumes"])


def test_no_secret_has_a_default() -> None:
    for variable in re.findall(r"\$\{[^}]*\}", TEXT):
        assert re.fullmatch(r"\$\{[A-Z0-9_]+:\?[^}]+\}", variable), f"{variable} must be asked for"
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            secret = "PASSWORD" in key and not str(value).startswith(("/run/secrets/", "${"))
            assert not secret, key


def test_grafana_reaches_the_read_side_and_nothing_behind_it() -> None:
    nets = {name: set(s["networks"]) for name, s in SERVICES.items()}
    assert nets["grafana"] & nets["read"]
    for behind in ("broker", "ingest", "maintenance"):
        assert not nets["grafana"] & nets[behind]
        assert not nets["read"] & nets[behind]
    inside = {name for name, net in COMPOSE["networks"].items() if net.get("internal")}
    assert nets["read"] | nets["ingest"] | nets["maintenance"] <= inside
    assert SERVICES["read"]["volumes"][1] == "lake:/var/lib/fleetco2:ro"
    assert SERVICES["read"]["user"] != SERVICES["ingest"]["user"]
    assert all(p.startswith("127.0.0.1:") for p in SERVICES["grafana"]["ports"])
    assert "ports" not in SERVICES["read"]
    assert "ports" not in SERVICES["ingest"]


def test_what_grafanas_files_ask_for_is_given() -> None:
    wanted = {v for text in build.provisioning().values() for v in re.findall(r"\$(FLEETCO2_\w+)", text)}
    given = SERVICES["grafana"]["environment"]
    assert wanted == {k for k in given if k.startswith("FLEETCO2_")}
    assert given["FLEETCO2_SQL_ADDRESS"] == f"read:{SqlConfig(roles='x').port}"
    mounted = {v.split(":")[1] for v in SERVICES["grafana"]["volumes"]}
    assert all(f"/etc/grafana/provisioning/{name.split('/')[0]}" in mounted for name in build.files())


def test_ports_agree_with_what_listens() -> None:
    mosquitto = (ROOT / "ingest" / "deploy" / "mosquitto.conf").read_text(encoding="utf-8")
    assert "\nlistener 8883\n" in mosquitto
    assert SERVICES["broker"]["ports"] == ["8883:8883"]
    assert "/etc/mosquitto/fleetco2/acme/ca.pem" in mosquitto
    assert "persistence_location /var/lib/mosquitto/" in mosquitto
    assert any(v.endswith(":/var/lib/mosquitto") for v in SERVICES["broker"]["volumes"])
    assert "9464" in str(SERVICES["ingest"]["healthcheck"]["test"])
    assert "metrics_port = 9464" in TEXT
    assert "metrics_port" in FleetConfig.__struct_fields__


def test_commands_are_those_that_there_are() -> None:
    from dashboards.__main__ import _arguments as dashboards_arguments
    from storage.__main__ import _arguments as storage_arguments

    for name, parse in (("read", dashboards_arguments), ("maintenance", storage_arguments)):
        python, dash_m, module, *words = SERVICES[name]["command"]
        assert (python, dash_m) == ("python", "-m")
        assert (ROOT / module / "__main__.py").exists()
        parse(words)


def test_the_image_holds_every_package_and_installs_what_is_locked() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]["packages"]
    for package in packages:
        assert f"COPY {package} {package}\n" in DOCKERFILE
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).exists()
    assert DOCKERFILE.count("uv sync --locked") == 2
    version = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert f"uv=={version[1]}" in DOCKERFILE
    assert re.search(r"^USER [1-9]", DOCKERFILE, re.MULTILINE)
