"""Two processes that learn together, against one."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.ppo import PPO
from support.models import tiny_model
from support.parallel_updates import RESUMED, cases, run_case
from support.several_processes import HANGS_S, several_processes

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.errors import ConfigError
from llmgym.learning import ComputeConfig, Learner, LearnerConfig
from llmgym.learning.parallel import ALONE, ParallelConfig, deal_passes, joined
from llmgym.learning.parallel_learner import require_parallel
from llmgym.learning.sharding import transformer_blocks

WORKER = Path(__file__).parent / "support" / "parallel_updates.py"


def trajectory_of(num_prompt, num_actions, token=1):
    ids = np.full(num_prompt + num_actions, token, dtype=np.int32)
    return Trajectory(
        segments=(Segment(ids, np.arange(len(ids)) >= num_prompt),),
        turns=(),
        reward=0.0,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=12)


@given(lengths, st.integers(1, 5), st.integers(1, 60), st.integers(1, 3))
def test_every_unit_counts_once_and_every_process_makes_as_many_passes(rows, num_ranks, microbatch_tokens, unit_size):
    trajectories = [trajectory_of(*row) for row in rows]
    order = list(range(len(rows)))
    units = [order[start : start + unit_size] for start in range(0, len(order), unit_size)]

    shares = deal_passes(trajectories, units, microbatch_tokens=microbatch_tokens, num_ranks=num_ranks)

    assert sorted(row for share in shares for turn in share if turn.counts for row in turn.rows) == order
    assert len({len(share) for share in shares}) == 1
    for unit in units:
        assert sum(set(unit) <= set(turn.rows) for share in shares for turn in share if turn.counts) == 1


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(2, 6))
def test_no_process_has_more_work_than_its_share_and_one_unit(costs, num_ranks):
    trajectories = [trajectory_of(cost, 1) for cost in costs]

    shares = deal_passes(trajectories, [[r] for r in range(len(costs))], microbatch_tokens=1, num_ranks=num_ranks)

    loads = [sum(costs[row] for turn in share if turn.counts for row in turn.rows) for share in shares]
    assert max(loads) <= sum(costs) / num_ranks + max(costs)


families = st.lists(st.tuples(st.integers(1, 30), st.lists(st.integers(1, 20), min_size=1, max_size=6)), min_size=1)


@given(families, st.integers(2, 5))
def test_what_begins_with_one_prompt_stays_together_where_that_is_fair(families, num_ranks):
    rows = [(prompt, actions, token) for token, (prompt, each) in enumerate(families) for actions in each]
    trajectories = [trajectory_of(prompt, actions, token=token) for prompt, actions, token in rows]
    # What is run: a prompt once for all that share it, and all actions but the last.
    costs = [prompt / len(families[token][1]) + actions - 1 for prompt, actions, token in rows]

    shares = deal_passes(
        trajectories, [[r] for r in range(len(rows))], microbatch_tokens=1, num_ranks=num_ranks, packing="tables"
    )

    dealt = [[row for turn in share if turn.counts for row in turn.rows] for share in shares]
    assert sorted(row for share in dealt for row in share) == list(range(len(rows)))
    assert sum(len({rows[row][2] for row in share}) for share in dealt) < len(families) + num_ranks
    assert max(sum(costs[row] for row in share) for share in dealt) <= sum(costs) / num_ranks + max(costs) + 1e-6


def test_one_process_makes_the_passes_that_it_always_made():
    trajectories = [trajectory_of(3, 2), trajectory_of(1, 6), trajectory_of(2, 2)]

    assert ALONE.passes(trajectories, [[0], [1], [2]], microbatch_tokens=100)[0].rows == [1, 0, 2]


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    with joined(ParallelConfig()) as ranks:
        assert ranks is ALONE


def test_half_a_launcher_is_told_what_is_missing(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(ConfigError, match="RANK, MASTER_ADDR, MASTER_PORT is not set"), joined(ParallelConfig()):
        pass


def test_one_gpu_for_all_processes_is_refused(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError, match="a GPU of its own"), joined(ParallelConfig(), device="cuda:0"):
        pass


def test_blocks_of_a_transformer_are_its_layers():
    model = tiny_model()

    assert transformer_blocks(model) == list(model.model.layers)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes came to, by the name of the case."""
    path = tmp_path_factory.mktemp("parallel") / "results.pt"
    with several_processes(WORKER, path) as processes:
        assert [process.wait(timeout=HANGS_S) for process in processes] == [0, 0]
    return torch.load(path, weights_only=False)


def assert_equal(first, second, *, tolerance):
    """Of nested states."""
    if isinstance(first, torch.Tensor):
        torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for name in first:
            assert_equal(first[name], second[name], tolerance=tolerance)
    elif isinstance(first, list):
        for left, right in zip(first, second, strict=True):
            assert_equal(left, right, tolerance=tolerance)
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=max(tolerance, 1e-6), abs=tolerance)
    else:
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, case in cases().items() if case.dtype is torch.float64 and name != "bfloat16"]
)
def test_two_processes_learn_what_one_learns(name, both):
    # A critic computes in float32; AdamW makes steps of full size of what it rounds.
    tolerance = 1e-4 if isinstance(cases()[name].agent, PPO) else 1e-9

    one, two = run_case(cases()[name], Learner), both[name]

    assert_equal(one["metrics"], two["metrics"], tolerance=tolerance)
    assert list(one["metrics"][0]) == list(two["metrics"][0])
    for kind in ("weights", "adapter"):
        assert_equal(one[kind], two[kind], tolerance=tolerance)
    assert_equal(one["state"]["model"], two["state"]["model"], tolerance=tolerance)
    assert one["state"]["base"] == two["state"]["base"]
    # The first moment after a step is the gradient as it was clipped, times 0.1.
    moments = [result["state"]["steps"]["optimizer"]["state"] for result in (one, two)]
    assert_equal(*moments, tolerance=min(tolerance, 1e-6))


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_one_process_goes_on_from_the_state_of_two_and_two_from_that_of_one(name, both):
    case = cases()[name]
    learner = Learner(case.module(), case.agent, LearnerConfig(**case.settings))

    learner.load_state_dict(both[name]["state"])

    own, resumed = learner.state_dict(), both[name]["resumed"]
    for part in ("model", "reference", "critic", "steps"):
        assert_equal(own[part], both[name]["state"][part], tolerance=0)
        assert_equal(resumed["state"][part], resumed["given"][part], tolerance=0)


@pytest.mark.slow
def test_an_error_that_all_processes_share_ends_none_of_them(both):
    of_models, of_sampler, *metrics = both["disagreed"]

    assert "begins with another model" in of_models
    assert "sampler and learner disagree" in of_sampler
    assert "grad_norm" in metrics


@pytest.mark.slow
def test_weights_that_another_process_lost_are_noticed(both):
    assert both["lost"] == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize(("failing", "count"), [(0, 2), (1, 2), (2, 4)])
def test_an_error_of_one_process_alone_ends_all(failing, count):
    with several_processes(WORKER, "unused", failing, count=count, stderr=subprocess.PIPE) as processes:
        said = [process.communicate(timeout=HANGS_S)[1] for process in processes]

    assert all(process.returncode > 0 for process in processes)
    assert "DataError: these rows are odd" in said.pop(failing)
    assert all("Another process of this learner is gone" in each for each in said)


@pytest.mark.slow
def test_passes_in_bfloat16_come_near_those_in_the_type_of_the_weights(both):
    plain, halved = both["grpo"], both["bfloat16"]

    assert halved["metrics"][0]["loss"] == pytest.approx(plain["metrics"][0]["loss"], abs=0.05)
    assert halved["metrics"][0]["grad_norm"] == pytest.approx(plain["metrics"][0]["grad_norm"], rel=0.05)
    assert halved["metrics"][0]["grad_norm"] != pytest.approx(plain["metrics"][0]["grad_norm"], rel=1e-6)
    assert {weight.dtype for weight in halved["state"]["model"].values()} == {torch.float64}


@pytest.mark.slow
def test_weights_in_half_precision_have_masters_in_several_processes_too(both):
    one, two = run_case(cases()["half"], Learner), both["half"]

    masters = [result["state"]["steps"]["masters"][0] for result in (one, two)]
    assert {weight.dtype for weight in two["weights"].values()} == {torch.bfloat16}
    assert {master.dtype for master in masters[1]} == {torch.float32}
    for first, second in zip(*masters, strict=True):
        torch.testing.assert_close(first, second, rtol=0.05, atol=0.03)
    assert two["metrics"][0]["loss"] == pytest.approx(one["metrics"][0]["loss"], rel=0.05)
    assert two["metrics"][0]["grad_norm"] == pytest.approx(one["metrics"][0]["grad_norm"], rel=0.05)


@pytest.mark.slow
def test_adapters_of_weights_in_half_precision_learn_in_float32_in_several_processes_too(both):
    one, two = run_case(cases()["lora, half"], Learner), both["lora, half"]

    assert {weight.dtype for weight in two["adapter"].values()} == {torch.float32}
    assert {weight.dtype for weight in two["weights"].values()} == {torch.bfloat16}
    assert_equal(one["adapter"], two["adapter"], tolerance=0.02)
    assert two["metrics"][0]["loss"] == pytest.approx(one["metrics"][0]["loss"], rel=0.05)
    assert two["metrics"][0]["grad_norm"] == pytest.approx(one["metrics"][0]["grad_norm"], rel=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"compute": ComputeConfig(compile=True)},
    ],
)
def test_what_only_one_process_can_do_is_refused_by_name(settings):
    with pytest.raises(ConfigError, match="works in one process only"):
        require_parallel(LearnerConfig(**settings))
