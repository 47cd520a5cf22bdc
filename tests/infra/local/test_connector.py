"""The connector's configuration: TLS and credentials where its worker has them, else nothing in their place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.local import connect
from infra.local.commands import connector
from infra.local.connector import ALWAYS, FILE, VARIABLE, configuration, optional_variables
from infra.local.errors import NoIncarnation, UnknownVariables
from infra.local.plan import Plan, wanted_ports

LIFE = "7300000000000000001/1"
ALL = json.loads(FILE.read_text("utf-8"))


def plan(home: Path) -> Plan:
    return Plan(home, wanted_ports(None), {"postgres_debezium": "pw"}, home)


def test_the_embedded_stack_passes_no_setting_without_a_value(tmp_path: Path) -> None:
    given = connect.environment(plan(tmp_path))
    assert tuple(sorted(given)) == tuple(sorted(ALWAYS))
    wanted = configuration(LIFE)
    assert {name for value in wanted.values() for name in VARIABLE.findall(value)} == set(given)
    assert not [name for name in wanted if name.endswith((".location", "sslrootcert", "sslcert", "sslkey"))]


def test_all_other_settings_stay(tmp_path: Path) -> None:
    wanted = configuration(LIFE)
    assert wanted["transforms.incarnation.value.literal"] == LIFE
    left_out = ALL.keys() - wanted.keys()
    assert {name for key in left_out for name in VARIABLE.findall(ALL[key])} == set(optional_variables())
    assert configuration(LIFE, optional_variables()).keys() == ALL.keys()


def test_postgres_is_verified_by_the_authorities_of_the_worker() -> None:
    wanted = configuration(LIFE, ["SOURCE_SSLROOTCERT"])
    assert wanted["database.sslmode"] == "${env:SOURCE_SSLMODE}"
    assert wanted["database.sslrootcert"] == "${env:SOURCE_SSLROOTCERT}"
    assert "database.sslkey" not in wanted


@pytest.mark.parametrize("side", ["key", "value"])
def test_both_converters_get_the_credentials_of_the_registry(side: str) -> None:
    wanted = configuration(LIFE, ["REGISTRY_USERNAME", "REGISTRY_PASSWORD", "REGISTRY_CAFILE"])
    client = f"{side}.converter.apicurio"
    assert wanted[f"{client}.auth.username"] == "${env:REGISTRY_USERNAME}"
    assert wanted[f"{client}.auth.password"] == "${env:REGISTRY_PASSWORD}"
    assert wanted[f"{client}.rest.request.ssl.ca-bundle.location"] == "${env:REGISTRY_CAFILE}"


def test_a_worker_hands_out_every_variable_of_the_file_and_none_of_its_others(tmp_path: Path) -> None:
    allowed = connect.worker_properties(plan(tmp_path))["config.providers.env.param.allowlist.pattern"]
    assert all(re.fullmatch(allowed, name) for name in (*ALWAYS, *optional_variables()))
    assert not re.fullmatch(allowed, "AWS_SECRET_ACCESS_KEY")


def test_a_misspelt_variable_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownVariables, match=r"does not name SOURCE_ROOTCERT\..*SOURCE_SSLROOTCERT"):
        configuration(LIFE, ["SOURCE_ROOTCERT", "SOURCE_SSLKEY"])


def test_variables_that_every_worker_has_may_be_named() -> None:
    assert configuration(LIFE, ["SOURCE_SSLMODE"]) == configuration(LIFE)


@pytest.mark.parametrize("given", ["", "73", '73/1 "x', "73/1/2"])
def test_what_is_no_incarnation_is_refused(given: str) -> None:
    with pytest.raises(NoIncarnation, match="two numbers"):
        configuration(given)


def test_the_blanks_that_psql_prints_are_left_out() -> None:
    assert configuration(f" {LIFE}\n") == configuration(LIFE)


def test_the_command_prints_what_connect_takes() -> None:
    answer = CliRunner().invoke(connector, ["--incarnation", LIFE, "SOURCE_SSLROOTCERT"], catch_exceptions=False)
    assert json.loads(answer.output) == configuration(LIFE, ["SOURCE_SSLROOTCERT"])
