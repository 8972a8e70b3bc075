"""`python -m llmgym` is `llmgym`."""

import sys

from .cli import main

sys.exit(main())
