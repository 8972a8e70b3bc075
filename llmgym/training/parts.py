"""The parts of a run, made from its config: policy, sampler, environments and their tasks."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..episode import Task
from ..episode.waiting import run_to_end
from ..learning import Learner, LoRAConfig, Policy, load_quantised, load_with_tokenizer, with_tokenizer
from ..learning.loading import num_parameters
from ..learning.lora import require_targets
from ..messages import Tokenizer
from ..rollout import Collector, EnvPool, TaskMixture, make_collector
from ..sampling import Sampler, make_sampler
from ..settings import from_mapping
from .config import RunConfig
from .curriculum import Curriculum
from .device import move, take_device
from .tiny_model import build_character_tokenizer, build_tiny_model


@dataclass(eq=False)
class RunParts:
    """What a run works with beside its learner."""

    policy: Policy
    """That learns."""
    tokenizer: Tokenizer
    sampler: Sampler
    collector: Collector
    mixture: TaskMixture
    curriculum: Curriculum | None
    held_out: list[tuple[str, Task]]
    """The tasks of evaluations, with the names of their environments."""
    _is_sampler_closed: bool = False

    @property
    def num_parameters(self) -> int:
        """Of the policy."""
        return num_parameters(self.policy.module)

    @property
    def shares_model(self) -> bool:
        """True where the sampler samples with the very model that learns, so that both always agree."""
        return getattr(self.sampler, "model", None) is self.policy.module

    def separate_models(self) -> None:
        """Have the policy that learns be a copy, where the sampler would else sample with half-updated weights."""
        if self.shares_model:
            self.policy = Policy(copy.deepcopy(self.policy.module), num_tokens=self.policy.num_tokens)

    def adopt(self, learner: Learner) -> None:
        """Have the policy be the learner's whole one, which has the adapter; where that is neither what learns nor what
        is sampled with, it is kept in the CPU's memory."""
        is_run = self.shares_model or learner.whole_policy is learner.policy
        self.policy = learner.whole_policy
        if not is_run:
            self.policy.module.to("cpu")

    async def close_sampler(self) -> None:
        """Close the sampler, if it can be closed, on the loop on which it sampled; once is enough."""
        if not self._is_sampler_closed and hasattr(self.sampler, "close"):
            self._is_sampler_closed = True
            await self.sampler.close()

    def close(self) -> None:
        """Close the environments, and the sampler where the run never came to use it."""
        self.collector.close()
        run_to_end(self.close_sampler())


def build_parts(config: RunConfig) -> RunParts:
    """All parts.

    Raises:
        ConfigError: a part named does not exist, or does not take its settings.
    """
    policy, tokenizer = make_policy(config)
    pools = [EnvPool(env.id, name=env.label, tokenizer=tokenizer, env_kwargs=env.kwargs) for env in config.environments]
    weights = {env.label: env.weight for env in config.environments}
    mixture = TaskMixture({pool.name: pool.tasks("train") for pool in pools}, weights, seed=config.seed)
    split, num_tasks = config.evaluation.split, config.evaluation.num_tasks
    held_out = [(pool.name, task) for pool in pools for task in pool.tasks(split).first(num_tasks)]
    sampler = make_sampler(  # last, as it may start processes
        config.sampler_name,
        config.sampler_settings,
        policy.module,
        max_batch=config.rollout.concurrency,
        tokenizer=tokenizer,
    )
    return RunParts(
        policy=policy,
        tokenizer=tokenizer,
        sampler=sampler,
        collector=collector_of(config, pools, sampler),
        mixture=mixture,
        curriculum=Curriculum(config.curriculum, weights) if config.curriculum is not None else None,
        held_out=held_out,
    )


def make_policy(config: RunConfig) -> tuple[Policy, Tokenizer]:
    """The policy to begin with, where it is to be, and its tokenizer."""
    if config.model.quantization:
        device, dtype = take_device(config.model.device), getattr(torch, config.model.dtype)
        policy, tokenizer = load_quantised(config.model.path, device=device, dtype=dtype)
    elif config.model.path:
        policy, tokenizer = load_with_tokenizer(config.model.path)
    else:
        backend = build_character_tokenizer()
        policy, tokenizer = with_tokenizer(build_tiny_model(config.model.tiny, backend, seed=config.seed), backend)
    if not config.model.quantization:
        move(policy.module, config.model.device, config.model.dtype)
    if config.learner.get("lora") is not None:
        require_targets(policy.module, from_mapping(LoRAConfig, config.learner["lora"], where="learner.lora"))
    return policy, tokenizer


def collector_of(config: RunConfig, pools: Sequence[EnvPool], sampler: Sampler) -> Collector:
    """What runs the episodes of a run."""
    return make_collector(
        pools,
        sampler,
        concurrency=config.rollout.concurrency,
        deterministic=config.rollout.deterministic,
        retries=config.rollout.retries,
    )
