"""The front door: `lakehouse COMMAND`. Rooms are imported only when one of their commands is called."""

from __future__ import annotations

import errno
import importlib
import sys

import click

from lakehouse.errors import sentence_of
from lakehouse.logs import log_to_stderr
from lakehouse.settings import load_settings

COMMANDS = {
    "up": "infra.local.commands:up",
    "down": "infra.local.commands:down",
    "status": "infra.local.commands:status",
    "reset": "infra.local.commands:reset",
    "logs": "infra.local.commands:logs",
    "connector": "infra.local.commands:connector",
    "shop": "infra.shop.commands:shop",
    "demo": "infra.demo.commands:demo",
    "break": "infra.breakage.commands:break_it",
    "bench": "infra.bench.commands:bench",
    "stream": "streaming.commands:stream",
    "ledger": "streaming.commands:ledger",
    "source": "streaming.source_commands:source",
    "quarantine": "streaming.quarantine_commands:quarantine",
    "clicks": "streaming.object_commands:clicks",
    "notifications": "streaming.object_commands:notifications",
    "notify": "streaming.notifier_commands:notify",
    "batch": "batch.commands:batch",
    "reconcile": "batch.reconcile_commands:reconcile",
    "bi": "batch.bi_commands:bi",
    "sql": "lakehouse.sql_command:sql",
    "report": "batch.report_commands:report",
    "quality": "quality.commands:quality",
    "schema": "quality.schema_commands:schema",
    "night": "orchestration.commands:night",
}
"""Command -> module:attribute, in the order in which a new user meets them."""
CURABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Trouble with the disk or its rights: the system's own words name the place."""


class Rooms(click.Group):
    """A click group that imports a room when its command is called, so that `lakehouse status` starts no Spark."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the room of one command; None where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Rooms, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def front_door(ctx: click.Context) -> None:
    """A lakehouse that proves its numbers."""
    log_to_stderr()
    ctx.obj = load_settings()


def main() -> None:
    """Run one command; our own errors and a full disk become one sentence and exit code 1, Ctrl-C exit code 130."""
    try:
        front_door(standalone_mode=False)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(wrong.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except Exception as error:
        told = _cure(error) or sentence_of(error)
        if told is None:
            raise
        click.echo(f"lakehouse: {told}", err=True)
        sys.exit(1)


def _cure(error: Exception) -> str | None:
    """The system's own words about a disk and what to do; None for all other trouble."""
    if not isinstance(error, OSError) or error.errno not in CURABLE:
        return None
    return f"{error}. Free some space (or put right what it names) and run it again."


if __name__ == "__main__":
    main()
