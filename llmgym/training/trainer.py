"""The training loop: collect, learn, hand the weights on, measure."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..episode import Trajectory
from ..episode.register import make_token_env
from ..episode.waiting import run_to_end
from ..errors import ConfigError, OutputFolderError
from ..evaluation import Evaluation
from ..learning import Agent, DataKind, Learner, load_with_tokenizer, save_policy, with_tokenizer
from ..learning.feasibility import require_feasible
from ..learning.update_metrics import describe_groups
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
from .checkpoints import RunCheckpoints, random_states, restore_random_states
from .clock import StepClock
from .cold_start import make_demonstrations, run_cold_start
from .config import RunConfig, plain, to_toml
from .curriculum import Curriculum
from .describe import describe_by_env, describe_episodes
from .device import move
from .metrics import MetricsLog, read_metrics
from .record import RunRecord, load_held_out, save_held_out, with_advantages
from .result import RunResult, common_full_reward
from .run_folder import forget_after, free_run_folder, is_finished, make_run_folder, trajectories_path, writing_alone
from .stopping import heeding_signals
from .tiny_model import build_character_tokenizer, build_tiny_model

_GREEDY = SamplingParams(temperature=0.0)

# The streams that a run's seed is split into.
_ROLLOUTS, _EVALUATION = 1, 2


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
        self._full_reward = common_full_reward(envs)
        steps = config.steps * self._rollout.epochs * self._rollout.minibatches
        max_actions = max(env.limits.max_actions for env in envs.values())
        self.learner_config = config.learner_config(total_steps=steps, max_actions=max_actions)
        require_feasible(self.agent, self.learner_config)

    def run(self) -> RunResult:
        """Do it, from the start.

        Raises:
            OutputFolderError: the output folder is not empty; nothing was written.
            InfrastructureError: a whole batch failed for reasons of our own.
            PromptTooLong: no prompt of a whole batch leaves room for an answer.
            CheckpointError: a checkpoint cannot be written.
        """
        folder = free_run_folder(self.config.output, self.config.environments[0].label.rpartition("/")[2])
        return self._run(folder, is_new=True)

    def resume(self, folder: str | Path) -> RunResult:
        """Go on with a run that was stopped or killed, from its newest checkpoint, or anew where it wrote none yet.

        On the CPU, and with `rollout.deterministic`, it comes to the same bits as if nothing had happened.

        Raises:
            OutputFolderError: the run is finished, or another process is at it.
            CheckpointError: its newest checkpoint is damaged, or of another run or version.
        """
        folder = Path(folder)
        if is_finished(folder):
            raise OutputFolderError(f"The run in {str(folder)!r} is finished, so there is nothing to go on with.")
        return self._run(folder, is_new=False)

    def _run(self, folder: Path, *, is_new: bool) -> RunResult:
        started_at, started = datetime.now().astimezone(), time.perf_counter()
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        trackers = [TRACKERS.lookup(name) for name in self.config.trackers]
        self._build()  # before anything is written: a setting that is wrong leaves no folder behind
        text = to_toml(self.config)
        if is_new:
            make_run_folder(folder, text)
        with closing(self._collector), writing_alone(folder):
            self._checkpoints = RunCheckpoints(folder, self.config.checkpoint, run=text)
            checkpoint = None if is_new else self._checkpoints.load()
            forget_after(folder, checkpoint["step"] if checkpoint else -1)
            position = checkpoint["metrics_position"] if checkpoint else 0
            log = MetricsLog(folder, [track(folder, plain(self.config)) for track in trackers], position=position)
            with closing(log) as self._log, heeding_signals(self._tell_of_stop) as self._stop:
                if self.config.cold_start is not None and checkpoint is None:
                    self._cold_start()
                before, after, is_complete = run_to_end(self._train(folder, checkpoint))
            if is_complete:
                self._save_model(folder / "model")
                RunRecord(
                    started=started_at.isoformat(timespec="seconds"),
                    seconds=time.perf_counter() - started,
                    num_parameters=self._num_parameters,
                    device=str(self._policy.device),
                    full_reward=self._full_reward,
                ).write(folder)
        return RunResult(folder, before, after, self._tokenizer, is_complete)

    def _tell_of_stop(self, signal_name: str) -> None:
        self.progress.line(f"{signal_name}: the step under way is finished and saved; once more stops at once.")

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

    async def _train(
        self, folder: Path, checkpoint: Mapping[str, Any] | None
    ) -> tuple[dict[str, Evaluation], dict[str, Evaluation], bool]:
        """The algorithm: each step collects a batch with the newest weights and learns from it once.

        Returns:
            The evaluations before the first step and after the last, and whether there was no request to stop.
        """
        config = self.config
        learner = Learner(self._policy, self.agent, self.learner_config)
        if checkpoint is None:
            self._num_samples, done = 0, 0
            with self.progress.phase("evaluation", 2 * len(self._held_out)) as phase:
                before = after = await self._evaluate(0, lambda trajectory: phase.advance())  # noqa: ARG005
            save_held_out(folder, "before", before)
            self._save(folder, learner, 0, after)
        else:
            done = await self._restore(folder, learner, checkpoint)
            before, after = (load_held_out(folder, name, self._full_reward) for name in ("before", "after"))
        with self.progress.phase("training", config.steps) as phase:
            for step in range(1, done + 1):
                phase.advance(f"step {step} was done before")
            for step in range(done + 1, config.steps + 1):
                if self._stop.is_made:
                    return before, after, False
                batch = await self._step(learner, step, phase)
                if step % config.evaluation.every == 0 or step == config.steps:
                    kept = (with_advantages(trajectory, learner.last_advantages) for trajectory in batch.drawn)
                    save_trajectories(trajectories_path(folder, step), kept)
                    after = await self._evaluate(step)
                for alarm in self._alarms.ring(step):
                    self._log.log("alarm", step, {"name": alarm.name, "text": alarm.text})
                    self.progress.line(f"step {step}: ALARM: {alarm.text}")
                if step % config.checkpoint.every == 0 or step == config.steps or self._stop.is_made:
                    self._save(folder, learner, step, after)
        return before, after, True

    async def _step(self, learner: Learner, step: int, phase: Phase) -> Batch:
        """Collect, learn, hand the weights on, and log."""
        clock = StepClock(self._collector)
        batch = await collect_batch(
            self._collector,
            self._mixture,
            self.agent,
            self._rollout,
            num_groups=self.config.rollout.tasks_per_step,
            seed=(self.config.seed, _ROLLOUTS, step),
            on_episode=self._teller(phase, step),
        )
        described = self._describe(step, batch)
        with clock.learning():
            metrics = learner.update(batch.groups, is_selected=True) if batch.groups else {}
        await self._sampler.update_weights(learner.weight_source(), version=step)

        self._num_samples += len(batch.drawn)
        num_learned = metrics.get("num_action_tokens", 0.0)
        num_sampled = sum(trajectory.num_actions for trajectory in batch.drawn)
        speeds = clock.metrics(num_sampled=num_sampled, num_learned=num_learned)
        metrics |= described | {"num_samples": self._num_samples} | speeds
        self._log.log("train", step, metrics)
        self._alarms.add_step(step, metrics)
        phase.advance(f"reward {metrics['reward']:.3f}  entropy {metrics.get('entropy', 0.0):.3f}")
        return batch

    def _save(self, folder: Path, learner: Learner, step: int, newest: Mapping[str, Evaluation]) -> None:
        """Write a checkpoint: all that the rest of the run depends on."""
        save_held_out(folder, "after", newest)
        state = {
            "learner": learner.state_dict(),
            "mixture": self._mixture.state_dict(),
            "weights": dict(self._mixture.weights),
            "curriculum": self._curriculum.state_dict() if self._curriculum is not None else None,
            "alarms": self._alarms.state_dict(),
            "num_samples": self._num_samples,
            "has_warned": self._has_warned_of_long_prompts,
            "random": random_states(),
            "metrics_position": self._log.position(),
        }
        self._checkpoints.save(step, state, success=newest["sampled"].success.value)

    async def _restore(self, folder: Path, learner: Learner, checkpoint: Mapping[str, Any]) -> int:
        """Go on from a checkpoint; returns the steps that are done."""
        step: int = checkpoint["step"]
        self._mixture.load_state_dict(checkpoint["mixture"])
        self._mixture.weights = checkpoint["weights"]
        if self._curriculum is not None:
            self._curriculum.load_state_dict(checkpoint["curriculum"])
        evaluations = [row for row in read_metrics(self._log.path, "evaluation") if row["decoding"] == "sampled"]
        self._alarms.load_state_dict(checkpoint["alarms"], read_metrics(self._log.path, "train"), evaluations)
        self._num_samples, self._has_warned_of_long_prompts = checkpoint["num_samples"], checkpoint["has_warned"]
        learner.load_state_dict(checkpoint["learner"])
        await self._sampler.update_weights(learner.weight_source(), version=step)
        restore_random_states(checkpoint["random"])
        self.progress.line(f"going on in {folder} after step {step} of {self.config.steps}")
        return step

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
