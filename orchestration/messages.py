"""What the night tells people: one message when it is complete, one when it failed for good, both with the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import structlog
from airflow.sdk.bases.notifier import BaseNotifier

from lakehouse.errors import LakehouseError, StepFailed
from lakehouse.settings import PREFIX, PROJECT_ROOT, Settings, load_settings
from lakehouse.slack import escape, post
from orchestration.causes import cause_of, readers_see

# Airflow writes the fields of structlog's events to its task logs, and drops those of the standard library's.
log = structlog.get_logger(__name__)

REPORT_LIMIT_SECONDS = 300
RUNBOOK = "docs/runbooks/night-failed.md"


class NightFailed(BaseNotifier):  # type: ignore[misc]
    """Writes the report (which says that the night failed) and tells Slack; called once, after the last retry."""

    def notify(self, context: Any) -> None:
        """Tell what failed and where to look. Trouble with the report or Slack is logged, and hides nothing."""
        settings = load_settings()
        task = context["task_instance"]
        business_date = business_date_in(context)
        cause = cause_of(context.get("exception"))
        log.error("night_failed", dag=task.dag_id, task=task.task_id, business_date=business_date, cause=cause)
        report = "no report could be written"
        try:
            report = str(write_report(settings, business_date)["path"])
        except (LakehouseError, OSError, subprocess.SubprocessError) as error:
            log.error("report_not_written", found=str(error))
        try:
            tell(settings, failure_text(task.dag_id, task.task_id, business_date, cause, report))
        except LakehouseError as error:
            log.error("failure_not_told", found=str(error))


def business_date_in(context: Any) -> str:
    """The business date of the run that a callback or task belongs to, as ISO text."""
    business_date = context["dag"].user_defined_macros["business_date"]
    return str(business_date(context["params"], context["dag_run"]))


def failure_text(dag_id: str, task_id: str, business_date: str, cause: str, report: str) -> str:
    """The message for a failed night, in Slack's markup."""
    return (
        f":x: *{dag_id} failed* for {business_date}, in step `{task_id}`. {readers_see(task_id)}\n"
        f"{escape(cause)}\n"
        f"It is safe to run again: `lakehouse night run --date {business_date}`. What to do: `{RUNBOOK}`\n"
        f"Report: {escape(report)}"
    )


def completion_text(dag_id: str, business_date: str, report: dict[str, Any]) -> str:
    """The message for a complete night, in Slack's markup."""
    return (
        f":sunrise: *{dag_id} is complete* for {business_date}: {escape(str(report['headline']))}\n"
        f"Report: {escape(str(report['path']))}"
    )


def write_report(settings: Settings, business_date: str) -> dict[str, Any]:
    """Write the morning report in a process of its own; returns its `path` and `headline`. Raises `StepFailed`."""
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse.cli", "report", "--date", business_date, "--as-json"],
        env=os.environ | {f"{PREFIX}HOME": str(settings.home)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=REPORT_LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise StepFailed(f"The morning report was not written: {cause_of(done.stderr)}")
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def tell(settings: Settings, text: str) -> None:
    """Send `text` to Slack, or log it where no webhook is set. Raises what `lakehouse.slack.post` raises."""
    if settings.slack_webhook:
        post(settings.slack_webhook, {"text": text})
        log.info("night_told", text=text)
    else:
        log.info("night_not_told", text=text, why=f"{PREFIX}SLACK_WEBHOOK is not set")
