import pytest
import torch
from llmgym.agents.grpo import GRPO

import llmgym
from llmgym.errors import CheckError
from llmgym.learning import Aggregation, Need, Unit, check_agent


class Plain(GRPO):
    """A correct agent, to be broken in one place each."""


class AveragesItself(Plain):
    def loss(self, outputs, batch):
        return {"policy": super().loss(outputs, batch)["policy"].sum(1, keepdim=True).expand(batch.mask_BA.shape)}


class ForgetsTheMask(Plain):
    unit = Unit.TRAJECTORY

    def loss(self, outputs, batch):
        return {"policy": -batch.advantages_BA[:, 0] * outputs.logprobs_BA.sum(1)}


class WhitensOverPadding(Plain):
    def advantages(self, batch):
        advantages = batch.rewards_BA - batch.rewards_BA.mean()
        return batch.replace(advantages_BA=torch.where(batch.mask_BA, advantages, 0.0))


class DividesByATinyEpsilon(Plain):
    def advantages(self, batch):
        reward_B = batch.reward_B.float()
        advantage_B = (reward_B - reward_B.mean()) / (reward_B.var(correction=0).sqrt() + 1e-9)
        return batch.replace(advantages_BA=torch.where(batch.mask_BA, advantage_B[:, None], 0.0))


class KeepsTheRewardOfASingleton(Plain):
    def advantages(self, batch):
        if len(batch.reward_B) > 1:
            return super().advantages(batch)
        return batch.replace(advantages_BA=torch.where(batch.mask_BA, batch.reward_B.float()[:, None], 0.0))


class NormalisesEachMicroBatch(Plain):
    def loss(self, outputs, batch):
        losses = super().loss(outputs, batch)["policy"]
        return {"policy": losses / (batch.mask_BA.sum() + 1)}


class DependsOnRowOrder(Plain):
    def loss(self, outputs, batch):
        factor_B = torch.arange(1.0, len(batch.mask_BA) + 1)
        return {"policy": super().loss(outputs, batch)["policy"] * factor_B[:, None]}


class UsesRandomness(Plain):
    def loss(self, outputs, batch):
        return {"policy": super().loss(outputs, batch)["policy"] * torch.rand(())}


class HasAnotherGradientOnPolicy(Plain):
    def loss(self, outputs, batch):
        return {"policy": 2 * super().loss(outputs, batch)["policy"]}


class IgnoresOldLogprobsWronglyShifted(Plain):
    def loss(self, outputs, batch):
        old = batch.old_logprobs_BA
        shifted = None if old is None else torch.roll(old, 1, dims=1)
        return super().loss(outputs, batch.replace(old_logprobs_BA=shifted))


class ChangesInPlace(Plain):
    def advantages(self, batch):
        batch.rewards_BA.add_(1.0)
        return super().advantages(batch)


class SelectsBySegments(Plain):
    def select(self, groups):
        return [[row for row in group if len(row.segments) == 1] for group in groups]


class ReturnsANumber(Plain):
    def loss(self, outputs, batch):
        return {"policy": super().loss(outputs, batch)["policy"].mean()}


class DividesByNothing(Plain):
    def loss(self, outputs, batch):
        policy = super().loss(outputs, batch)["policy"]
        return {"policy": policy, "mean": policy.sum(1, keepdim=True) / batch.mask_BA.sum(1, keepdim=True) + 0 * policy}


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (ForgetsTheMask, "padding gets a gradient"),
        (WhitensOverPadding, "padding changes the gradient"),
        (DividesByATinyEpsilon, "groups with equal rewards and lengths give advantages up to .* not exactly 0"),
        (KeepsTheRewardOfASingleton, r"a group of one give advantages up to 0\.1, not exactly 0"),
        (NormalisesEachMicroBatch, "micro-batches changes the gradient"),
        (DependsOnRowOrder, "permuting the trajectories"),
        (UsesRandomness, "the same batch gives another gradient"),
        (HasAnotherGradientOnPolicy, "not the gradient of the plain policy gradient"),
        (AveragesItself, "not the gradient of the plain policy gradient"),
        (IgnoresOldLogprobsWronglyShifted, "old log-probabilities that equal the current ones"),
        (ChangesInPlace, "changes the batch in place"),
        (SelectsBySegments, "`select` depends on how trajectories are split"),
        (ReturnsANumber, r"has shape \(\), not \(8, 5\)"),
        (DividesByNothing, "loss component 'mean' is not finite"),
    ],
)
def test_broken_promise_is_found_and_named(broken, promise):
    with pytest.raises(CheckError, match=promise):
        check_agent(broken())


def test_error_lists_all_broken_promises():
    class BreaksTwo(DependsOnRowOrder, DividesByATinyEpsilon):
        pass

    with pytest.raises(CheckError, match=r"(?s)permuting.*not exactly 0"):
        check_agent(BreaksTwo())


def test_missing_members_are_named():
    class Nothing:
        unit = "token"

    with pytest.raises(CheckError, match=r"(?s)no `data`.*`unit` is 'token'.*no method `loss`"):
        check_agent(Nothing())


def test_correct_agents_of_every_kind_pass():
    class SequenceRatio(GRPO):
        """One loss a trajectory, with entropy and values that get a gradient too."""

        unit = Unit.TRAJECTORY
        aggregation = Aggregation.TRAJECTORY_MEAN

        def __init__(self):
            super().__init__(aggregation="trajectory mean")
            self.needs = frozenset({Need.OLD_LOGPROBS, Need.ENTROPY, Need.VALUES})

        def loss(self, outputs, batch):
            old = outputs.logprobs_BA.detach() if batch.old_logprobs_BA is None else batch.old_logprobs_BA
            length_B = batch.mask_BA.sum(1).clamp(min=1)
            log_ratio_B = torch.where(batch.mask_BA, outputs.logprobs_BA - old, 0.0).sum(1) / length_B
            advantage_B = batch.advantages_BA[:, 0]
            entropy_B = torch.where(batch.mask_BA, outputs.entropy_BA, 0.0).sum(1) / length_B
            value_B = torch.where(batch.mask_BA, outputs.values_BA**2, 0.0).sum(1) / length_B
            return {"policy": -log_ratio_B.exp() * advantage_B, "entropy": -0.01 * entropy_B, "value": value_B}

    assert llmgym.check_agent(SequenceRatio()) is None
    assert llmgym.check_agent(Plain()) is None
