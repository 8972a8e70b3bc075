"""The only place that runs the policy: trajectories in, a table of log-probabilities out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..episode import Trajectory
from ..errors import DataError
from ..sampling.head import base_head_and_scaling
from ..sampling.sending import sent
from .agent import ModelOutputs
from .compute import ComputeConfig, keeping_less
from .head_logprobs import head_logprobs, require_known_ids
from .kept_logprobs import KeptSets, kept_logprobs, kept_sets, require_sets
from .packed_attention import packable_attention, packed_states, same_attention_again, way_to_pack
from .packing import PackedSegments, Way


class Policy:
    """A causal language model as a distribution over the next token.

    Dropout is always off, with and without gradient, because the sampler has none: the module stays in evaluation
    mode. Where the base model followed by the output head, and scaling or soft-capping that the config names, gives the
    model's own logits (tried once, here), the head runs only at positions that predict an action, a part of the
    vocabulary at a time; else the model's own logits are used, of all tokens. Where attention is of the plain kind
    (tried, too), segments are packed without padding, and a prompt that several begin with is computed once.

    Args:
        module: a transformers causal language model, or anything that is called the same way.
        num_tokens: ids from here on are padding of the vocabulary, which samplers never sample; None: there are none.
    """

    def __init__(self, module: nn.Module, *, num_tokens: int | None = None) -> None:
        self.module, self.num_tokens = module.eval(), num_tokens
        self._base, self._head, self._scaling = base_head_and_scaling(module)
        self.attention_shapes = None if self._base is None else packable_attention(self._base)
        """Of what attention is given, where segments can be packed."""
        self.use(ComputeConfig())

    @property
    @torch.no_grad()
    def has_finite_weights(self) -> bool:
        """Whether all that are here are numbers: one that is not makes each log-probability none."""
        found = [weight.isfinite().all() for weight in self._own_weights()]
        return bool(torch.stack(found).all())  # a GPU is waited for once

    def _own_weights(self) -> Iterator[Tensor]:
        return self.module.parameters()

    def use(self, compute: ComputeConfig) -> None:
        """Run the model so from here on.

        Raises:
            ConfigError: it cannot be packed in the way that is asked for.
        """
        self._compute = compute
        self._compiled: Callable[..., Any] | None = None
        if compute.compile:
            self._compiled = torch.compile(self.backbone, dynamic=True)
        if compute.attention != "auto":  # of which nothing can be wrong
            way_to_pack(self.attention_shapes, compute.attention, next(self.module.parameters()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def backbone(self) -> nn.Module:
        """What makes the hidden states: the model below the head, or the whole model where they cannot be told apart.

        See `action_values`.
        """
        return self.module if self._base is None else self._base

    @property
    def runs_head_on_actions_only(self) -> bool:
        """True where prompt and tool tokens cost no logits."""
        return self._base is not None

    def action_outputs(
        self,
        trajectories: Sequence[Trajectory],
        *,
        temperature: float,
        with_entropy: bool = False,
        critic: Callable[[Tensor], Tensor] | None = None,
        loss_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> ModelOutputs:
        """Log-probabilities, and entropies and values if asked for, of all action tokens; differentiable.

        Of tokens that came with the set that top-p or top-k kept, they are those of the distribution over that set.

        Args:
            trajectories: the B rows.
            temperature: that the tokens were sampled at; logits are divided by it.
            with_entropy: compute the entropy of the distribution before each action too.
            critic: makes values, shape (N,), of the hidden states before the actions, shape (N, hidden size).
            loss_gradient: makes of a (B, A) table of log-probabilities the gradient by it that the loss will have, of
                each entry by that entry alone; the head's gradient is then made in the forward pass.

        Returns:
            (B, A) tables in float32 or better, zero on padding; A is the most actions of a row.

        Raises:
            DataError: a segment begins with an action, which nothing predicts, or a kept set does not fit.
        """
        layout, shape = _Layout.of(trajectories), _table_shape(trajectories)
        if layout is None:
            empty = torch.zeros(shape, device=self.device)
            return ModelOutputs(
                empty, empty.clone() if with_entropy else None, empty.clone() if critic is not None else None
            )
        sets = kept_sets(trajectories)
        if self.device.type != "cpu":  # where looking at ids later would wait for the hidden states
            self._require_known(torch.from_numpy(layout.targets), sets)
        targets, rows, columns = (sent(array, self.device) for array in (layout.targets, layout.rows, layout.columns))
        states, hidden = self._states_before(layout, with_hidden=critic is not None)
        settings: dict[str, Any] = {"temperature": temperature, "with_entropy": with_entropy}
        if loss_gradient is not None and sets is None:

            def gradient_of(tokens: slice, logprobs: Tensor) -> Tensor:
                index = rows[tokens], columns[tokens]
                return loss_gradient(logprobs.new_zeros(shape).index_put(index, logprobs))[index]

            settings["loss_gradient"] = gradient_of
        logprobs, entropies = self._head_outputs(states, targets, sets, **settings)

        def table(values: Tensor) -> Tensor:
            return values.new_zeros(shape).index_put((rows, columns), values)

        return ModelOutputs(
            table(logprobs),
            table(entropies) if entropies is not None else None,
            table(critic(hidden)) if critic is not None and hidden is not None else None,
        )

    def _head_outputs(
        self, states: Tensor, targets: Tensor, sets: tuple[Tensor, KeptSets] | None, **settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probabilities and entropies of N tokens; of those with a kept set, within it."""
        settings |= {"scaling": self._scaling, "num_tokens": self.num_tokens}
        if sets is None:
            return head_logprobs(self._head, states, targets, **settings)
        has_set, kept = sets[0], sets[1].to(self.device)
        if bool(has_set.all()):
            return kept_logprobs(self._head, states, targets, kept, **settings)
        num = int(has_set.sum())
        where = torch.cat([has_set.nonzero()[:, 0], (~has_set).nonzero()[:, 0]]).to(self.device, non_blocking=True)
        within = kept_logprobs(self._head, states[where[:num]], targets[where[:num]], kept, **settings)
        whole = head_logprobs(self._head, states[where[num:]], targets[where[num:]], **settings)
        logprobs = torch.cat([within[0], whole[0]])
        logprobs = torch.zeros_like(logprobs).index_put((where,), logprobs)
        if within[1] is None or whole[1] is None:
            return logprobs, None
        entropies = torch.cat([within[1], whole[1]])
        return logprobs, torch.zeros_like(entropies).index_put((where,), entropies)

    def _require_known(self, targets: Tensor, sets: tuple[Tensor, KeptSets] | None) -> None:
        """DataError where tokens, or those that could have been sampled in their place, are not of this policy."""
        limit = min(self.num_tokens or math.inf, math.inf if self._head is None else self._head.weight.shape[0])
        require_known_ids(int(targets.max()), limit)
        if sets is not None:
            require_sets(sets[1], targets[sets[0]], limit)

    def _states_before(self, layout: _Layout, *, with_hidden: bool) -> tuple[Tensor, Tensor | None]:
        """What the head works on before each of N actions, and hidden states if asked for, both (N, _).

        The head works on the hidden states, or the first are the logits themselves.
        """
        if self._base is not None:
            hidden = _hidden_states(self._base, layout, self._compute, self.packing, compiled=self._compiled)
            return hidden, hidden
        model = self.module if self._compiled is None else self._compiled
        with keeping_less(self.module, self._compute):
            outputs = model(**layout.inputs(self.device), **({"output_hidden_states": True} if with_hidden else {}))
        where = layout.where(self.device)
        return outputs.logits[where], outputs.hidden_states[-1][where] if with_hidden else None

    @property
    def packing(self) -> Way | None:
        """How segments are packed, where that pays: no padding, and prompts that several begin with once. None: never,
        as where the model is compiled."""
        if self._compiled is not None:
            return None
        return way_to_pack(self.attention_shapes, self._compute.attention, next(self.module.parameters()))


def action_values(
    backbone: nn.Module,
    trajectories: Sequence[Trajectory],
    critic: Callable[[Tensor], Tensor],
    *,
    compute: ComputeConfig,
    packing: Way | None,
) -> Tensor:
    """Values of all action tokens from the hidden states of a `Policy.backbone`, or of a copy; differentiable.

    Args:
        backbone: it.
        trajectories: the B rows.
        critic: see `Policy.action_outputs`.
        compute: how to run it.
        packing: see `Policy.packing`.

    Returns:
        (B, A) table, zero on padding; A is the most actions of a row.
    """
    layout, shape = _Layout.of(trajectories), _table_shape(trajectories)
    device = next(backbone.parameters()).device
    if layout is None:
        return torch.zeros(shape, device=device)
    rows, columns = (sent(array, device) for array in (layout.rows, layout.columns))
    if getattr(backbone, "get_output_embeddings", lambda: None)() is None:
        hidden = _hidden_states(backbone, layout, compute, packing)
    else:
        with keeping_less(backbone, compute):
            outputs = backbone(**layout.inputs(device), output_hidden_states=True)
        hidden = outputs.hidden_states[-1][layout.where(device)]
    values = critic(hidden)
    return values.new_zeros(shape).index_put((rows, columns), values)


def _hidden_states(
    base: nn.Module,
    layout: _Layout,
    compute: ComputeConfig,
    packing: Way | None,
    *,
    compiled: Callable[..., Any] | None = None,
) -> Tensor:
    """Of the tokens before each of N actions, [N, hidden size], by a model without a head."""
    device = next(base.parameters()).device
    packed = None if packing is None else layout.packed()
    again = {} if packing is None else {"again": same_attention_again(base)}
    with keeping_less(base, compute, **again):
        if packing is not None and packed is not None and packed.pays(packing):
            places = sent(packed.places(layout.segments, layout.positions), device)
            return packed_states(base, packed, packing).index_select(0, places)
        outputs = (base if compiled is None else compiled)(**layout.inputs(device))
    return cast("Tensor", outputs.last_hidden_state)[layout.where(device)]


def _table_shape(trajectories: Sequence[Trajectory]) -> tuple[int, int]:
    return len(trajectories), max((trajectory.num_actions for trajectory in trajectories), default=0)


class ModelWeights:
    """The parameters of a model by name, as a sampler takes them (`llmgym.sampling.WeightSource`).

    Tied parameters come under each of their names.
    """

    is_adapter = False

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def shapes(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Data type, such as "float32", and shape of each parameter."""
        return {name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in self}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._module.named_parameters(remove_duplicate=False):
            yield name, parameter.detach()


def num_input_tokens(trajectory: Trajectory) -> tuple[int, int]:
    """(segments to run, tokens of the longest one): what a trajectory costs the model."""
    lengths = [last_action_index(segment.action_mask) for segment in trajectory.segments if segment.num_actions]
    return len(lengths), max(lengths, default=0)


def prompts_and_lengths(trajectory: Trajectory) -> list[tuple[bytes, int]]:
    """Of each segment to run the int32 tokens before its first action, as bytes, and how many tokens are run."""
    return [
        (segment.token_ids[: int(segment.action_mask.argmax())].tobytes(), last_action_index(segment.action_mask))
        for segment in trajectory.segments
        if segment.num_actions
    ]


def last_action_index(action_mask: np.ndarray) -> int:
    """Position of the last action. Nothing from there on needs to be run: the token before predicts it."""
    return int(np.flatnonzero(action_mask)[-1])


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the N action tokens of some trajectories are in a right-padded table of S segments and T positions."""

    input_ids: np.ndarray
    """int64[S, T]."""
    lengths: np.ndarray
    """int64[S]."""
    segments: np.ndarray
    """int64[N], row of `input_ids`."""
    positions: np.ndarray
    """int64[N], the position that predicts the token: one before its own. The only shift there is."""
    targets: np.ndarray
    """int64[N], the tokens themselves."""
    rows: np.ndarray
    """int64[N], the trajectory."""
    columns: np.ndarray
    """int64[N], place among the trajectory's actions."""

    def inputs(self, device: torch.device) -> dict[str, Any]:
        """What a transformers model is called with for the table."""
        input_ids, lengths = (sent(array, device) for array in (self.input_ids, self.lengths))
        positions = torch.arange(input_ids.shape[1], device=device)[None, :]
        return {
            "input_ids": input_ids,
            "attention_mask": (positions < lengths[:, None]).long(),
            "position_ids": positions.expand_as(input_ids),
            "use_cache": False,
        }

    def where(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """`segments` and `positions`."""
        return sent(self.segments, device), sent(self.positions, device)

    def packed(self) -> PackedSegments:
        """The same segments without padding; what is before the first action of several stands once."""
        _, first = np.unique(self.segments, return_index=True)
        return PackedSegments(self.input_ids, self.lengths, self.positions[first] + 1)

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory]) -> _Layout | None:
        """None where there is no action at all."""
        inputs: list[np.ndarray] = []
        parts: list[np.ndarray] = []  # each int64[5, actions of the segment]
        for row, trajectory in enumerate(trajectories):
            column = 0
            for segment in trajectory.segments:
                where = np.flatnonzero(segment.action_mask)
                if not len(where):
                    continue
                if where[0] == 0:
                    raise DataError(
                        f"A segment of trajectory {row} (task {trajectory.task_key!r}) begins with a sampled token, "
                        "but nothing before it predicts it. Begin prompts with at least one token."
                    )
                columns = np.arange(column, column + len(where))
                column += len(where)
                constant = np.ones_like(where)
                parts.append(
                    np.stack(
                        [len(inputs) * constant, where - 1, segment.token_ids[where], row * constant, columns]
                    ).astype(np.int64)
                )
                inputs.append(segment.token_ids[: where[-1]])
        if not inputs:
            return None
        lengths = np.array([len(ids) for ids in inputs], dtype=np.int64)
        input_ids = np.zeros((len(inputs), int(lengths.max())), dtype=np.int64)
        for index, ids in enumerate(inputs):
            input_ids[index, : len(ids)] = ids
        return cls(input_ids, lengths, *np.concatenate(parts, axis=1))
