"""What people read after a run. Needs the extra `train`."""

from ..extras import require

require("matplotlib", extra="train", purpose="A report")

from .data import RunData, read_run  # noqa: E402
from .html import repeat_command, write_html  # noqa: E402
from .summary import conversation, course_table, held_out_table, write_report  # noqa: E402

__all__ = [
    "RunData",
    "conversation",
    "course_table",
    "held_out_table",
    "read_run",
    "repeat_command",
    "write_html",
    "write_report",
]
