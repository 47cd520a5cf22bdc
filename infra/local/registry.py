"""Schema registry: Apicurio with its Confluent-compatible API, kept in a file database."""

from __future__ import annotations

from infra.local.jars import unpacked
from infra.local.plan import Plan
from infra.local.processes import Launch
from infra.local.service import Service, http_answers, java

NAME = "registry"


def prepare(plan: Plan) -> Launch:
    """Make the folder of the database."""
    folder = plan.folder(NAME)
    folder.mkdir(parents=True, exist_ok=True)
    program = next(unpacked(NAME).glob("apicurio-registry-app-*-runner.jar"))
    environment = {
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        # Written to disk with each schema: an id that a producer was given must outlive the process.
        "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{folder}/db;AUTO_SERVER=FALSE;WRITE_DELAY=0",
        "QUARKUS_HTTP_HOST": plan.host(NAME),
        "QUARKUS_HTTP_PORT": str(plan.ports[NAME]),
    }
    return Launch([*java(256, "-XX:TieredStopAtLevel=1"), "-jar", str(program)], folder, environment)


def answers(plan: Plan) -> bool:
    """Whether the Confluent-compatible API lists subjects."""
    return http_answers(f"http://{plan.address(NAME)}/apis/ccompat/v7/subjects")


SERVICE = Service(NAME, ("registry",), prepare, answers)
