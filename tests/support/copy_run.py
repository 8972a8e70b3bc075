"""A run of the least that a run can be."""

from typing import Any

from llmgym.training import RunProgress

QUIET = RunProgress(quiet=True)
COPY_RUN: dict[str, Any] = {
    "env": "llmgym/Copy-v0",
    "env_kwargs": {"limits": {"turn_tokens": 6, "episode_tokens": 6, "context_tokens": 64}},
    "model": {"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
    "agent": {"name": "grpo", "group_size": 2},
    "rollout": {"tasks_per_step": 2},
    "evaluation": {"every": 1, "num_tasks": 2},
    "checkpoint": {"every": 1},
    "trackers": [],
    "threads": 1,
}
