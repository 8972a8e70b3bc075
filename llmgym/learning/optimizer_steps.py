"""Optimizer steps that are clipped, scheduled, and left out where there is nothing finite to step along."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..errors import DivergenceError
from .compute import Masters
from .optimization import LearnerConfig, make_optimizer
from .update_metrics import UpdateReport

_MAX_NON_FINITE = 3
"""Steps in a row with a gradient that is not finite, after which there is nothing to hope for."""


class OptimizerSteps:
    """AdamW over the policy and, where there is one, the critic.

    Args:
        policy: the module that learns.
        critic: another one, with a learning rate and a gradient norm of its own.
        config: rates, schedule and clipping.
    """

    def __init__(self, policy: nn.Module, critic: nn.Module | None, config: LearnerConfig) -> None:
        self.config = config
        self._parts: Mapping[str, nn.Module] = {"grad_norm": policy}
        if critic is not None:
            self._parts = {**self._parts, "critic_grad_norm": critic}
        self._masters = [Masters(module, config.compute) for module in self._parts.values()]
        self._parameters = {
            name: [masters.of.get(parameter, parameter) for parameter in module.parameters()]
            for (name, module), masters in zip(self._parts.items(), self._masters, strict=True)
        }
        """What the optimizer updates: the parameters, or their masters."""
        self.optimizer = make_optimizer(
            self._parameters["grad_norm"], config, critic=self._parameters.get("critic_grad_norm", ())
        )
        self.num_planned = 0
        """Steps so far, those left out included; the learning rate follows them."""
        self._num_non_finite = 0

    def take(self, report: UpdateReport) -> bool:
        """One step along the gradients that are there, unless they are all zero or not finite; they are taken away.

        Returns:
            Whether the policy moved.

        Raises:
            DivergenceError: they were not finite several times in a row.
        """
        learning_rate, has_moved = self.config.learning_rate_at(self.num_planned), False
        self.num_planned += 1
        norms = self._clip()
        report.add_step({**norms, "learning_rate": learning_rate})
        if not all(math.isfinite(norm) for norm in norms.values()):
            self._num_non_finite += 1
            report.num_non_finite += 1
            if self._num_non_finite >= _MAX_NON_FINITE:
                raise DivergenceError(
                    f"The gradient was not finite in {self._num_non_finite} steps in a row, so training cannot "
                    "go on. Go back to a checkpoint and lower the learning rate, or look for rewards or losses that "
                    "overflow."
                )
        else:
            self._num_non_finite = 0
            if any(norm > 0 for norm in norms.values()):
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate * group["lr_scale"]
                self.optimizer.step()
                for masters in self._masters:
                    masters.hand_on()
                report.num_taken += 1
                has_moved = norms["grad_norm"] > 0 and learning_rate > 0
        self.optimizer.zero_grad(set_to_none=True)
        return has_moved

    def _clip(self) -> dict[str, float]:
        """Norms before clipping, of policy and critic for themselves: a new critic's large error slows no policy.

        Where all gradients of one are zero, they are taken away, or momentum would move its weights.
        """
        norms = {}
        for masters in self._masters:
            masters.collect()
        for name, parameters in self._parameters.items():
            norm = nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
            norms[name] = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
            if norms[name] == 0:
                for parameter in parameters:
                    parameter.grad = None
        return norms

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside the parameters; tensors are not copied."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "num_planned": self.num_planned,
            "num_non_finite": self._num_non_finite,
            "masters": [masters.state() for masters in self._masters],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        for masters, tensors in zip(self._masters, state["masters"], strict=True):
            masters.load_state(tensors)
        self.num_planned, self._num_non_finite = state["num_planned"], state["num_non_finite"]
