import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import ConfigError, DataError, ShapeError
from llmgym.learning import ActionBatch, Aggregation
from llmgym.learning.aggregation import action_weights, weighted_loss
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score


def turn(segment_index, start, stop, reward):
    return TurnRecord(segment_index, start, stop, AssistantMessage(""), Score(reward=reward))


def segment(mask, logprobs=None, **fields):
    mask = np.array([bit == "1" for bit in mask])
    if logprobs is not None:
        values = np.zeros(len(mask), dtype=np.float32)
        values[mask] = logprobs
        logprobs = values
    return Segment(np.arange(len(mask), dtype=np.int32), mask, logprobs, **fields)


def trajectory(segments, turns=(), *, group_id=0, **fields):
    return Trajectory(
        segments=tuple(segments),
        turns=tuple(turns),
        reward=sum(record.reward for record in turns),
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        group_id=group_id,
        metadata={},
        **fields,
    )


def two_turns_in_two_segments():
    segments = [segment("0110", [-1.0, -2.0]), segment("00111", [-3.0, -4.0, -5.0])]
    return trajectory(segments, [turn(0, 1, 3, 0.25), turn(1, 2, 5, 1.0)], group_id=7)


def no_actions():
    return trajectory([segment("000", [])], group_id=9)


def test_columns_run_across_turns_and_segments_and_a_row_may_be_empty():
    batch = ActionBatch.from_trajectories([two_turns_in_two_segments(), no_actions()])

    assert batch.mask_BA.tolist() == [[True] * 5, [False] * 5]
    assert batch.rewards_BA.tolist() == [[0, 0.25, 0, 0, 1.0], [0.0] * 5]
    assert batch.sampling_logprobs_BA.tolist() == [[-1, -2, -3, -4, -5], [0.0] * 5]
    assert (batch.reward_B.tolist(), batch.reward_B.dtype) == ([1.25, 0.0], torch.float64)
    assert (batch.group_B.tolist(), batch.group_B.dtype) == ([7, 9], torch.int64)
    assert (batch.max_actions, batch.num_tokens) == (5, 5)


def test_demonstrations_have_no_sampling_logprobs():
    batch = ActionBatch.from_trajectories([two_turns_in_two_segments(), trajectory([segment("01")])])

    assert batch.sampling_logprobs_BA is None


def test_batch_of_no_trajectories_is_an_empty_table():
    assert ActionBatch.from_trajectories([]).mask_BA.shape == (0, 0)


def test_trajectory_that_is_not_valid_is_refused():
    with pytest.raises(DataError, match=r"Trajectory 1 .* is not valid"):
        ActionBatch.from_trajectories([no_actions(), trajectory([segment("01")], is_valid=False)])


def test_rows_keeps_what_belongs_to_them_and_drops_unused_columns():
    short = trajectory([segment("011", [-7.0, -8.0])], [turn(0, 1, 3, 2.0)], group_id=3)
    batch = ActionBatch.from_trajectories([two_turns_in_two_segments(), no_actions(), short])

    part = batch.rows([2, 1])

    assert part.mask_BA.tolist() == [[True, True], [False, False]]
    assert part.sampling_logprobs_BA.tolist() == [[-7, -8], [0, 0]]
    assert (part.reward_B.tolist(), part.group_B.tolist(), part.max_actions) == ([2.0, 0.0], [3, 9], 5)
    assert batch.rows(torch.tensor([False, False, True])).reward_B.tolist() == [2.0]


def test_table_of_another_shape_is_refused():
    batch = ActionBatch.from_trajectories([two_turns_in_two_segments()])

    with pytest.raises(ShapeError, match=r"advantages_BA has shape \(1, 4\), but mask_BA has \(1, 5\)"):
        batch.replace(advantages_BA=torch.zeros(1, 4))


def test_asking_for_a_table_that_nobody_computed_is_an_error():
    batch = ActionBatch.from_trajectories([two_turns_in_two_segments()])

    with pytest.raises(ConfigError, match="The batch has no advantages_BA"):
        batch.required("advantages_BA")


def batch_of_lengths(lengths, max_actions=9):
    rows = [trajectory([segment("0" + "1" * n)], group_id=index // 2) for index, n in enumerate(lengths)]
    return ActionBatch.from_trajectories(rows, max_actions=max_actions)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.sampled_from(list(Aggregation)))
def test_aggregation_equals_its_definition(lengths, aggregation):
    batch = batch_of_lengths(lengths)
    losses = torch.arange(batch.mask_BA.numel(), dtype=torch.float32).reshape(batch.mask_BA.shape).sin() + 2

    value = weighted_loss(losses, action_weights(batch, aggregation)).item()

    rows = [losses[index, :n].tolist() for index, n in enumerate(lengths) if n]
    pairs = {index // 2 for index, n in enumerate(lengths) if n}
    expected = {
        Aggregation.TOKEN_MEAN: lambda: sum(map(sum, rows)) / sum(map(len, rows)),
        Aggregation.TRAJECTORY_MEAN: lambda: sum(sum(row) / len(row) for row in rows) / len(rows),
        Aggregation.CONSTANT: lambda: sum(map(sum, rows)) / (len(rows) * 9),
        Aggregation.PAIR_MEAN: lambda: sum(sum(row) / len(row) for row in rows) / len(pairs),
    }[aggregation]
    assert value == pytest.approx(expected() if rows else 0.0, rel=1e-5)


def test_trajectory_losses_count_as_losses_of_each_of_their_tokens():
    batch = batch_of_lengths([3, 1])
    per_trajectory = torch.tensor([2.0, 6.0])

    def value(aggregation):
        return weighted_loss(per_trajectory, action_weights(batch, aggregation)).item()

    assert value(Aggregation.TRAJECTORY_MEAN) == pytest.approx(4.0)
    assert value(Aggregation.TOKEN_MEAN) == pytest.approx(3.0)
    assert value(Aggregation.PAIR_MEAN) == pytest.approx(8.0)


def test_loss_that_an_agent_averaged_itself_is_refused():
    with pytest.raises(ShapeError, match="the learner does the averaging"):
        weighted_loss(torch.tensor(1.0), action_weights(batch_of_lengths([2]), Aggregation.TOKEN_MEAN))
