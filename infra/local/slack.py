"""The Slack stand-in as a service of the stack."""

from __future__ import annotations

import sys

from infra.local.plan import Plan
from infra.local.processes import Launch
from infra.local.service import Service, http_answers
from lakehouse.settings import PROJECT_ROOT

NAME = "slack"


def prepare(plan: Plan) -> Launch:
    """Make the folder of the messages."""
    folder = plan.folder(NAME)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "infra.local.slack_stand_in", str(plan.ports[NAME]), str(folder), plan.host(NAME)]
    return Launch(command, PROJECT_ROOT, {"SLACK_PATH": plan.secrets["slack_path"]})


def answers(plan: Plan) -> bool:
    """Whether the stand-in is healthy."""
    return http_answers(f"http://{plan.address(NAME)}/health")


SERVICE = Service(NAME, ("slack",), prepare, answers)
