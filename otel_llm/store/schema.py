"""The tables of the local store, and the named steps that bring an older file up to date.

`PRAGMA user_version` holds the number of the last step that was applied. A step that has been released is
never edited: a change is a new step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otel_llm.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "Migration", "migrate", "schema_version"]


class Migration(NamedTuple):
    """One step of the schema: its version, what it is for, and its statements."""

    version: int
    name: str
    statements: tuple[str, ...]


_SPANS = """
CREATE TABLE spans (
    id                 INTEGER PRIMARY KEY,
    trace_id           TEXT NOT NULL,   -- 32 hex digits
    span_id            TEXT NOT NULL,   -- 16 hex digits
    parent_span_id     TEXT,            -- NULL for a root
    name               TEXT NOT NULL,
    kind               TEXT NOT NULL,   -- internal, server, client, producer, consumer, unspecified
    start_ns           INTEGER NOT NULL,  -- Unix time
    end_ns             INTEGER NOT NULL,
    duration_ns        INTEGER NOT NULL,
    status             TEXT NOT NULL,   -- unset, ok, error
    status_message     TEXT,
    service            TEXT,
    scope              TEXT,
    is_llm             INTEGER NOT NULL,  -- 1: the operation is a call to a model (logical call or attempt)
    is_call            INTEGER NOT NULL,  -- 1: a logical call, as the program made it
    is_error           INTEGER NOT NULL,
    operation          TEXT,
    provider           TEXT,
    request_model      TEXT,
    response_model     TEXT,
    tenant             TEXT NOT NULL,
    user               TEXT,
    session            TEXT,
    input_tokens       INTEGER,
    output_tokens      INTEGER,
    cache_read_tokens  INTEGER,
    cache_write_tokens INTEGER,
    reasoning_tokens   INTEGER,
    cost_nano_usd      INTEGER,         -- NULL: not known, which is not 0
    cost_status        TEXT,
    saved_nano_usd     INTEGER,
    cache_hit          INTEGER,         -- of the response cache; NULL: the span does not say
    error_type         TEXT,
    http_status        INTEGER,
    stream             INTEGER,
    ttft_ms            REAL,
    attempt            INTEGER,         -- number of an attempt under a logical call
    attempts           INTEGER,         -- on a logical call: how many attempts it took
    resource_id        TEXT NOT NULL,
    UNIQUE (trace_id, span_id)
)
"""

# What is bulky stands apart: the rows above stay small, and the size limit can take a body and leave the numbers.
_BODIES = """
CREATE TABLE span_bodies (
    id         INTEGER PRIMARY KEY,  -- of the span
    attributes TEXT NOT NULL,        -- JSON object
    events     TEXT,                 -- JSON array; NULL for none
    links      TEXT                  -- JSON array; NULL for none
)
"""

# Everything that `usage` adds up stands in this index, so it reads no row of the table. `is_llm` is a column
# too: without it SQLite looks each row up, although the condition of the index already says it.
_USAGE_INDEX = """
CREATE INDEX spans_usage ON spans (
    is_llm, start_ns, tenant, request_model, response_model, provider, operation, user, session, service,
    is_call, is_error, duration_ns, ttft_ms, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
    reasoning_tokens, cost_nano_usd, cost_status, saved_nano_usd, cache_hit, attempts
) WHERE is_llm = 1
"""

# Records of feedback lie among the spans, as they came; this reads them. The names in quotes are attributes.
_FEEDBACK = """
CREATE VIEW feedback AS
SELECT spans.trace_id AS trace_id,
       CASE WHEN json_extract(attributes, '$."otel_llm.feedback.of"') = 'span' THEN parent_span_id END AS span_id,
       json_extract(attributes, '$."gen_ai.evaluation.name"') AS name,
       json_extract(attributes, '$."gen_ai.evaluation.score.value"') AS value,
       json_extract(attributes, '$."gen_ai.evaluation.score.label"') AS category,
       json_extract(attributes, '$."gen_ai.evaluation.explanation"') AS reason,
       tenant, user, session, start_ns
FROM spans JOIN span_bodies ON span_bodies.id = spans.id
WHERE scope = 'otel_llm.feedback'
"""

MIGRATIONS: Sequence[Migration] = (
    Migration(
        1,
        "spans, their bodies and resources",
        (
            _SPANS,
            _BODIES,
            _USAGE_INDEX,
            "CREATE INDEX spans_tenant_time ON spans (tenant, start_ns) WHERE is_call = 1",
            "CREATE INDEX spans_time ON spans (start_ns)",
            "CREATE TABLE resources (resource_id TEXT PRIMARY KEY, attributes TEXT NOT NULL)",
            "CREATE TABLE deletions (spans INTEGER NOT NULL)",  # one row: what the size limit took as a whole
            "INSERT INTO deletions VALUES (0)",
        ),
    ),
    Migration(
        2,
        "feedback as a view, and its index",
        ("CREATE INDEX spans_feedback ON spans (trace_id) WHERE scope = 'otel_llm.feedback'", _FEEDBACK),
    ),
    # W3C tracestate: a trace that began elsewhere has its time there, from which backends make their ids.
    Migration(3, "tracestate, for replay", ("ALTER TABLE spans ADD COLUMN trace_state TEXT",)),
    Migration(
        4,
        "what the response cache answered was not billed",
        (
            """
            UPDATE spans SET input_tokens = NULL, output_tokens = NULL, cache_read_tokens = NULL,
                             cache_write_tokens = NULL, reasoning_tokens = NULL
            WHERE is_llm = 1 AND cache_hit = 1
            """,
        ),
    ),
)

SCHEMA_VERSION = MIGRATIONS[-1].version


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last step applied to this file; 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Apply the steps that this file lacks, all or none, and return their names.

    `connection` is in autocommit mode. Several processes may do this at once: the write lock is taken before
    the version is read, so each step runs once. Raises StoreError for a file of a newer otel_llm.
    """
    if schema_version(connection) == migrations[-1].version:
        return []
    connection.execute("BEGIN IMMEDIATE")
    try:
        applied = _apply_missing(connection, migrations)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return applied


def _apply_missing(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    found, newest = schema_version(connection), migrations[-1].version
    if found > newest:
        raise StoreError(
            f"The local store has schema version {found}, and this otel_llm knows versions up to {newest}: "
            "a newer otel_llm has written it. Upgrade this installation, or use another store path."
        )
    missing = [step for step in migrations if step.version > found]
    for step in missing:
        for statement in step.statements:
            connection.execute(statement)
    # A pragma takes no parameters; the number is ours.
    connection.execute(f"PRAGMA user_version = {newest:d}")
    return [step.name for step in missing]
