"""What the system knows about itself."""

from __future__ import annotations

from lakehouse.tables.columns import columns
from lakehouse.tables.spec import TableSpec

RANGE = "struct<topic:string,partition:int,from_offset:bigint,to_offset:bigint>"

LEDGER = TableSpec(
    name="ops.ledger",
    schema=columns(
        f"stream string, kind string, query_id string, batch_id bigint, ranges array<{RANGE}>, reason string, "
        "topic_ids map<string,string>, redelivered bigint, objects string, duration_ms bigint, "
        "rows_promised bigint, rows_read bigint, "
        "rows_written bigint, rows_quarantined bigint, quarantined map<string,bigint>, filtered map<string,bigint>, "
        "offset_holes bigint, first_event_at timestamp, last_event_at timestamp, code_version string, "
        "committed_at timestamp, table_version bigint, ingested_at timestamp, warned map<string,bigint>, "
        "vanished bigint"
    ),
    keys=("stream", "query_id", "batch_id"),
    comment="One entry per micro-batch, projected from the metadata of the Bronze commits.",
)


def quarantine_of(stream: str) -> TableSpec:
    """`ops.quarantine/<stream>`: the rejected rows of one stream. One driver writes each; readers take the union."""
    return TableSpec(
        name=f"ops.quarantine/{stream}",
        schema=columns(
            "quarantine_id string, stream string, stage string, reasons array<string>, rule_version string, "
            "raw_key binary, raw_value binary, raw_headers array<struct<key:string,value:binary>>, schema_id int, "
            "origin string, origin_etag string, origin_partition int, origin_position bigint, arrived_at timestamp, "
            # The Kafka record that brought the row, or announced the object that it was in.
            "_topic string, _partition int, _offset bigint, _ingested_at timestamp, _batch_id bigint"
        ),
        keys=("quarantine_id",),
        comment="Rejected rows with their original bytes, origin and every reason.",
        properties={"delta.checkpointInterval": "50"},
    )


def quarantine_outcomes_of(stream: str) -> TableSpec:
    """`ops.quarantine_outcomes/<stream>`: what each request decided about each rejected row of one stream."""
    return TableSpec(
        name=f"ops.quarantine_outcomes/{stream}",
        schema=columns(
            "quarantine_id string, request_id string, outcome string, reasons array<string>, rule_version string, "
            "code_version string, why string, requested_by string, decided_at timestamp"
        ),
        keys=("quarantine_id", "request_id"),
        comment="Replayed, still bad (with the reasons of that attempt) or discarded (with why and by whom).",
        properties={"delta.appendOnly": "true"},
    )


CLICK_OBJECTS = TableSpec(
    name="ops.click_objects",
    schema=columns(
        "landed_on date, address string, etag string, size_bytes bigint, lines bigint, outcome string, "
        "_topic string, _partition int, _offset bigint, _application string, _batch_id bigint"
    ),
    keys=("address", "etag", "size_bytes", "_application", "_batch_id"),
    comment="Each object that a batch took and what became of it; it counts when Bronze holds the batch's commit.",
    partition_by=("landed_on",),
    properties={"delta.checkpointInterval": "50"},
)

QUALITY_RESULTS = TableSpec(
    name="ops.quality_results",
    schema=columns(
        "run_id string, business_date date, layer string, table_name string, dimension string, check_name string, "
        "column_name string, is_success boolean, rows_checked bigint, rows_failed bigint, observed string, "
        "expected string, "
        "is_blocking boolean, checked_at timestamp"
    ),
    keys=("run_id", "table_name", "check_name", "column_name"),
    comment="Each result of each check; counts and limits, no values of personal columns.",
)

QUALITY_SCORES = TableSpec(
    name="ops.quality_scores",
    schema=columns(
        "run_id string, business_date date, table_name string, dimension string, score double, checks_run bigint, "
        "checks_failed bigint, points_lost_by array<struct<check_name:string,points:double>>, scored_at timestamp"
    ),
    keys=("run_id", "table_name", "dimension"),
    comment="Score 0 to 100 per table and dimension (formula: docs/quality.md).",
)

PUBLICATIONS = TableSpec(
    name="ops.publications",
    schema=columns(
        "run_id string, business_date date, table_name string, candidate_version bigint, published_version bigint, "
        "row_count bigint, published_at timestamp"
    ),
    keys=("run_id", "table_name"),
    comment="Which version of each Gold table readers were moved to, and when.",
)

RUNS = TableSpec(
    name="ops.runs",
    schema=columns(
        "run_id string, business_date date, step string, status string, started_at timestamp, ended_at timestamp, "
        "duration_seconds double, rows_processed bigint, message string"
    ),
    keys=("run_id", "step"),
    comment="Each step of each night: when, how long, how many rows, how it ended.",
)

ALERTS = TableSpec(
    name="ops.alerts",
    schema=columns(
        "alert_id string, episode_id string, kind string, sku string, warehouse_id string, on_hand int, "
        "reorder_point int, sequence bigint, opened_at_sequence bigint, occurred_at timestamp, detected_at "
        "timestamp, _batch_id bigint"
    ),
    keys=("alert_id",),
    comment="Each transition of a low-stock episode: opened, escalated, closed.",
    properties={"delta.checkpointInterval": "50"},
)

INCARNATIONS = TableSpec(
    name="ops.incarnations",
    schema=columns("ordinal int, incarnation string, reason string, opened_at timestamp"),
    keys=("ordinal",),
    comment="Lives of the source database in their order: a restore or a failover begins a new one.",
)

CUTS = TableSpec(
    name="ops.cuts",
    schema=columns(
        "run_id string, business_date date, table_name string, cut string, taken_at timestamp, "
        "compared array<string>, left_out array<string>, buckets int, source_rows bigint, "
        "source array<struct<bucket:int,rows:bigint,hash:bigint>>, seconds double"
    ),
    keys=("run_id", "table_name"),
    comment="The cut of each night, and what Postgres held at it: rows and hash per key bucket, no values.",
)

RECONCILIATIONS = TableSpec(
    name="ops.reconciliations",
    schema=columns(
        "run_id string, business_date date, table_name string, bucket int, source_rows bigint, source_hash bigint, "
        "silver_rows bigint, silver_hash bigint, agrees boolean, compared_at timestamp"
    ),
    keys=("run_id", "table_name", "bucket"),
    comment="Each key bucket of each captured table: Postgres at the night's cut beside Silver.",
)

VERIFIED = TableSpec(
    name="ops.verified",
    schema=columns("table_name string, cut string, lsn bigint, taken_at timestamp, run_id string, rows bigint"),
    keys=("table_name",),
    comment="Through which cut Silver was last seen to equal Postgres.",
)

REPAIRS = TableSpec(
    name="ops.repairs",
    schema=columns(
        "run_id string, table_name string, asked_at timestamp, rows_lost bigint, rows_changed bigint, "
        "rows_doubled bigint, rows_extra bigint, rows_asked bigint, rows_read bigint, cut string, keys_folded bigint"
    ),
    keys=("run_id", "table_name"),
    comment="Each repair of keys that differed: rows that Debezium was asked for and sent, keys made anew from Bronze.",
)

SOURCE_GAPS = TableSpec(
    name="ops.source_gaps",
    schema=columns(
        "source_incarnation string, after_beat bigint, next_beat bigint, next_lsn bigint, cause string, "
        "after_at timestamp, next_at timestamp, reason string, accepted_by string, accepted_at timestamp"
    ),
    keys=("source_incarnation", "next_beat", "next_lsn"),
    comment="Changes that the source never sent, between two heartbeats, and who accepted that for which reason.",
    properties={"delta.appendOnly": "true"},
)
