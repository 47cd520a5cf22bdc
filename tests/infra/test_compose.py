"""The containers are the embedded stack: valid by the specification, private, pinned, and made from the same files."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.compose.__main__ import NEEDS, SERVICES
from infra.compose.containers import PORTS, VARIABLES, plan_from
from infra.local import content, database
from lakehouse.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "infra" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
STACK: dict[str, Any] = COMPOSE["services"]
OURS = {name: one for name, one in STACK.items() if one["image"].startswith("provable-lakehouse/")}
APPLICATIONS = {name: one for name, one in STACK.items() if "LAKEHOUSE_CONNECT_URL" in one.get("environment", {})}
EXAMPLE = (FOLDER / ".env.example").read_text("utf-8")
REFERENCE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?P<rest>:[?-][^{}]*)?\}")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|WEBHOOK|SLACK_PATH|TOKEN")


def variables_in(text: str) -> dict[str, set[str]]:
    """Variable -> the ways in which it is referred to (`:?cure`, `:-default`), the innermost of nested ones first."""
    found: dict[str, set[str]] = {}
    while match := REFERENCE.search(text):
        found.setdefault(match["name"], set()).add(match["rest"] or "")
        text = text[: match.start()] + text[match.end() :]
    return found


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each volume."""
    return [(source, target) for source, target, *_ in (str(one).split(":") for one in service.get("volumes", []))]


def test_the_file_is_valid_by_the_compose_specification() -> None:
    schema = json.loads((files("check_jsonschema.builtin_schemas") / "vendor" / "compose-spec.json").read_text("utf-8"))
    errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(COMPOSE)]
    assert errors == []


def test_docker_compose_itself_takes_the_file(tmp_path: Path) -> None:
    try:
        version = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("left out: `docker compose config` was not run, there is no docker client on this machine")
    if version.returncode:
        pytest.skip("left out: `docker compose config` was not run, the docker client has no compose plugin")
    filled = tmp_path / "filled.env"
    filled.write_text(re.sub(r"^(\w+)=$", r"\1=x", EXAMPLE, flags=re.MULTILINE), "utf-8")
    command = ["docker", "compose", "-f", str(FOLDER / "compose.yaml"), "--env-file", str(filled), "--profile", "*"]
    answer = subprocess.run([*command, "config", "--quiet"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_every_published_port_is_on_loopback_and_published_once() -> None:
    published = [port for one in STACK.values() for port in one.get("ports", [])]
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    assert len({port.split(":")[1] for port in published}) == len(published)
    assert [name for name, one in STACK.items() if "network_mode" in one] == []


def test_a_service_publishes_the_port_on_which_it_listens() -> None:
    inside = {name: {int(port.split(":")[2]) for port in one.get("ports", [])} for name, one in STACK.items()}
    assert {name: ports for name, ports in inside.items() if name in PORTS and not ports <= {PORTS[name]}} == {}


def test_no_credential_stands_in_the_file() -> None:
    values = {
        f"{name}.{key}": str(value)
        for name, one in STACK.items()
        for key, value in one.get("environment", {}).items()
        if SECRET_NAME.search(key)
    }
    assert values
    assert [key for key, value in values.items() if not value.startswith("${")] == []
    defaults = {rest for value in values.values() for rests in variables_in(value).values() for rest in rests}
    # Without the stand-in's secret part, which is in the innermost reference.
    assert {one for one in defaults if one.startswith(":-")} == {":-http://slack:8088/services/"}
    assert not re.search(r"\b[0-9a-f]{16,}\b", TEXT)


def test_a_missing_secret_is_refused_with_its_cure() -> None:
    found = variables_in(TEXT)
    optional = {"LAKEHOUSE_SLACK_WEBHOOK"}
    secrets = [name for name in found if SECRET_NAME.search(name) and name not in optional]
    assert set(secrets) == set(VARIABLES.values())
    cures = {name: {rest for rest in found[name] if not rest.startswith(":?set ")} for name in secrets}
    assert {name: rest for name, rest in cures.items() if rest} == {}


def test_the_example_names_every_variable_and_gives_no_value() -> None:
    listed = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, flags=re.MULTILINE))
    assert listed.keys() == variables_in(TEXT).keys()
    assert set(listed.values()) == {""}


def test_every_image_is_pinned_and_none_is_the_newest() -> None:
    version = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    tags = {name: one["image"].partition(":")[2] for name, one in STACK.items()}
    assert {name: tag for name, tag in tags.items() if not re.fullmatch(r"v?\d+\.\d+(\.\d+)?", tag)} == {}
    assert {tags[name] for name in OURS} == {version}
    assert "latest" not in TEXT


def test_our_images_are_built_here_and_never_asked_for_at_a_registry() -> None:
    assert {one.get("pull_policy") for one in OURS.values()} == {"never"}
    built = [one["image"] for one in OURS.values() if "build" in one]
    assert sorted(built) == sorted({one["image"] for one in OURS.values()})


def test_everything_mounted_from_the_project_exists_and_is_read_only() -> None:
    bound = [str(one) for service in STACK.values() for one in service.get("volumes", []) if str(one).startswith(".")]
    assert bound
    assert [one for one in bound if not (FOLDER / one.split(":")[0]).exists() or not one.endswith(":ro")] == []


def test_the_mounted_files_are_those_that_fill_the_embedded_stack() -> None:
    def shared(name: str) -> dict[Path, str]:
        return {(FOLDER / source).resolve(): target for source, target in mounts(STACK[name])}

    read = [content.INFRA / part for part in ("kafka/topics.yaml", "postgres")]
    # The image holds the project in /app, so a file is mounted over the very one that the code reads.
    assert shared("init") == {path: f"/app/{path.relative_to(PROJECT_ROOT)}" for path in read}
    connector = content.INFRA / "debezium" / "connector.json"
    assert shared("capture") == {connector: f"/app/{connector.relative_to(PROJECT_ROOT)}"}
    assert all(path.exists() for path in (*read, connector))


def test_every_named_volume_is_declared_and_used() -> None:
    named = {source for one in STACK.values() for source, _ in mounts(one) if not source.startswith(".")}
    assert named == set(COMPOSE["volumes"])


def test_the_applications_find_the_services_where_they_listen(tmp_path: Path) -> None:
    plan = plan_from(dict.fromkeys(VARIABLES.values(), "x"), tmp_path, VARIABLES)
    addresses = {key: value for key, value in plan.environment().items() if not SECRET_NAME.search(key)}
    assert APPLICATIONS.keys() == {"streams", "notifier", "shop", "airflow"}
    for one in APPLICATIONS.values():
        assert {key: one["environment"].get(key) for key in addresses} == addresses
    for name in {service.partition("_")[0] for service in PORTS}:
        assert name in STACK


def test_each_service_is_given_the_secrets_that_it_needs_and_no_others() -> None:
    wanted = {name: set(NEEDS.get(name, ())) for name in SERVICES} | {
        "init": set(VARIABLES),
        "capture": {"postgres_admin"},
    }
    given = {name: set(STACK[name].get("environment", {})) & set(VARIABLES.values()) for name in wanted}
    assert given == {name: {VARIABLES[secret] for secret in secrets} for name, secrets in wanted.items()}


def test_each_service_of_our_image_is_served_and_checked_under_its_own_name() -> None:
    served = {one["command"][1]: name for name, one in STACK.items() if one.get("command", [""])[0] == "serve"}
    assert served == {name: name for name in SERVICES}
    for name in SERVICES:
        assert STACK[name]["healthcheck"]["test"][-2:] == ["check", name]


def test_postgres_has_the_settings_of_the_embedded_one() -> None:
    options = dict(one.removeprefix("--").split("=", 1) for one in STACK["postgres"]["command"][1:])
    local_only = {"listen_addresses", "unix_socket_directories"}
    assert options == {name: value for name, value in database.SETTINGS.items() if name not in local_only}


def test_whoever_is_waited_for_as_healthy_says_whether_it_is() -> None:
    for name, one in STACK.items():
        for other, wait in one.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in STACK[other], (name, other)
            else:
                assert other in ("init", "capture"), (name, other)
    ends_or_serves_nothing = {"init", "capture", "shop", "notifier"}
    assert {name for name, one in STACK.items() if "healthcheck" not in one} == ends_or_serves_nothing


def test_nothing_waits_for_a_service_of_a_profile_that_may_be_off() -> None:
    optional = {name for name, one in STACK.items() if "profiles" in one}
    assert optional == {"shop", "airflow", "prometheus", "pushgateway"}
    assert {other for one in STACK.values() for other in one.get("depends_on", {})} & optional == set()


def test_prometheus_reads_our_rules_and_the_page_of_the_streams() -> None:
    folder = PROJECT_ROOT / "infra" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text("utf-8"))
    assert [(folder / name).is_file() for name in config["rule_files"]] == [True]
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    port = STACK["streams"]["environment"]["LAKEHOUSE_METRICS_PORT"]
    assert targets == {"streams": [f"streams:{port}"], "nights": ["pushgateway:9091"]}
    assert STACK["streams"]["environment"]["LAKEHOUSE_METRICS_HOST"] == "0.0.0.0"
