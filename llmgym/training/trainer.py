"""The training loop: collect, learn, hand the weights on, measure."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..episode.register import make_token_env
from ..episode.waiting import run_to_end
from ..errors import ConfigError, DivergenceError, OutputFolderError, SamplerError
from ..evaluation import Evaluation
from ..files import telling_full_disk
from ..learning import Agent, DataKind, Learner
from ..learning.feasibility import require_feasible
from ..learning.flops import update_flops
from ..progress import Phase, RunProgress
from ..registry import AGENTS, TRACKERS
from ..rollout import save_trajectories
from ..sampling import WeightSource
from ..settings import checked_call
from .alarms import AlarmWatch
from .asynchronous import Asynchronous
from .batch import Batch
from .batch_report import BatchReport
from .batch_source import BatchSource, Collection, OneStepOff, Synchronous
from .beginning import begin_with_demonstrations
from .checkpoints import RunCheckpoints, random_states, restore_random_states
from .clock import StepClock
from .config import RunConfig, plain, to_toml
from .endings import DivergenceWatch, has_plateaued, require_finite_weights
from .held_out import HeldOut
from .metrics import MetricsLog, read_metrics
from .mode import Mode, default_correction, require_mode
from .parts import RunParts, build_parts
from .quarantine import Quarantine
from .record import RunRecord, load_held_out, save_held_out, with_advantages
from .result import RunResult, common_full_reward
from .run_folder import forget_after, free_run_folder, is_finished, make_run_folder, trajectories_path, writing_alone
from .saving import leave_good_model, save_model, settle_base
from .stopping import heeding_signals
from .telling import LongPrompts, NewCounts, episode_teller
from .together import MakeLearner, run_together

_EVALUATION = 2
"""Of the streams that a run's seed is split into."""


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
        require_mode(config.training, self.agent, self.learner_config.correction)

    def run(self) -> RunResult:
        """Do it, from the start.

        Raises:
            OutputFolderError: the output folder is not empty; nothing was written.
            InfrastructureError: a whole batch failed for reasons of our own.
            PromptTooLong: no prompt of a whole batch leaves room for an answer.
            CheckpointError: a checkpoint cannot be written.
        """

        def begin(make_learner: MakeLearner) -> RunResult:
            folder = free_run_folder(self.config.output, self.config.environments[0].label.rpartition("/")[2])
            return self._run(folder, make_learner, is_new=True)

        return run_together(self.config, self.learner_config, begin)

    def resume(self, folder: str | Path) -> RunResult:
        """Go on with a run that was stopped or killed, from its newest checkpoint, or anew where it wrote none yet.

        On the CPU, with `rollout.deterministic` and synchronous training, it comes to the same bits as if nothing had
        happened. In other modes, what was sampled and not learned from is sampled again.

        Raises:
            OutputFolderError: the run is finished, or another process is at it.
            CheckpointError: its newest checkpoint is damaged, or of another run or version.
        """

        def go_on(make_learner: MakeLearner) -> RunResult:
            if is_finished(Path(folder)):
                raise OutputFolderError(
                    f"The run in {str(folder)!r} is finished, so there is nothing to go on with. Its figures and its "
                    f"report are told by: llmgym show {folder}"
                )
            return self._run(Path(folder), make_learner, is_new=False)

        return run_together(self.config, self.learner_config, go_on)

    def _run(self, folder: Path, make_learner: MakeLearner, *, is_new: bool) -> RunResult:
        self._make_learner = make_learner
        started_at, started = datetime.now().astimezone(), time.perf_counter()
        trackers = [TRACKERS.lookup(name) for name in self.config.trackers]
        text = to_toml(self.config)
        # Before anything is written: a setting that is wrong leaves no folder behind.
        with closing(self._build()) as self._parts, self._folder(folder, text, is_new=is_new):
            device = str(self._parts.policy.device)
            self._checkpoints = RunCheckpoints(folder, self.config.checkpoint, run=text)
            checkpoint = None if is_new else self._checkpoints.load()
            forget_after(folder, checkpoint["step"] if checkpoint else -1)
            position = checkpoint["metrics_position"] if checkpoint else 0
            log = MetricsLog(folder, [track(folder, plain(self.config)) for track in trackers], position=position)
            with closing(log) as self._log, heeding_signals(self._tell_of_stop) as self._stop:
                if checkpoint is None:
                    begin_with_demonstrations(
                        self.config, self._parts, make_learner=make_learner, log=self._log, progress=self.progress
                    )
                self._base = ""
                if self.learner_config.lora is not None:
                    self._base = settle_base(self.config, self._parts, folder, is_new=checkpoint is None)
                self._held_out = HeldOut(
                    parts=self._parts,
                    sampling=self._rollout.sampling,
                    seed=self.config.seed * 1000 + _EVALUATION,
                    full_reward=self._full_reward,
                    log=self._log,
                    alarms=self._alarms,
                    long_prompts=self._long_prompts,
                    progress=self.progress,
                )
                self._batch_report = BatchReport(
                    parts=self._parts,
                    quarantine=self._quarantine,
                    long_prompts=self._long_prompts,
                    full_reward=self._full_reward,
                    is_synchronous=self.config.training.is_synchronous,
                    log=self._log,
                    progress=self.progress,
                )
                self._source = self._make_source()
                before, after, is_complete = run_to_end(self._train_and_close(folder, checkpoint))
            if is_complete:
                save_model(self._parts, folder / "model", base=self._base)
                RunRecord(
                    started=started_at.isoformat(timespec="seconds"),
                    seconds=time.perf_counter() - started,
                    num_parameters=self._parts.num_parameters,
                    device=device,
                    full_reward=self._full_reward,
                ).write(folder)
        return RunResult(folder, before, after, self._parts.tokenizer, is_complete)

    def _build(self) -> RunParts:
        config = self.config
        if config.model.path:  # which may have to be downloaded
            self.progress.line(f"loading {config.model.path}")
        parts = build_parts(config)
        if self.learner_config.correction is None and (not parts.shares_model or not config.training.is_synchronous):
            correction = default_correction(self.agent, config.training)
            self.learner_config = replace(self.learner_config, correction=correction)
        if not config.training.is_synchronous:
            parts.separate_models()
        self._alarms, self._long_prompts = AlarmWatch(config.alarms), LongPrompts(self.progress)
        self._quarantine, self._new_counts = Quarantine(config.quarantine, parts.mixture), NewCounts(parts.collector)
        self._divergence = DivergenceWatch(config.ending.max_norm_growth)
        self.progress.line(
            f"{config.env_label}, {parts.num_parameters:,} parameters, "
            f"agent {config.agent['name']}, seed {config.seed}, llmgym {version('llmgym')}, torch {torch.__version__}"
        )
        return parts

    @contextmanager
    def _folder(self, folder: Path, text: str, *, is_new: bool) -> Iterator[None]:
        """The run folder, which no other process may write while this one does."""
        with telling_full_disk(folder, remedy=f"go on with: llmgym train --resume {folder}"):
            if is_new:
                make_run_folder(folder, text)
            with writing_alone(folder):
                yield

    def _tell_of_stop(self, signal_name: str) -> None:
        self.progress.line(f"{signal_name}: the step under way is finished and saved; once more stops at once.")

    async def _train_and_close(
        self, folder: Path, checkpoint: Mapping[str, Any] | None
    ) -> tuple[dict[str, Evaluation], dict[str, Evaluation], bool]:
        try:
            return await self._train(folder, checkpoint)
        finally:
            try:
                await self._source.close()
            finally:
                await self._parts.close_sampler()

    async def _train(
        self, folder: Path, checkpoint: Mapping[str, Any] | None
    ) -> tuple[dict[str, Evaluation], dict[str, Evaluation], bool]:
        """The algorithm: each step takes a batch, collected as `training.mode` says, and learns from it once.

        Returns:
            The evaluations before the first step and after the last, and whether there was no request to stop.
        """
        config = self.config
        learner = self._make_learner(self._parts.policy, self.agent, self.learner_config)
        if learner.ranks.count > 1:
            self.progress.line(f"{learner.ranks.count} processes learn together")
        if learner.kernels:
            self.progress.line(learner.kernels)
        self._parts.adopt(learner)
        if checkpoint is None:
            self._num_samples, done = 0, 0
            await self._begin_sampling(learner, version=0)  # with what the cold start made of the weights
            with self.progress.phase("evaluation", 2 * self._held_out.num_tasks) as phase:
                before = after = await self._held_out.evaluate(0, lambda trajectory: phase.advance())  # noqa: ARG005
            save_held_out(folder, "before", before)
            self._save(folder, learner, 0, after, is_evaluated=True)
        else:
            done = await self._restore(folder, learner, checkpoint)
            before, after = (load_held_out(folder, name, self._full_reward) for name in ("before", "after"))
        with self.progress.phase("training", config.steps) as phase:
            for step in range(1, done + 1):
                phase.advance(f"step {step} was done before")
            is_over = self._has_plateaued()  # of a run that was killed before it wrote its model
            for step in range(done + 1, 0 if is_over else config.steps + 1):
                if self._stop.is_made:
                    return before, after, False
                is_evaluated = step % config.evaluation.every == 0 or step == config.steps
                try:
                    batch = await self._step(learner, step, phase)
                    if is_evaluated:
                        require_finite_weights(learner)
                        kept = (with_advantages(trajectory, learner.last_advantages) for trajectory in batch.drawn)
                        save_trajectories(trajectories_path(folder, step), kept)
                        after = await self._held_out.evaluate(step)
                except (DivergenceError, SamplerError) as error:
                    if isinstance(error, SamplerError) and learner.has_finite_weights:
                        raise
                    leave_good_model(self._parts, folder, self._checkpoints.load(best=True), error, base=self._base)
                for alarm in self._alarms.ring(step):
                    self._log.log("alarm", step, {"name": alarm.name, "text": alarm.text})
                    self.progress.line(f"step {step}: ALARM: {alarm.text}")
                is_over = step == config.steps
                if is_evaluated and self._has_plateaued():
                    is_over, told = True, f"no new best held-out success in {config.ending.patience} evaluations"
                    self._log.log("ending", step, {"text": f"{told}; the run ends"})
                    self.progress.line(f"step {step}: {told}; the run ends.")
                is_due = step % config.checkpoint.every == 0 or is_over or self._stop.is_made
                if is_due and not self._divergence.is_suspicious and learner.has_finite_weights:
                    self._save(folder, learner, step, after, is_evaluated=is_evaluated)
                if is_over:
                    break
        await self._source.close()  # after a plateau something is under way, for nothing
        if config.ending.model == "best":
            after = await self._go_back_to_best(folder, learner)
        learner.copy_back()
        return before, after, True

    def _has_plateaued(self) -> bool:
        """Whether held-out success rises no more."""
        ending, success = self.config.ending, [row["success"] for row in self._alarms.evaluations]
        return has_plateaued(success, patience=ending.patience, min_rise=ending.min_rise)

    async def _go_back_to_best(self, folder: Path, learner: Learner) -> dict[str, Evaluation]:
        """The weights of the best checkpoint, and what they come to."""
        best = self._checkpoints.load(best=True)
        assert best is not None  # that of step 0, at least
        learner.load_state_dict(best["learner"])
        await self._begin_sampling(learner, version=best["step"])
        self.progress.line(f"the model is that of step {best['step']}, the best on held-out tasks:")
        after = await self._held_out.evaluate(best["step"], phase="best")
        save_held_out(folder, "after", after)
        return after

    def _make_source(self) -> BatchSource:
        collection = Collection(
            self.config,
            self._parts,
            self.agent,
            on_episode=lambda step: episode_teller(self._phase, step),
            is_stopping=lambda: self._stop.is_made,
        )
        makers: dict[Mode, Callable[[Collection], BatchSource]] = {
            "synchronous": Synchronous,
            "one-step-off": OneStepOff,
            "asynchronous": Asynchronous,
        }
        return makers[self.config.training.mode](collection)

    def _weights_of(self, learner: Learner) -> WeightSource:
        """As the sampler takes them: an adapter alone, or all."""
        return learner.weight_source(merge=not getattr(self._parts.sampler, "takes_adapters", False))

    async def _begin_sampling(self, learner: Learner, *, version: int) -> None:
        """Give the sampler its first weights, those below an adapter among them."""
        sampler = self._parts.sampler
        learner.agreement.sampler_dtype = getattr(sampler, "dtype", None)
        learner.agreement.looks_back = not self.config.training.is_synchronous
        weights = self._weights_of(learner)
        if weights.is_adapter:
            await sampler.update_weights(learner.base_weight_source(), version=version)
        await sampler.update_weights(weights, version=version)

    async def _step(self, learner: Learner, step: int, phase: Phase) -> Batch:
        """Collect, learn, hand the weights on, and log."""
        clock, self._phase = StepClock(self._parts.collector, learner.policy.device), phase
        batch = await self._source.batch(step)
        described = self._batch_report.metrics(step, batch)
        learner.weight_version = step - 1
        with clock.learning():
            update = partial(learner.update, batch.groups, is_selected=True) if batch.groups else dict[str, float]
            metrics = await self._source.learn(step, update)
        metrics |= await self._source.hand_over(self._weights_of(learner), version=step)

        self._num_samples += len(batch.drawn)
        num_learned = metrics.get("num_action_tokens", 0.0)
        num_sampled = sum(trajectory.num_actions for trajectory in batch.drawn)
        flops = partial(update_flops, learner, batch.groups)
        speeds = clock.metrics(num_sampled=num_sampled, num_learned=num_learned, flops=flops)
        metrics |= described | {"num_samples": self._num_samples} | speeds | self._new_counts.take()
        self._log.log("train", step, metrics)
        self._alarms.add_step(step, metrics)
        self._divergence.add(metrics)
        phase.advance(f"reward {metrics['reward']:.3f}  entropy {metrics.get('entropy', 0.0):.3f}")
        return batch

    def _save(
        self, folder: Path, learner: Learner, step: int, newest: Mapping[str, Evaluation], *, is_evaluated: bool
    ) -> None:
        """Write a checkpoint: all that the rest of the run depends on."""
        save_held_out(folder, "after", newest)
        state = {
            "learner": learner.state_dict(),
            "tasks": self._source.task_state(),
            "curriculum": self._parts.curriculum.state_dict() if self._parts.curriculum is not None else None,
            "alarms": self._alarms.state_dict(),
            "quarantine": self._quarantine.state_dict(),
            "divergence": self._divergence.state_dict(),
            "num_samples": self._num_samples,
            "has_warned": self._long_prompts.has_warned,
            "random": random_states(),
            "metrics_position": self._log.position(),
        }
        self._checkpoints.save(step, state, success=newest["sampled"].success.value if is_evaluated else None)

    async def _restore(self, folder: Path, learner: Learner, checkpoint: Mapping[str, Any]) -> int:
        """Go on from a checkpoint; returns the steps that are done."""
        step: int = checkpoint["step"]
        self._source.load_task_state(checkpoint["tasks"])
        if self._parts.curriculum is not None:
            self._parts.curriculum.load_state_dict(checkpoint["curriculum"])
        evaluations = [row for row in read_metrics(self._log.path, "evaluation") if row["decoding"] == "sampled"]
        self._alarms.load_state_dict(checkpoint["alarms"], read_metrics(self._log.path, "train"), evaluations)
        self._quarantine.load_state_dict(checkpoint["quarantine"])
        self._divergence.load_state_dict(checkpoint["divergence"])
        self._num_samples, self._long_prompts.has_warned = checkpoint["num_samples"], checkpoint["has_warned"]
        learner.load_state_dict(checkpoint["learner"])
        await self._begin_sampling(learner, version=step)
        restore_random_states(checkpoint["random"])
        self.progress.line(f"going on in {folder} after step {step} of {self.config.steps}")
        return step
