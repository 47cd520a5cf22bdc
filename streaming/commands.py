"""Commands of the streams: run them, print the ledger and count it again."""

from __future__ import annotations

from typing import Any

import click

from lakehouse.settings import Settings


@click.command()
@click.argument("group", type=click.Choice(["inventory", "clicks", "changes", "all"]))
@click.option("--until-caught-up", is_flag=True, help="End when everything that is there now was taken.")
@click.option("--short-lived", is_flag=True, help="Start sooner and run slower: for a driver that lives for minutes.")
@click.option("--accept-gap", default="", metavar="REASON", help="Pass over records that the source lost; recorded.")
@click.pass_obj
def stream(settings: Settings, group: str, until_caught_up: bool, short_lived: bool, accept_gap: str) -> None:
    """Take a source (or all, in one driver) into Bronze; for ever, or until caught up."""
    from lakehouse.kafka_offsets import require_kafka
    from streaming import queries

    require_kafka(settings)
    queries.run(settings, group, until_caught_up, short_lived, accept_gap)


@click.group(invoke_without_command=True)
@click.pass_context
def ledger(context: click.Context) -> None:
    """Print what each stream read, wrote and rejected per day, and whether it balances."""
    if context.invoked_subcommand:
        return
    from streaming import ledger_report

    for line in ledger_report.lines(context.obj):
        click.echo(line)


class Objects(click.ParamType[int | None]):
    """A number, or `all` (None)."""

    name = "N|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """The number; a usage error for anything else."""
        if value == "all":
            return None
        if not str(value).isdigit():
            self.fail(f"{value!r} is neither a number nor 'all'.", param, ctx)
        return int(value)


@ledger.command()
@click.option("--broker/--no-broker", default=True, help="Read the topics again as well.")
@click.option(
    "--objects",
    type=Objects(),
    default="1000",
    show_default=True,
    help="Read so many click objects again, or all; chosen anew each time.",
)
@click.pass_obj
def verify(settings: Settings, broker: bool, objects: int | None) -> None:
    """Count Bronze, the quarantine, the topics and the click objects again, by other means; exit code 1 when anything
    differs.
    """
    from streaming import ledger_verify

    findings = list(ledger_verify.verify(settings, broker, objects))
    for finding in findings:
        click.secho(str(finding), fg=None if finding.agrees else "red")
    if wrong := [finding.name for finding in findings if not finding.agrees]:
        raise ledger_verify.LedgerDiffers(wrong)
