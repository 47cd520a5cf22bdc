"""What the source is prepared with: the connector's file and the SQL agree with the captured tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

from batch.repair import SIGNALS
from lakehouse.settings import Settings
from lakehouse.tables import CAPTURED

INFRA = Path(__file__).parents[2] / "infra"
CONNECTOR = json.loads((INFRA / "debezium" / "connector.json").read_text("utf-8"))
NAMES = sorted(table.name for table in CAPTURED)


def test_the_connector_reads_the_captured_tables_and_no_other() -> None:
    listed = CONNECTOR["table.include.list"].split(",")
    assert sorted(listed) == [f"public.{name}" for name in NAMES]


def test_the_publication_holds_the_captured_tables_the_requests_and_no_other() -> None:
    sql = (INFRA / "postgres" / "3_publication.sql").read_text("utf-8")
    (listed,) = re.findall(r"alter publication lakehouse set table (.*);", sql)
    assert sorted(listed.split(", ")) == sorted([*NAMES, SIGNALS])
    assert CONNECTOR["publication.autocreate.mode"] == "disabled"


def test_requests_come_by_the_log_and_go_no_further() -> None:
    kept = {
        # From a topic another thread would take them, beside the one that reads the log.
        "signal.enabled.channels": "source",
        "signal.data.collection": f"public.{SIGNALS}",
        "read.only": "true",
        "transforms.withoutSignals.predicate": "isSignal",
    }
    assert {name: CONNECTOR.get(name) for name in kept} == kept
    # Whatever the prefix: a record for a topic that nobody made would stop the connector.
    topics = [f"{prefix}.public.{name}" for prefix in (CONNECTOR["topic.prefix"], "acme") for name in (*NAMES, SIGNALS)]
    dropped = [name for name in topics if re.fullmatch(CONNECTOR["predicates.isSignal.pattern"], name)]
    assert dropped == [f"{CONNECTOR['topic.prefix']}.public.{SIGNALS}", f"acme.public.{SIGNALS}"]
    assert CONNECTOR["transforms"].split(",")[0] == "withoutSignals"


def test_the_connector_beats_and_each_beat_counts_one_up() -> None:
    assert 0 < int(CONNECTOR["heartbeat.interval.ms"]) <= 60_000
    assert "set beat = beat + 1" in CONNECTOR["heartbeat.action.query"]


def test_the_connector_never_goes_on_with_another_slot() -> None:
    # `when_needed`, `always` and the strategies that trust the slot would pass over a hole.
    assert CONNECTOR["snapshot.mode"] == "initial"
    assert "offset.mismatch.strategy" not in CONNECTOR


def test_slot_prefix_and_connector_are_those_of_the_settings() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert (CONNECTOR["slot.name"], CONNECTOR["topic.prefix"]) == (settings.source_slot, settings.source_topic_prefix)
    content = (INFRA / "local" / "content.py").read_text("utf-8")
    assert f'CONNECTOR = "{settings.source_connector}"' in content
