"""Models whose weights, gradients and optimizer state are spread over processes, by torch's `fully_shard` (FSDP2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..errors import ConfigError
from ..sampling.sampler import WeightSource
from .agent import ModelOutputs
from .critic import CriticHead, CriticModel
from .model import Policy
from .parallel import ParallelConfig, Ranks


class ShardedPolicy(Policy):
    """A policy of which each process holds a part; every process must run as many passes as the others.

    All that a pass calls, from the embedding to the log-probabilities, is called inside of one module, the root of
    FSDP: the head's weights, which are read without calling the head, are whole there, and their gradients are added up
    like all others.

    Args:
        policy: whose module is sharded in place.
        config: in which types to compute and to add up.
        device: of the parts; each block of layers gets there whole, one at a time, and only its part stays.
        critic_head: what runs on its hidden states, sharded with it.
    """

    def __init__(
        self, policy: Policy, config: ParallelConfig, *, device: torch.device, critic_head: CriticHead | None = None
    ) -> None:
        super().__init__(policy.module, num_tokens=policy.num_tokens)
        self._pass = _Pass(policy.module, critic_head, super().action_outputs)
        mesh = _mesh(device)
        for block in transformer_blocks(policy.module):
            fully_shard(block, mesh=mesh, mp_policy=_precision(config))
        if critic_head is not None:
            fully_shard(critic_head, mesh=mesh)
        _finish(fully_shard(self._pass, mesh=mesh, mp_policy=_precision(config)))

    def action_outputs(self, *args: Any, **kwargs: Any) -> ModelOutputs:
        """As `Policy.action_outputs`."""
        outputs = ModelOutputs(*self._pass(*args, **kwargs))
        if not torch.is_grad_enabled():
            put_away(self._pass)
        return outputs

    def _own_weights(self) -> Iterator[Tensor]:
        for weight in self.module.parameters():
            yield weight.to_local() if isinstance(weight, DTensor) else weight


class _Pass(nn.Module):
    """A call as a module of its own, around all modules that it uses."""

    def __init__(self, module: nn.Module, critic_head: nn.Module | None, run: Callable[..., ModelOutputs]) -> None:
        super().__init__()
        self.module, self.critic_head, self._run = module, critic_head, run
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor | None, ...]:
        """The tables one by one: FSDP finds tensors in tuples, but not in objects of ours."""
        outputs = self._run(*args, **kwargs)
        return outputs.logprobs_BA, outputs.entropy_BA, outputs.values_BA


def shard_critic(critic: CriticModel, config: ParallelConfig, *, device: torch.device) -> CriticModel:
    """Spread a critic that is its own model, in place; its parts are on `device`."""
    mesh = _mesh(device)
    for block in transformer_blocks(critic.backbone):
        fully_shard(block, mesh=mesh, mp_policy=_precision(config))
    fully_shard(critic.head, mesh=mesh)
    _finish(fully_shard(critic, mesh=mesh, mp_policy=_precision(config)))
    return critic


def transformer_blocks(module: nn.Module) -> list[nn.Module]:
    """The layers of a transformer, each gathered for itself: those that transformers would not split over devices, else
    those of the longest list of modules."""
    names = getattr(module, "_no_split_modules", None) or ()
    named = [part for part in module.modules() if type(part).__name__ in names]
    lists = [list(part) for part in module.modules() if isinstance(part, nn.ModuleList)]
    return named or max(lists, key=len, default=[])


def put_away(module: nn.Module) -> None:
    """Keep only this process's part of all weights; after passes without a backward pass some are still whole."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def _mesh(device: torch.device) -> DeviceMesh:
    return init_device_mesh(device.type, (dist.get_world_size(),))


def _precision(config: ParallelConfig) -> MixedPrecisionPolicy:
    return MixedPrecisionPolicy(
        param_dtype=getattr(torch, config.compute_dtype) if config.compute_dtype else None,
        reduce_dtype=getattr(torch, config.reduce_dtype) if config.reduce_dtype else None,
        cast_forward_inputs=False,
    )


def _finish(root: FSDPModule) -> None:
    """Gradients are added up, not averaged: the weights of losses have the denominators of the whole batch already."""
    for part in cast(nn.Module, root).modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo cannot average


@torch.no_grad()
def begin_alike(module: nn.Module, ranks: Ranks) -> None:
    """Give all processes the weights that the first has, where they have others, as after a run's cold start.

    Raises:
        ConfigError: in all processes; one has another model.
    """
    own = {
        name: (tuple(weight.shape), str(weight.dtype), float(weight.sum(dtype=torch.float64)))
        for name, weight in module.named_parameters()
    }
    all_weights = ranks.gather(own)
    first = all_weights[0]
    for index, weights in enumerate(all_weights):
        if {name: each[:2] for name, each in weights.items()} != {name: each[:2] for name, each in first.items()}:
            raise ConfigError(
                f"Process {index} begins with another model than process 0: its parameters have other names, shapes or "
                "types. Give all processes the same model folder and settings."
            )
    if any(weights != first for weights in all_weights):
        for weight in module.parameters():
            weight.copy_(ranks.share(weight))


# Between the state of one process and that of several, which is the same on disk


class GatheredWeights:
    """A weight source of whole tensors, gathered one at a time; all processes must go through it together.

    Args:
        source: of parts.
        begin: called before each time, to have the others go through it too.
        dtype: that they are given in.
    """

    def __init__(self, source: WeightSource, begin: Callable[[], None], *, dtype: torch.dtype) -> None:
        self._source, self._begin, self._dtype = source, begin, dtype
        self.is_adapter = source.is_adapter

    def shapes(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Data type, such as "float32", and shape of each parameter."""
        dtype = str(self._dtype).removeprefix("torch.")
        return {name: (dtype, shape) for name, (_, shape) in self._source.shapes().items()}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        self._begin()
        rest = iter(self._source)
        try:
            for name, tensor in rest:
                yield name, whole(tensor).to(self._dtype)
        finally:  # also where whoever takes them has failed: the others must not wait for the rest
            for _, tensor in rest:
                whole(tensor)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which this process has a part."""
    if isinstance(tensor, DTensor):
        tensor = tensor.to(tensor.device_mesh.device_type)  # those of an optimizer may be on the CPU
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(state: Any) -> Any:
    """A state with all its tensors whole, on the CPU where they were parts; every process must call it."""
    if isinstance(state, DTensor):
        return whole(state).cpu()
    if isinstance(state, Mapping):
        return {name: gathered(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(gathered(value) for value in state)
    return state


@dataclass(frozen=True)
class _Slot:
    """Where a tensor comes from process 0."""

    shape: torch.Size
    dtype: torch.dtype


def without_tensors(state: Any) -> Any:
    """A state with slots where it has tensors: what process 0 tells the others before `spread`."""
    if isinstance(state, Tensor):
        return _Slot(state.shape, state.dtype)
    if isinstance(state, Mapping):
        return {name: without_tensors(value) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(without_tensors(value) for value in state)
    return state


def spread(state: Any, like: Any, ranks: Ranks) -> Any:
    """A state with the parts of its tensors that `like` has here; the way back from `gathered`.

    The tensors travel one by one, so that no process but the first holds all of them at once.

    Args:
        state: whole in process 0, `without_tensors` in the others.
        like: a state of the same form, or as much of it as there is; what it has no part of comes whole.
        ranks: all of whom must call it.
    """
    if isinstance(state, (Tensor, _Slot)):
        tensor = ranks.share(state if isinstance(state, Tensor) else torch.empty(state.shape, dtype=state.dtype))
        if isinstance(like, DTensor) and tensor.shape == like.shape:
            moved = tensor.to(like.device)
            return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
        return tensor
    if isinstance(state, Mapping):
        named = like if isinstance(like, Mapping) else {}
        return {name: spread(value, named.get(name), ranks) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        entries = like if isinstance(like, (list, tuple)) and len(like) == len(state) else [None] * len(state)
        return type(state)(spread(value, entry, ranks) for value, entry in zip(state, entries, strict=True))
    return state


def optimizer_like(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The form of an optimizer's state, which it does not have before its first step: moments like their parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = ("exp_avg", "exp_avg_sq")
    return {"state": {index: dict.fromkeys(names, parameter) for index, parameter in enumerate(parameters)}}
