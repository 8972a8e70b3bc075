"""What people read after a run. Needs the extra `train`."""

from ..extras import require

require("matplotlib", extra="train", purpose="A report")

from .summary import conversation, held_out_table, write_report  # noqa: E402

__all__ = ["conversation", "held_out_table", "write_report"]
