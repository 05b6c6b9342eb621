"""What the journal needs: where its readers stand, what they cannot take, and what an estimate can learn from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ADDED = ("stream", "request_bytes", "content_bytes", "input_image_tokens", "output_image_tokens")


def upgrade() -> None:
    for name in _ADDED:
        op.add_column("attempts", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.drop_index("calls_key_started", "calls")
    op.create_table(
        "journal_cursors",
        sa.Column("journal", sa.String, primary_key=True),
        sa.Column("segment", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("sink", sa.String, nullable=False),
        sa.Column("call_id", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("record", sa.String, nullable=False),
        sa.Column("failed_us", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
    )
    op.create_index("dead_letters_wanted", "dead_letters", ["sink"], sqlite_where=sa.text("wanted = 1"))


def downgrade() -> None:
    op.drop_table("dead_letters")
    op.drop_table("journal_cursors")
    op.create_index("calls_key_started", "calls", ["key_id", "started_us"])
    for name in reversed(_ADDED):
        op.drop_column("attempts", name)
