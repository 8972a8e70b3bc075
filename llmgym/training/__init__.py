"""Training runs. Needs the extra `train`."""

from ..extras import require

require("torch", extra="train", purpose="Training")
require("transformers", extra="train", purpose="Training")

from ..progress import RunProgress  # noqa: E402
from .config import RunConfig, load_config, parse_config  # noqa: E402
from .result import RunResult  # noqa: E402
from .trainer import Trainer  # noqa: E402

__all__ = ["RunConfig", "RunProgress", "RunResult", "Trainer", "load_config", "parse_config"]
