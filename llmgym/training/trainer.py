"""The training loop: collect, learn, hand the weights on, measure."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..episode import TokenEnv, Trajectory
from ..episode.register import make_token_env
from ..episode.waiting import run_to_end
from ..errors import ConfigError
from ..evaluation import Evaluation
from ..learning import Agent, DataKind, Learner, load_with_tokenizer, save_policy, with_tokenizer
from ..learning.feasibility import require_feasible
from ..learning.update_metrics import describe_groups
from ..messages import Tokenizer
from ..progress import Phase, RunProgress
from ..registry import AGENTS, SAMPLERS, TRACKERS
from ..rollout import (
    Collector,
    EnvPool,
    Tally,
    TaskMixture,
    groups_of,
    has_too_long_prompt,
    plan_groups,
    save_trajectories,
    whole_shares,
)
from ..sampling import SamplingParams
from ..settings import checked_call
from .alarms import AlarmWatch
from .batch import Batch, collect_batch
from .clock import StepClock
from .cold_start import make_demonstrations, run_cold_start
from .config import RunConfig, plain, to_toml
from .curriculum import Curriculum
from .describe import describe_by_env, describe_episodes
from .device import move
from .metrics import MetricsLog
from .record import RunRecord, save_held_out, with_advantages
from .run_folder import free_run_folder, make_run_folder
from .tiny_model import build_character_tokenizer, build_tiny_model

_GREEDY = SamplingParams(temperature=0.0)

# The streams that a run's seed is split into.
_ROLLOUTS, _EVALUATION = 1, 2


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run came to."""

    folder: Path
    """Config, metrics, trajectories and `model/`, which `AutoModelForCausalLM.from_pretrained` loads."""
    before: Mapping[str, Evaluation]
    """Held-out tasks before the agent's first step: "sampled" and "greedy"."""
    after: Mapping[str, Evaluation]
    """The same tasks after its last step."""
    tokenizer: Tokenizer
    """That of the model."""


class Trainer:
    """Runs a `RunConfig` from start to end.

    Args:
        config: everything that the run is.
        progress: where it shows how it goes.

    Raises:
        ConfigError: the parts named do not exist or do not fit each other.
    """

    def __init__(self, config: RunConfig, *, progress: RunProgress | None = None) -> None:
        self.config = config
        self.progress = progress or RunProgress()
        settings = {name: value for name, value in config.agent.items() if name != "name"}
        self.agent: Agent = checked_call(AGENTS.lookup(config.agent["name"]), settings, where="agent")
        if self.agent.data is not DataKind.ROLLOUTS or self.agent.rollout is None:
            raise ConfigError(
                f"The agent {config.agent['name']!r} learns from {self.agent.data}, but a training run makes rollouts. "
                "Use an online agent such as 'grpo'; demonstrations belong into [cold_start]."
            )
        self._rollout = self.agent.rollout
        envs = {env.label: make_token_env(env.id, **env.kwargs) for env in config.environments}
        self._full_reward = _common_full_reward(envs)
        steps = config.steps * self._rollout.epochs * self._rollout.minibatches
        max_actions = max(env.limits.max_actions for env in envs.values())
        self.learner_config = config.learner_config(total_steps=steps, max_actions=max_actions)
        require_feasible(self.agent, self.learner_config)

    def run(self) -> RunResult:
        """Do it.

        Raises:
            OutputFolderError: the output folder is not empty; nothing was written.
            InfrastructureError: a whole batch failed for reasons of our own.
            PromptTooLong: no prompt of a whole batch leaves room for an answer.
        """
        started_at, started = datetime.now().astimezone(), time.perf_counter()
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        folder = free_run_folder(self.config.output, self.config.environments[0].label.rpartition("/")[2])
        trackers = [TRACKERS.lookup(name) for name in self.config.trackers]
        self._build()  # before anything is written: a setting that is wrong leaves no folder behind
        make_run_folder(folder)
        self._log = MetricsLog(folder, [track(folder, plain(self.config)) for track in trackers])
        (folder / "config.toml").write_text(to_toml(self.config), encoding="utf-8")
        try:
            if self.config.cold_start is not None:
                self._cold_start()
            before, after = run_to_end(self._train(folder))
            self._save_model(folder / "model")
        finally:
            self._log.close()
            self._collector.close()
        save_held_out(folder, "before", before)
        save_held_out(folder, "after", after)
        RunRecord(
            started=started_at.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - started,
            num_parameters=self._num_parameters,
            device=str(self._policy.device),
            full_reward=self._full_reward,
        ).write(folder)
        return RunResult(folder, before, after, self._tokenizer)

    def _build(self) -> None:
        config = self.config
        if config.model.path:
            self._policy, self._tokenizer = load_with_tokenizer(config.model.path)
        else:
            backend = build_character_tokenizer()
            model = build_tiny_model(config.model.tiny, backend, seed=config.seed)
            self._policy, self._tokenizer = with_tokenizer(model, backend)
        move(self._policy.module, config.model.device, config.model.dtype)
        self._sampler = SAMPLERS.lookup(config.sampler)(
            self._policy.module,
            num_tokens=self._policy.num_tokens,
            max_batch=config.rollout.concurrency,
            tokenizer=self._tokenizer,
        )
        pools = [
            EnvPool(env.id, name=env.label, tokenizer=self._tokenizer, env_kwargs=env.kwargs)
            for env in config.environments
        ]
        self._collector = Collector(
            pools,
            self._sampler,
            concurrency=config.rollout.concurrency,
            deterministic=config.rollout.deterministic,
            retries=config.rollout.retries,
        )
        weights = {env.label: env.weight for env in config.environments}
        self._mixture = TaskMixture({pool.name: pool.tasks("train") for pool in pools}, weights, seed=config.seed)
        self._curriculum = Curriculum(config.curriculum, weights) if config.curriculum is not None else None
        split, num_tasks = config.evaluation.split, config.evaluation.num_tasks
        self._held_out = [(pool.name, task) for pool in pools for task in pool.tasks(split).first(num_tasks)]
        self._alarms = AlarmWatch(config.alarms)
        self._has_warned_of_long_prompts = False
        self.progress.line(
            f"{config.env_label}, {self._num_parameters:,} parameters, "
            f"agent {config.agent['name']}, seed {config.seed}, llmgym {version('llmgym')}, torch {torch.__version__}"
        )

    def _cold_start(self) -> None:
        config = self.config.cold_start
        assert config is not None
        seed, demonstrations = self.config.seed, list[Trajectory]()
        with self.progress.phase("demonstrations", config.num_demonstrations) as phase:
            for name, count in whole_shares(self._mixture.weights, config.num_demonstrations).items():
                env, cursor = self._collector.pool(name).example, self._mixture.cursor(name)
                part = replace(config, num_demonstrations=count)
                for demonstration in make_demonstrations(env, cursor, part, seed=seed):
                    demonstrations.append(demonstration)
                    phase.advance()
        with self.progress.phase("cold start", config.steps) as phase:

            def on_step(step: int, metrics: Mapping[str, float]) -> None:
                self._log.log("cold_start", step, metrics)
                phase.advance(f"loss {metrics['loss']:.3f}")

            run_cold_start(self._policy, demonstrations, config, seed=seed, on_step=on_step)

    async def _train(self, folder: Path) -> tuple[dict[str, Evaluation], dict[str, Evaluation]]:
        """The algorithm: each step collects a batch with the newest weights and learns from it once."""
        config = self.config
        learner = Learner(self._policy, self.agent, self.learner_config)
        with self.progress.phase("evaluation", 2 * len(self._held_out)) as phase:
            before = after = await self._evaluate(0, lambda trajectory: phase.advance())  # noqa: ARG005
        num_samples = 0
        with self.progress.phase("training", config.steps) as phase:
            for step in range(1, config.steps + 1):
                clock = StepClock(self._collector)
                batch = await collect_batch(
                    self._collector,
                    self._mixture,
                    self.agent,
                    self._rollout,
                    num_groups=config.rollout.tasks_per_step,
                    seed=(config.seed, _ROLLOUTS, step),
                    on_episode=self._teller(phase, step),
                )
                described = self._describe(step, batch)
                with clock.learning():
                    metrics = learner.update(batch.groups, is_selected=True) if batch.groups else {}
                await self._sampler.update_weights(learner.weight_source(), version=step)

                num_samples += len(batch.drawn)
                num_learned = metrics.get("num_action_tokens", 0.0)
                num_sampled = sum(trajectory.num_actions for trajectory in batch.drawn)
                speeds = clock.metrics(num_sampled=num_sampled, num_learned=num_learned)
                metrics |= described | {"num_samples": num_samples} | speeds
                self._log.log("train", step, metrics)
                self._alarms.add_step(step, metrics)
                phase.advance(f"reward {metrics['reward']:.3f}  entropy {metrics.get('entropy', 0.0):.3f}")
                if step % config.evaluation.every == 0 or step == config.steps:
                    kept = (with_advantages(trajectory, learner.last_advantages) for trajectory in batch.drawn)
                    save_trajectories(folder / "trajectories" / f"step-{step:06d}.jsonl.gz", kept)
                    after = await self._evaluate(step)
                for alarm in self._alarms.ring(step):
                    self._log.log("alarm", step, {"name": alarm.name, "text": alarm.text})
                    self.progress.line(f"step {step}: ALARM: {alarm.text}")
        return before, after

    def _teller(self, phase: Phase, step: int) -> Callable[[Trajectory], None]:
        """Tells people how the collection of a step goes."""
        tally = Tally()

        def tell(trajectory: Trajectory) -> None:
            tally.add(trajectory)
            phase.show(f"step {step}: {tally.num_episodes} episodes, {tally}")

        return tell

    def _describe(self, step: int, batch: Batch) -> dict[str, Any]:
        """Metrics of a batch; the curriculum hears of it, and people of what is odd about it."""
        metrics = describe_episodes(batch.drawn, self._full_reward) | describe_groups(list(groups_of(batch.drawn)))
        metrics |= {
            "num_resample_rounds": batch.num_rounds,
            "num_dropped_groups": batch.num_dropped_groups,
            "num_long_prompts": self._warn_of_long_prompts(step, batch.drawn),
            "is_skipped": int(not batch.groups),
        }
        if not batch.groups:
            self.progress.line(
                f"step {step}: nothing to learn from, as the agent dropped all {batch.num_drawn_groups} groups "
                f"(rounds: {1 + batch.num_rounds}); the step is skipped."
            )
        if len(self._collector.pools) == 1:
            return metrics
        weights = self._mixture.weights
        for name, figures in describe_by_env(batch.drawn, self._full_reward).items():
            metrics |= {f"env/{name}/{key}": value for key, value in figures.items()}
            if self._curriculum is not None and "success" in figures:
                num_valid = int(figures["num_episodes"] - figures["num_invalid"])
                self._curriculum.record(name, figures["success"], num_valid)
        if self._curriculum is not None:
            self._mixture.weights = self._curriculum.weights()
        return metrics | {f"env/{name}/weight": weight for name, weight in weights.items()}

    def _warn_of_long_prompts(self, step: int, trajectories: Sequence[Trajectory]) -> int:
        """How many episodes could not begin; the first time, people are told of one."""
        too_long = [trajectory for trajectory in trajectories if has_too_long_prompt(trajectory)]
        if too_long and not self._has_warned_of_long_prompts:
            self._has_warned_of_long_prompts = True
            self.progress.line(
                f"step {step}: episodes left out for their long prompts: {len(too_long)} of {len(trajectories)} "
                f"(later ones are counted in metrics.jsonl). {too_long[0].metadata['problem']}"
            )
        return len(too_long)

    @property
    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._policy.module.parameters())

    async def _evaluate(
        self, step: int, on_episode: Callable[[Trajectory], None] | None = None
    ) -> dict[str, Evaluation]:
        """The held-out tasks of all environments, sampled as in training and greedy."""
        names, tasks = [name for name, _ in self._held_out], [task for _, task in self._held_out]
        seed = self.config.seed * 1000 + _EVALUATION
        plans = plan_groups(tasks, group_size=1, seed=(seed,), envs=names)
        results: dict[str, Evaluation] = {}
        for decoding, sampling in (("sampled", self._rollout.sampling), ("greedy", _GREEDY)):
            trajectories = await self._collector.run(plans, sampling, on_episode=on_episode)
            self._warn_of_long_prompts(step, trajectories)
            results[decoding] = Evaluation(tuple(trajectories), self._full_reward)
            summary = results[decoding].summary()
            if len(self._collector.pools) > 1:
                for name, figures in describe_by_env(trajectories, self._full_reward).items():
                    summary |= {f"env/{name}/{key}": value for key, value in figures.items()}
            self._log.log("evaluation", step, {"decoding": decoding, **summary})
        self._alarms.add_evaluation(step, results["sampled"].summary())
        shown = "  ".join(f"{decoding} {result.success}" for decoding, result in results.items())
        self.progress.line(f"step {step}: held-out success  {shown}")
        return results

    def _save_model(self, folder: Path) -> None:
        """Model and tokenizer in the form that `from_pretrained` loads."""
        save_policy(self._policy.module, folder)
        backend = getattr(self._tokenizer, "backend", None)
        if backend is not None:
            backend.save_pretrained(folder)


def _common_full_reward(envs: Mapping[str, TokenEnv]) -> float:
    """The full reward of the environments, which is one: rewards of different scales in one batch mean nothing.

    Raises:
        ConfigError: it is not one.
    """
    rewards = {name: env.message_env.reward_range[1] for name, env in envs.items()}
    if len(set(rewards.values())) > 1:
        told = ", ".join(f"{name} pays {reward:g}" for name, reward in rewards.items())
        raise ConfigError(
            f"The environments of a run must pay the same full reward, but {told}. Scale rewards and reward_range."
        )
    return next(iter(rewards.values()))
