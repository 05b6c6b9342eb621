"""Keys, calls and attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _owners() -> list[sa.Column[str]]:
    names = ("organization_id", "team_id", "environment_id", "user_id")
    return [sa.Column(name, sa.String, nullable=False, server_default="default") for name in names]


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("last_four", sa.String, nullable=False),
        sa.Column("scopes", sa.String, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_us", sa.BigInteger),
        *_owners(),
    )
    generation = op.create_table("key_generation", sa.Column("generation", sa.BigInteger, nullable=False))
    op.bulk_insert(generation, [{"generation": 0}])
    op.create_table(
        "calls",
        sa.Column("id", sa.String, primary_key=True),
        *_owners(),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("operation", sa.String, nullable=False),
        sa.Column("protocol", sa.String, nullable=False),
        sa.Column("model", sa.String),
        sa.Column("provider", sa.String),
        sa.Column("upstream_model", sa.String),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("first_content_us", sa.BigInteger),
        sa.Column("ended_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("calls_key_started", "calls", ["key_id", "started_us"])
    counts = (
        "input_tokens output_tokens cached_tokens cache_write_tokens cache_write_1h_tokens reasoning_tokens"
        " input_audio_tokens output_audio_tokens"
    ).split()
    op.create_table(
        "attempts",
        sa.Column("call_id", sa.String, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        *_owners(),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("provider", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("protocol", sa.String, nullable=False),
        sa.Column("credential_id", sa.String, nullable=False),
        sa.Column("sends", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("finish_reason", sa.String),
        sa.Column("upstream_id", sa.String),
        sa.Column("upstream_model", sa.String),
        sa.Column("upstream_request_id", sa.String),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("first_content_us", sa.BigInteger),
        sa.Column("ended_us", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in counts),
        sa.Column("estimated", sa.Boolean, nullable=False),
        sa.Column("cost_nano_usd", sa.BigInteger),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("attempts", "calls", "key_generation", "keys"):
        op.drop_table(table)
