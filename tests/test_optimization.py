import dataclasses

import pytest
import torch

from llmgym.errors import ConfigError
from llmgym.learning import (
    LearnerConfig,
)
from llmgym.learning.optimization import make_optimizer


def test_learning_rate_rises_falls_and_ends_at_its_share():
    config = LearnerConfig(learning_rate=1.0, schedule="linear", warmup_steps=4, total_steps=14, final_lr_share=0.2)

    rates = [config.learning_rate_at(step) for step in range(16)]

    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[9] == pytest.approx(0.6)
    assert rates[14:] == pytest.approx([0.2, 0.2])
    cosine = dataclasses.replace(config, schedule="cosine")
    assert [cosine.learning_rate_at(step) for step in (4, 9, 14)] == pytest.approx([1.0, 0.6, 0.2])
    assert LearnerConfig(learning_rate=1.0).learning_rate_at(10**9) == 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"schedule": "linear"}, "must know where it ends"),
        ({"schedule": "step"}, "schedule is 'step'"),
        ({"microbatch_tokens": 0}, "microbatch_tokens is 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
    ],
)
def test_setting_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        LearnerConfig(**wrong)


def test_weight_decay_leaves_norms_and_biases_alone():
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3))

    optimizer = make_optimizer(list(module.parameters()), LearnerConfig(weight_decay=0.1))

    decayed = [p for group in optimizer.param_groups if group["weight_decay"] == 0.1 for p in group["params"]]
    assert [id(p) for p in decayed] == [id(module[0].weight)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_frozen_parameters_are_left_to_themselves():
    module = torch.nn.Linear(2, 3).requires_grad_(False)
    module.bias.requires_grad_(True)

    optimizer = make_optimizer(list(module.parameters()), LearnerConfig())

    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(module.bias)]
