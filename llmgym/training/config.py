"""A run as a TOML file of small tables, with dotted overrides from the command line."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomli_w

from ..errors import ConfigError
from ..learning import LearnerConfig
from ..settings import from_mapping, override_setting
from .alarms import AlarmsConfig
from .checkpoints import CheckpointConfig
from .cold_start import ColdStartConfig
from .curriculum import CurriculumConfig
from .device import Precision
from .endings import EndingConfig
from .mode import TrainingConfig
from .quarantine import QuarantineConfig
from .tiny_model import TinyModelConfig


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The policy to begin with."""

    path: str = ""
    """Folder or hub id of a causal language model with its tokenizer; "" makes a tiny one from nothing."""
    tiny: TinyModelConfig = field(default_factory=TinyModelConfig)
    """Size of the tiny model."""
    device: str = "auto"
    """That the policy learns and samples on: "cpu", "cuda", "cuda:1"; "auto" is the first GPU, or else the CPU."""
    dtype: Precision = "float32"
    """Of the weights, and of what is computed with them. Weights in "bfloat16" that learn have float32 copies, see
    `learner.compute.master_weights`."""
    quantization: Literal["", "nf4"] = ""
    """"nf4": linear maps have weights in 4 bits, and adapters learn on top of them (QLoRA), which `learner.lora` says;
    needs bitsandbytes."""

    def __post_init__(self) -> None:
        if self.quantization and not self.path:
            raise ConfigError("model.quantization is set, but a model made from nothing must learn. Name a model.path.")


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """An environment."""

    id: str
    """Its id in Gymnasium's registry."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords for `gym.make`, its limits among them."""
    name: str = ""
    """What metrics call it; "" takes the id. Environments of one id, such as levels of difficulty, need names."""
    weight: float = 1.0
    """Its share of the tasks is its weight over the sum of all weights."""

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ConfigError(f"The weight of {self.label} is {self.weight}, but it must be a number above 0.")

    @property
    def label(self) -> str:
        """Its name, or else its id."""
        return self.name or self.id


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How trajectories are collected."""

    tasks_per_step: int = 8
    """Groups of a batch, of all environments together; times the agent's group size gives its trajectories."""
    concurrency: int = 128
    """Episodes under way at once, and rows that the torch sampler samples at once."""
    deterministic: bool = True
    """The same seed gives the same tokens; environments answer between two steps of the sampler."""
    retries: int = 1
    """Of an episode whose environment failed for reasons of its own."""

    def __post_init__(self) -> None:
        for name, least in (("tasks_per_step", 1), ("concurrency", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"rollout.{name} is {getattr(self, name)}, but it must be at least {least}.")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the policy is measured on held-out tasks."""

    every: int = 10
    """Training steps between evaluations; the first and the last step are always evaluated."""
    num_tasks: int = 200
    """The first so many distinct tasks of the split, always the same; of each environment."""
    split: str = "test"
    """Of the tasks."""

    def __post_init__(self) -> None:
        for name in ("every", "num_tasks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name} is {getattr(self, name)}, but it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run is."""

    env: EnvConfig | None = None
    """The environment, ..."""
    envs: tuple[EnvConfig, ...] = ()
    """... or several, as [[envs]] tables: tasks come from all of them, in shares that follow their weights."""
    curriculum: CurriculumConfig | None = None
    """Moves the weights of several environments with the success in each; left out where there is no such table."""
    model: ModelConfig = field(default_factory=ModelConfig)
    agent: Mapping[str, Any] = field(default_factory=lambda: {"name": "grpo"})
    """`name`, and the settings of the agent registered under it."""
    sampler: str | Mapping[str, Any] = "torch"
    """Name of the sampler; or a table with `name`, and the settings of the sampler registered under it."""
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    learner: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the learner (`LearnerConfig`); a schedule that names no end, ends with the run."""
    cold_start: ColdStartConfig | None = None
    """Supervised learning on demonstrations before the agent begins; left out where there is no such table."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    ending: EndingConfig = field(default_factory=EndingConfig)
    quarantine: QuarantineConfig = field(default_factory=QuarantineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    trackers: tuple[str, ...] = ("tensorboard",)
    """Who hears of the metrics beside `metrics.jsonl`: "tensorboard", "wandb", "mlflow", "trackio", or one of yours."""
    steps: int = 100
    """Batches that the agent learns from."""
    seed: int = 0
    """Of everything random."""
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's own choice. For tiny models one is fastest."""
    output: str = ""
    """Folder for all that the run writes; "" makes a new one under runs/."""

    def __post_init__(self) -> None:
        self._check_envs()
        _require_name("agent", self.agent, such_as="grpo")
        if not isinstance(self.sampler, str):
            _require_name("sampler", self.sampler, such_as="torch")
        if self.model.quantization:
            self._check_quantization()
        if self.steps < 0 or self.threads < 0:
            raise ConfigError(f"steps is {self.steps} and threads {self.threads}, but neither may be negative.")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}, but it must be at least 0.")

    def _check_quantization(self) -> None:
        if self.cold_start is not None or self.learner.get("lora") is None:
            raise ConfigError(
                "model.quantization is set, but weights in 4 bits cannot learn: set learner.lora, and no cold_start."
            )
        if self.sampler_name != "torch":
            raise ConfigError(
                f"model.quantization is set, but the sampler {self.sampler_name!r} would run other weights than those "
                'in 4 bits that the adapter learns on. Use the sampler "torch", or leave the setting out.'
            )

    def _check_envs(self) -> None:
        if (self.env is None) == (not self.envs):
            given = "neither [env] nor [[envs]]" if self.env is None else "both [env] and [[envs]]"
            raise ConfigError(
                f'There is {given}. Write one table [env] with an id, such as "llmgym/Math-v0", or several [[envs]].'
            )
        labels = [env.label for env in self.environments]
        if doubled := next((label for label in labels if labels.count(label) > 1), None):
            raise ConfigError(f'Two environments are called {doubled!r}. Give each a name, e.g. name = "easy".')
        if self.curriculum is not None and len(labels) < 2:
            raise ConfigError("A curriculum moves weights between environments, but there is only one. Add [[envs]].")

    @property
    def sampler_name(self) -> str:
        """That the sampler is registered under."""
        return self.sampler if isinstance(self.sampler, str) else self.sampler["name"]

    @property
    def sampler_settings(self) -> dict[str, Any]:
        """Those of the sampler, without its name."""
        table = {} if isinstance(self.sampler, str) else self.sampler
        return {name: value for name, value in table.items() if name != "name"}

    @property
    def environments(self) -> tuple[EnvConfig, ...]:
        """The one environment, or the several."""
        return (self.env,) if self.env is not None else self.envs

    @property
    def env_label(self) -> str:
        """The environments in one line."""
        return " + ".join(env.label for env in self.environments)

    def learner_config(self, *, total_steps: int, max_actions: int) -> LearnerConfig:
        """The settings of the learner; what the run itself decides is taken where they do not say otherwise."""
        decided = {"total_steps": total_steps, "max_actions": max_actions, "seed": self.seed}
        config = from_mapping(LearnerConfig, {**decided, **self.learner}, where="learner")
        if self.rollout.deterministic and config.compute.kernels == "auto":  # which measures
            config = replace(config, compute=replace(config.compute, kernels="torch"))
        return config


def _require_name(kind: str, table: Mapping[str, Any], *, such_as: str) -> None:
    if "name" not in table:
        raise ConfigError(f'{kind}.name is missing. Set it to a registered {kind}, such as "{such_as}".')
    if not isinstance(table["name"], str):
        raise ConfigError(f"{kind}.name is {table['name']!r}, but it must be the name of a registered {kind}.")


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """A run from a TOML file.

    Args:
        path: of the file.
        overrides: "dotted.name=value", the value as TOML writes it; a bare word is a text.

    Raises:
        ConfigError: the file is missing or not TOML, or a setting is misspelt or has the wrong type.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"The run file {str(path)!r} cannot be read: {error.strerror}.") from error
    return parse_config(text, overrides, source=str(path))


def parse_config(text: str, overrides: Sequence[str] = (), *, source: str = "the run file") -> RunConfig:
    """As `load_config`, from the text of a TOML file."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not TOML: {error}.") from error
    for override in overrides:
        override_setting(values, override)
    return from_mapping(RunConfig, values)


def to_toml(config: RunConfig) -> str:
    """A config as TOML; `parse_config` reads it back."""
    return tomli_w.dumps(plain(config))


def plain(value: Any) -> Any:
    """Tables, lists and values; None is left out, and an object is told by its text, as TOML has no word for either."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value if entry is not None]
    if isinstance(value, (np.generic, Enum)):
        return plain(value.item() if isinstance(value, np.generic) else value.value)
    return value if isinstance(value, (bool, int, float, str)) else str(value)
