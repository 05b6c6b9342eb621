"""The tables. Times are epoch microseconds, money is nano-USD, both BIGINT: SQLite drops time zones, floats drop cents.

Ids of calls begin with their time, so that the primary key of `calls` and `attempts` is their order in time, and on
SQLite the table itself (no rowid): a row costs one tree less.

Organisation, team, environment and user stand in every row from the first day on; they are "default" until there
are others. A change here comes with a migration beside it.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, text

metadata = MetaData()

KEPT = "protocol = 'openai-responses'"  # attempts whose provider keeps the answer, for requests that go on from it


def _owners() -> list[Column[str]]:
    names = ("organization_id", "team_id", "environment_id", "user_id")
    return [Column(name, String, nullable=False, server_default="default") for name in names]


keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the secret
    Column("prefix", String, nullable=False),
    Column("last_four", String, nullable=False),
    Column("scopes", String, nullable=False),  # separated by spaces
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
    *_owners(),
)

# One row: how often keys have changed. Other processes watch it.
key_generation = Table("key_generation", metadata, Column("generation", BigInteger, nullable=False))

calls = Table(
    "calls",
    metadata,
    Column("id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("protocol", String, nullable=False),
    Column("model", String),  # as requested
    Column("provider", String),  # of the attempt that answered
    Column("upstream_model", String),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("first_content_us", BigInteger),
    Column("ended_us", BigInteger, nullable=False),
    *_owners(),
    Column("error_code", String),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("call_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("provider", String, nullable=False),
    Column("model", String, nullable=False),  # as the provider calls it
    Column("protocol", String, nullable=False),
    Column("credential_id", String, nullable=False),
    Column("sends", Integer, nullable=False),
    Column("status", Integer),
    Column("outcome", String, nullable=False),
    Column("finish_reason", String),
    Column("upstream_id", String),
    Column("upstream_model", String),
    Column("upstream_request_id", String),
    Column("started_us", BigInteger, nullable=False),
    Column("first_content_us", BigInteger),
    Column("ended_us", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("estimated", Boolean, nullable=False),  # the provider told no usage
    Column("stream", BigInteger, nullable=False, server_default="0"),  # 1: the client asked for a stream
    Column("request_bytes", BigInteger, nullable=False, server_default="0"),  # of the client's body
    Column("content_bytes", BigInteger, nullable=False, server_default="0"),  # of the answer, as it came
    *_owners(),
    Column("error_code", String),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cache_write_1h_tokens", BigInteger, nullable=False, server_default="0"),
    Column("reasoning_tokens", BigInteger, nullable=False, server_default="0"),
    Column("input_audio_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_audio_tokens", BigInteger, nullable=False, server_default="0"),
    Column("input_image_tokens", BigInteger, nullable=False, server_default="0"),
    Column("output_image_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cost_nano_usd", BigInteger),  # NULL: there was no price
    Index("attempts_kept", "upstream_id", sqlite_where=text(KEPT)),
    sqlite_with_rowid=False,
)

# Up to where a journal's records are in the tables above; written in the same transaction as they.
journal_cursors = Table(
    "journal_cursors",
    metadata,
    Column("journal", String, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)

# Records that a sink could not take, kept for somebody to look at.
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", String, primary_key=True),
    Column("sink", String, nullable=False),
    Column("call_id", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("record", String, nullable=False),  # JSON: {"attempt": {…} or null, "call": {…} or null}
    Column("failed_us", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("wanted", Integer, nullable=False),  # 1: it shall be tried again
    Index("dead_letters_wanted", "sink", sqlite_where=text("wanted = 1")),
)
