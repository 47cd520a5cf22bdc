"""# lakehouse_nightly: an Airflow DAG

**Feeds** the published Gold tables (`gold.*`), and with them every dashboard, the reorder points of the low-stock
alerts and the morning report. Until it is complete, readers see the last good night, dated as such.

**Makes** the numbers of one business date: the parameter `business_date`, else the day before the fire time in the
business time zone. Fires at 06:00 in that zone, one run at a time, without catching up on missed days: one run merges
everything that is there.

| Task | Does | Fails when |
|---|---|---|
| `bronze` | takes the cut, catches up, checks Bronze | a source is down, changes or rows are missing, a check fails |
| `silver_and_gold` | merges, compares with the cut; builds, checks, publishes | Silver differs, a check or test fails |
| `report_and_notify` | writes the morning report, tells Slack | Slack does not take the message |

**Is it safe to run again?** Yes: the whole run, and each task. Streams skip what they have written, Silver is the same
whatever is merged twice, Gold is rebuilt from Silver and published only when it passes. Only the message is sent again.

**It failed. What now?** Slack has one message, after the second retry, with the cause and the path of the report.

1. Nothing is lost, and nothing wrong was published. There is time for coffee.
2. *A service does not answer*: `lakehouse status`, start it, clear the failed task (or `lakehouse night run --date D`).
3. *A check failed* (`GateClosed`): the report lists the checks and their counts; `lakehouse quality show --failed`
   shows more. Repair the source, or the limit if the world has changed, and clear the failed task.
4. *A batch does not balance*: stop. Run `lakehouse ledger verify` before anything else runs.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, Param, get_current_context, task

from lakehouse.settings import load_settings
from orchestration import messages, policy
from orchestration.business_date import business_date_of

SETTINGS = load_settings()


def business_date(params: dict[str, Any], dag_run: Any) -> str:
    """Template function: the business date of a run. `run_after` stays the same when a task is cleared later."""
    return business_date_of(params, dag_run.run_after, SETTINGS.business_time_zone)


with DAG(
    dag_id="lakehouse_nightly",
    description="Catch up, check, merge, build, check, publish, score, tell: the numbers of one business date.",
    doc_md=__doc__,
    schedule="0 6 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz=SETTINGS.business_time_zone),
    catchup=False,
    max_active_runs=1,
    default_args=policy.default_args(),
    params={
        "business_date": Param(
            None,
            type=["null", "string"],
            format="date",
            description="YYYY-MM-DD, not after the fire time. Empty: the day before it in the business time zone.",
        )
    },
    user_defined_macros={"business_date": business_date},
    tags=["lakehouse", "nightly"],
) as dag:
    bronze = policy.spark_task(["bronze"], SETTINGS, "streams skip the batches that are already in Bronze.")
    silver_and_gold = policy.spark_task(
        ["silver", "gold"],
        SETTINGS,
        "a change that is merged twice changes nothing; the candidate is rebuilt, and published only when it passes.",
    )

    @task(  # type: ignore[untyped-decorator]
        doc_md=f"**{policy.IDEMPOTENT}**: the report is written anew; only the message is sent once more."
    )
    def report_and_notify() -> str:
        """Write the morning report and send its headline; returns the path of the page."""
        context = get_current_context()
        date = messages.business_date_in(context)
        report = messages.write_report(SETTINGS, date)
        messages.tell(SETTINGS, messages.completion_text(dag.dag_id, date, report))
        return str(report["path"])

    bronze >> silver_and_gold >> report_and_notify()
