"""How fast are token steps through `gym.make`, beside an environment that does nothing?

Prints one JSON line. Both environments are made the same way, with Gymnasium's default wrappers and the action space
Discrete(151,936), and stepped in turn in one process, so that a busy machine slows both. Ratios are steps per second
of llmgym over those of the trivial environment; times are medians over the rounds, without resets.

    python benchmarks/token_steps.py [--rounds 15]
"""

import argparse
import json
import os
import platform
import statistics
import time
from typing import Any

import gymnasium as gym
import numpy as np

import llmgym

VOCABULARY = 151_936
CONTEXT = 4096
LENGTHS = (128, 512, 2048, 4096)
STEPS = 16_384
"""Timed steps of each environment in a round."""


class Trivial(gym.Env[Any, Any]):
    """Observes the action and never ends."""

    action_space = observation_space = gym.spaces.Discrete(VOCABULARY)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return 0, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return action, 0.0, False, False, {}


class Endless(llmgym.MessageEnv):
    """One empty task that any answer ends."""

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=split, prompt="")])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        del rng
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        del message
        return llmgym.EnvResponse(terminated=True)


def make_llmgym(observation: str) -> gym.Env[Any, Any]:
    """An environment whose segments hold `CONTEXT` ids."""
    return gym.make(
        "benchmark/Endless-v0",
        observation=observation,
        tokenizer=llmgym.ByteTokenizer(VOCABULARY),
        limits={"turn_tokens": CONTEXT, "episode_tokens": CONTEXT, "context_tokens": CONTEXT},
    )


def seconds_per_step(env: gym.Env[Any, Any], actions: list[Any], num_episodes: int) -> float:
    """Mean time of a step over whole episodes, resets left out."""
    elapsed = 0.0
    for _ in range(num_episodes):
        env.reset()
        begin = time.perf_counter()
        for action in actions:
            env.step(action)
        elapsed += time.perf_counter() - begin
    return elapsed / (num_episodes * len(actions))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="measurements of which the median is taken")
    rounds = parser.parse_args().rounds

    llmgym.register_env("benchmark/Endless-v0", Endless)
    gym.register("benchmark/Trivial-v0", Trivial)
    rng = np.random.default_rng(0)
    # The prompt takes a few ids of the context; the last of the episode's ids is never reached, so nothing ends it.
    ids = rng.integers(256, size=CONTEXT - 16).tolist()
    numpy_ids = list(np.array(ids))
    trivial, last, full = gym.make("benchmark/Trivial-v0"), make_llmgym("last"), make_llmgym("full")
    cases: dict[str, tuple[gym.Env[Any, Any], list[Any]]] = {
        "trivial": (trivial, ids),
        "last": (last, ids),
        "full": (full, ids),
        "trivial, numpy actions": (trivial, numpy_ids),
        "last, numpy actions": (last, numpy_ids),
        "full, numpy actions": (full, numpy_ids),
    }
    for length in LENGTHS:
        cases[f"last {length}"] = (last, ids[:length])
        cases[f"full {length}"] = (full, ids[:length])

    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (env, actions) in cases.items():
            times[name].append(seconds_per_step(env, actions, max(1, STEPS // len(actions))))
    median = {name: statistics.median(values) for name, values in times.items()}

    def ratio(name: str, suffix: str = "") -> float:
        return round(median[f"trivial{suffix}"] / median[name + suffix], 3)

    def spread(name: str) -> list[float]:
        ratios = sorted(base / own for base, own in zip(times["trivial"], times[name], strict=True))
        return [round(ratios[len(ratios) // 4], 3), round(ratios[3 * len(ratios) // 4], 3)]

    numpy_actions = ", numpy actions"
    result = {
        "benchmark": "token_steps",
        "vocabulary": VOCABULARY,
        "context_tokens": CONTEXT,
        "rounds": rounds,
        "steps_per_second": {name: round(1 / median[name]) for name in ("trivial", "last", "full")},
        "ratio_last": ratio("last"),
        "ratio_full": ratio("full"),
        "ratio_quartiles": {name: spread(name) for name in ("last", "full")},
        "ratio_last_numpy_actions": ratio("last", numpy_actions),
        "ratio_full_numpy_actions": ratio("full", numpy_actions),
        "microseconds_per_step_by_episode_length": {
            kind: {length: round(1e6 * median[f"{kind} {length}"], 3) for length in LENGTHS}
            for kind in ("last", "full")
        },
        "targets": {"ratio_last": 0.5, "ratio_full": 0.2},
        "hardware": f"{os.cpu_count()} x {platform.machine()}",
        "python": platform.python_version(),
        "gymnasium": gym.__version__,
        "meets_targets": ratio("last") >= 0.5 and ratio("full") >= 0.2,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
