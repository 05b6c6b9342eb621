"""Answers that a provider keeps can be found by their id."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("attempts_kept", "attempts", ["upstream_id"], sqlite_where=sa.text("protocol = 'openai-responses'"))


def downgrade() -> None:
    op.drop_index("attempts_kept", "attempts")
