"""Options of the learner that are tested apart, together: they learn what the plain path learns."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO
from support.models import VOCABULARY, tiny_model
from support.parallel_updates import Case, ragged

from llmgym.episode import Segment, Trajectory
from llmgym.learning import (
    ComputeConfig,
    CorrectionConfig,
    CriticConfig,
    KLConfig,
    Learner,
    LearnerConfig,
    LoRAConfig,
    Policy,
    head_logprobs,
    packing,
)
from llmgym.sampling import KeptTokens


def rows_of(seed: int, *, is_kept: bool) -> list[list[Trajectory]]:
    """Groups with prompts that several begin with, half of the segments from a cut distribution, from a sampler that
    is a little off."""
    rng, policy = np.random.default_rng(seed), Policy(tiny_model(7).double())

    def changed(segment: Segment) -> Segment:
        ids = np.where(segment.action_mask, segment.token_ids, 1).astype(np.int32)
        kept = None
        if is_kept and rng.random() < 0.5 and segment.num_actions:
            sets = [
                sorted({int(token), *rng.integers(0, VOCABULARY, 5).tolist()}) for token in ids[segment.action_mask]
            ]
            offsets = np.cumsum([0, *map(len, sets)])
            kept = KeptTokens(token_ids=np.concatenate(sets).astype(np.int32), offsets=offsets)
        logprobs = segment.sampling_logprobs + rng.normal(0, 0.3, len(ids))  # type: ignore[operator]
        return replace(segment, token_ids=ids, kept_tokens=kept, sampling_logprobs=logprobs.astype(np.float32))

    groups = ragged(Case(GRPO(), groups=2, size=4), seed, policy)
    return [[replace(row, segments=tuple(map(changed, row.segments))) for row in group] for group in groups]


def learn(
    agent: Any,
    *,
    is_kept: bool,
    is_resumed: bool = False,
    rate: float = 1e-3,
    dtype: Any = torch.float64,
    **settings: Any,
) -> tuple[list[Any], Learner]:
    """Metrics of two updates, and who made them; another learner takes over in between if `is_resumed`."""
    config = LearnerConfig(learning_rate=rate, max_sampling_gap=9.0, seed=3, **settings)
    learner, metrics = Learner(tiny_model(5).to(dtype), agent, config), []
    for update in range(2):
        metrics.append(learner.update(rows_of(update, is_kept=is_kept)))
        if is_resumed and update == 0:
            state, learner = learner.state_dict(), Learner(tiny_model(5).to(dtype), agent, config)
            learner.load_state_dict(state)
    return metrics, learner


CRITICS = {kind: CriticConfig(kind=kind, learning_rate=1e-2) for kind in ("head", "model")}
CORRECTION = CorrectionConfig(level="geometric", high=1.5)
PENALTY = KLConfig(coef=0.1, estimator="k3", placement="loss")
TOGETHER: list[tuple[Any, bool, dict[str, Any]]] = [
    (PPO(minibatches=2), True, {"lora": LoRAConfig(r=2), "critic": CRITICS["model"], "kl": PENALTY}),
    (PPO(minibatches=2), True, {"lora": LoRAConfig(r=2), "critic": CRITICS["head"], "correction": CORRECTION}),
    (PPO(epochs=2), False, {"critic": CRITICS["head"], "kl": KLConfig(coef=0.1), "correction": CorrectionConfig()}),
    (GRPO(epochs=2, minibatches=2), True, {"kl": PENALTY, "correction": CorrectionConfig(action="mask")}),
    (GRPO(), False, {"lora": LoRAConfig(r=2, target_modules=("q_proj", "lm_head")), "correction": CORRECTION}),
    (GRPO(), True, {"lora": LoRAConfig(r=2, use_dora=True), "kl": PENALTY, "correction": CorrectionConfig()}),
]


@pytest.mark.parametrize(
    "checkpointing", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["packed", "computed again"]
)
@pytest.mark.parametrize(("agent", "is_kept", "settings"), TOGETHER)
def test_options_together_learn_what_the_plain_path_learns(agent, is_kept, settings, checkpointing, monkeypatch):
    monkeypatch.setattr(packing, "_pays", lambda *_: False)
    plain = learn(agent, is_kept=is_kept, **settings)

    monkeypatch.setattr(packing, "_pays", lambda *_: True)
    monkeypatch.setattr(head_logprobs, "_MAX_PLAIN_LOGITS", 0)
    compute = ComputeConfig(gradient_checkpointing=checkpointing)
    found = learn(agent, is_kept=is_kept, is_resumed=True, microbatch_tokens=40, compute=compute, **settings)

    for one, other in zip(plain[0], found[0], strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)
    weights = [learner.policy.module.state_dict() for _, learner in (plain, found)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("agent", "is_kept", "settings"), [pytest.param(*TOGETHER[2], marks=pytest.mark.slow), TOGETHER[3]]
)
def test_options_together_move_the_masters_of_weights_in_bfloat16_as_the_plain_path_does(
    agent, is_kept, settings, monkeypatch
):
    options = {"is_kept": is_kept, "rate": 1e-4, "dtype": torch.bfloat16, **settings}
    monkeypatch.setattr(packing, "_pays", lambda *_: False)
    plain = learn(agent, **options)[1]

    monkeypatch.setattr(packing, "_pays", lambda *_: True)
    monkeypatch.setattr(head_logprobs, "_MAX_PLAIN_LOGITS", 0)
    compute = ComputeConfig(gradient_checkpointing=True, fused=True, offload_optimizer=True)
    found = learn(agent, is_resumed=True, microbatch_tokens=40, compute=compute, **options)[1]

    start = torch.cat([weight.flatten() for weight in tiny_model(5).bfloat16().float().parameters()]).detach()
    moved = [
        torch.cat([master.detach().flatten() for master in learner.steps._masters[0].of.values()]) - start
        for learner in (plain, found)
    ]
    # Masters that are rounded when a learner takes over, or not kept, make this 0.5.
    assert float((moved[1] - moved[0]).norm() / moved[0].norm()) < 0.1
