"""The training loop: collect, learn, hand the weights on, measure."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import torch

from ..episode import Trajectory
from ..episode.register import make_token_env
from ..episode.waiting import run_to_end
from ..errors import ConfigError, OutputFolderError
from ..evaluation import Evaluation, evaluate_sampler
from ..learning import Agent, DataKind, Learner, load_with_tokenizer, save_policy, with_tokenizer
from ..learning.learner import require_feasible
from ..messages import Tokenizer
from ..progress import RunProgress
from ..registry import AGENTS, SAMPLERS
from ..rollout import Collector, TaskCursor, groups_of, plan_groups, save_trajectories
from ..sampling import SamplingParams
from ..settings import checked_call
from .cold_start import make_demonstrations, run_cold_start
from .config import RunConfig, to_toml
from .metrics import MetricsLog
from .record import RunRecord, save_held_out, with_advantages
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
        steps = config.steps * self._rollout.epochs * self._rollout.minibatches
        limits = make_token_env(config.env.id, **config.env.kwargs).limits
        self.learner_config = config.learner_config(total_steps=steps, max_actions=limits.episode_tokens)
        require_feasible(self.agent, self.learner_config)

    def run(self) -> RunResult:
        """Do it.

        Raises:
            OutputFolderError: the output folder is not empty; nothing was written.
            InfrastructureError: a whole batch failed for reasons of our own.
        """
        started_at, started = datetime.now().astimezone(), time.perf_counter()
        if self.config.threads:
            torch.set_num_threads(self.config.threads)
        folder = free_run_folder(self.config)
        self._build()  # before anything is written: a setting that is wrong leaves no folder behind
        make_run_folder(folder)
        (folder / "config.toml").write_text(to_toml(self.config), encoding="utf-8")
        self._log = MetricsLog(folder)
        try:
            if self.config.cold_start is not None:
                self._cold_start()
            before, after = run_to_end(self._train(folder))
            self._save_model(folder / "model")
        finally:
            self._log.close()
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
        self._sampler = SAMPLERS.lookup(config.sampler)(
            self._policy.module, num_tokens=self._policy.num_tokens, max_batch=config.rollout.concurrency
        )
        self._collector = Collector(
            config.env.id,
            self._sampler,
            tokenizer=self._tokenizer,
            env_kwargs=config.env.kwargs,
            concurrency=config.rollout.concurrency,
            deterministic=config.rollout.deterministic,
            retries=config.rollout.retries,
        )
        self._cursor = TaskCursor(self._collector.tasks("train"), seed=config.seed)
        self._held_out = self._collector.tasks(config.evaluation.split).first(config.evaluation.num_tasks)
        self.progress.line(
            f"{config.env.id}, {self._num_parameters:,} parameters, "
            f"agent {config.agent['name']}, seed {config.seed}, llmgym {version('llmgym')}, torch {torch.__version__}"
        )

    def _cold_start(self) -> None:
        config = self.config.cold_start
        assert config is not None
        env, seed = self._collector.example_env, self.config.seed
        demonstrations: list[Trajectory] = []
        with self.progress.phase("demonstrations", config.num_demonstrations) as phase:
            for demonstration in make_demonstrations(env, self._cursor, config, seed=seed):
                demonstrations.append(demonstration)
                phase.advance()
        with self.progress.phase("cold start", config.steps) as phase:

            def on_step(step: int, metrics: Mapping[str, float]) -> None:
                self._log.log("cold_start", step, metrics)
                phase.advance(f"loss {metrics['loss']:.3f}")

            run_cold_start(self._policy, demonstrations, config, seed=seed, on_step=on_step)

    async def _train(self, folder: Path) -> tuple[dict[str, Evaluation], dict[str, Evaluation]]:
        """The algorithm: each step collects a batch with the newest weights and learns from it once."""
        config, rollout = self.config, self._rollout
        learner = Learner(self._policy, self.agent, self.learner_config)
        with self.progress.phase("evaluation", 2 * len(self._held_out)) as phase:
            before = after = await self._evaluate(0, lambda trajectory: phase.advance())  # noqa: ARG005
        num_samples = 0
        with self.progress.phase("training", config.steps) as phase:
            for step in range(1, config.steps + 1):
                started = time.perf_counter()
                sampling_before, env_before = self._sampler.seconds, self._collector.env_seconds
                tasks = [self._cursor.next() for _ in range(config.rollout.tasks_per_step)]
                plans = plan_groups(tasks, group_size=rollout.group_size, seed=(config.seed, _ROLLOUTS, step))
                trajectories = await self._collector.run(plans, rollout.sampling)
                batch = Evaluation(tuple(trajectories), self._full_reward).summary()
                before_learning = time.perf_counter()
                metrics = learner.update(list(groups_of(trajectories)))
                learned = time.perf_counter()
                await self._sampler.update_weights(learner.weight_source(), version=step)

                num_samples += len(trajectories)
                metrics |= {name: value for name, value in batch.items() if name != "stop_reasons"}
                metrics |= {
                    "num_samples": num_samples,
                    "seconds": time.perf_counter() - started,
                    "seconds_sampling": self._sampler.seconds - sampling_before,
                    "seconds_env": self._collector.env_seconds - env_before,
                    "seconds_learning": learned - before_learning,
                }
                self._log.log("train", step, metrics | {"stop_reasons": batch["stop_reasons"]})
                phase.advance(f"reward {batch['reward']:.3f}  entropy {metrics.get('entropy', 0.0):.3f}")
                if step % config.evaluation.every == 0 or step == config.steps:
                    kept = (with_advantages(trajectory, learner.last_advantages) for trajectory in trajectories)
                    save_trajectories(folder / "trajectories" / f"step-{step:06d}.jsonl.gz", kept)
                    after = await self._evaluate(step)
        return before, after

    @property
    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self._policy.module.parameters())

    @property
    def _full_reward(self) -> float:
        return self._collector.example_env.message_env.reward_range[1]

    async def _evaluate(
        self, step: int, on_episode: Callable[[Trajectory], None] | None = None
    ) -> dict[str, Evaluation]:
        """The held-out tasks, sampled as in training and greedy."""
        results: dict[str, Evaluation] = {}
        for name, sampling in (("sampled", self._rollout.sampling), ("greedy", _GREEDY)):
            seed = self.config.seed * 1000 + _EVALUATION
            results[name] = await evaluate_sampler(
                self._collector, self._held_out, sampling=sampling, seed=seed, on_episode=on_episode
            )
            self._log.log("evaluation", step, {"decoding": name, **results[name].summary()})
        shown = "  ".join(f"{name} {result.success}" for name, result in results.items())
        self.progress.line(f"step {step}: held-out success  {shown}")
        return results

    def _save_model(self, folder: Path) -> None:
        """Model and tokenizer in the form that `from_pretrained` loads."""
        save_policy(self._policy.module, folder)
        backend = getattr(self._tokenizer, "backend", None)
        if backend is not None:
            backend.save_pretrained(folder)


def free_run_folder(config: RunConfig) -> Path:
    """The run's folder, which is empty or not there yet; without a name, the next free one under runs/.

    Raises:
        OutputFolderError: it holds something.
    """
    if config.output:
        folder = Path(config.output)
    else:
        name = config.env.id.rpartition("/")[2]
        number = 1
        while (folder := Path("runs") / f"{name}-{number:03d}").exists():
            number += 1
    if folder.exists() and not folder.is_dir():
        raise OutputFolderError(f"The output folder {str(folder)!r} is a file. Name a folder that is new or empty.")
    if folder.exists() and any(folder.iterdir()):
        raise OutputFolderError(
            f"The output folder {str(folder)!r} is not empty, and nothing in it is overwritten. Name a new one, or "
            "move it away."
        )
    return folder


def make_run_folder(folder: Path) -> None:
    """Make it. Raises OutputFolderError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFolderError(
            f"The output folder {str(folder)!r} cannot be made: {error.strerror}. Name another one."
        ) from error
