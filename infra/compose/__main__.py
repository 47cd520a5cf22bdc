"""`python -m infra.compose serve NAME | check NAME | fill | capture`: what the containers of our services image run."""

from __future__ import annotations

import os
import sys
import threading

import click

from infra.compose.containers import VARIABLES, plan_from
from infra.local import broker, connect, content, object_store, registry, slack
from infra.local.processes import environment_of
from lakehouse.errors import LakehouseError
from lakehouse.settings import load_settings

SERVICES = {
    one.name: one for one in (broker.SERVICE, registry.SERVICE, object_store.SERVICE, slack.SERVICE, connect.SERVICE)
}
"""What our image runs; Postgres and Prometheus come as their projects' own images."""
NEEDS = {"s3": ("s3_access", "s3_secret"), "slack": ("slack_path",), "connect": ("postgres_debezium",)}
"""Service -> the secrets that it can't do without."""


@click.group()
def containers() -> None:
    """One service of the stack in this container."""


@containers.command()
@click.argument("name", type=click.Choice(list(SERVICES)))
def serve(name: str) -> None:
    """Prepare the service as the embedded stack does, then become its process."""
    plan = plan_from(os.environ, load_settings().home, NEEDS.get(name, ()))
    launch = SERVICES[name].prepare(plan)
    os.chdir(launch.folder)
    os.execvpe(launch.command[0], list(launch.command), environment_of(launch))


@containers.command()
@click.argument("name", type=click.Choice(list(SERVICES)))
def check(name: str) -> None:
    """Exit code 0 when the service answers: the same probe as in `lakehouse status`."""
    sys.exit(0 if SERVICES[name].answers(plan_from({}, load_settings().home)) else 1)


@containers.command()
def fill() -> None:
    """Put in place what the services hold: topics, database, bucket, schema. Repeatable."""
    plan = plan_from(os.environ, load_settings().home, VARIABLES)
    for step in (content.create_topics, content.create_database, content.create_bucket, content.register_schema):
        step(plan)
        click.echo(f"{step.__name__.replace('_', ' ')}: done")


@containers.command()
def capture() -> None:
    """Register the source connector and wait until its task runs. Repeatable."""
    content.register_connector(plan_from(os.environ, load_settings().home, ("postgres_admin",)), threading.Event())
    click.echo(f"{content.CONNECTOR}: capturing changes")


if __name__ == "__main__":
    try:
        containers(standalone_mode=False)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except LakehouseError as error:
        sys.exit(f"lakehouse: {error}")
