"""The single-turn recipe: what its demonstrations show, and that it learns."""

import json
import re
from pathlib import Path

import pytest

from llmgym.cli.runs import recipe_path, run_file
from llmgym.episode import Task
from llmgym.rollout import Collector, TaskCursor, demonstrate
from llmgym.sampling import ScriptedSampler
from llmgym.training import RunProgress, load_config
from llmgym.training.cold_start import ColdStartConfig, make_demonstrations


def test_a_guess_of_a_task_that_needs_working_is_an_answer_without_any() -> None:
    kwargs = {"families": ["digit_sum"], "answer_format": "tags"}
    collector = Collector("llmgym/Math-v0", ScriptedSampler(lambda prompt, params, rng: [0]), env_kwargs=kwargs)
    config = ColdStartConfig(num_demonstrations=40, solve_share=0.5)

    cursor = TaskCursor(collector.tasks("train"), seed=1)
    texts = [t.turns[0].message.content for t in make_demonstrations(collector.example_env, cursor, config, seed=1)]

    guesses = [text for text in texts if re.fullmatch(r"<answer>\d+</answer>", text)]
    worked = [text for text in texts if re.fullmatch(r"(\d+ \+ \d = \d+\n)+<answer>\d+</answer>", text)]
    assert len(guesses) > 10
    assert len(worked) > 10
    assert len(guesses) + len(worked) == 40


def test_the_recipes_limits_leave_room_for_the_longest_solution() -> None:
    kwargs = load_config(recipe_path("math-tiny")).env.kwargs
    env = Collector("llmgym/Math-v0", ScriptedSampler(lambda prompt, params, rng: [0]), env_kwargs=kwargs).example_env
    worked = {"solution": "9 + 9 = 18\n18 + 9 = 27\n27 + 9 = 36"}
    task = Task(key="0.0", prompt="What is the sum of the digits of 9999?", answer="36", metadata=worked)

    demonstration = demonstrate(env, task, env.solve(task) or ())

    assert demonstration.reward == 1.0


@pytest.mark.slow
def test_the_recipe_learns_to_work_sums_out_and_keeps_what_it_could(tmp_path: Path) -> None:
    shorter = ["steps=20", "evaluation.num_tasks=300", "evaluation.every=20"]

    result = run_file(
        "math-tiny", [*shorter, f"output={json.dumps(str(tmp_path / 'run'))}"], progress=RunProgress(quiet=True)
    )

    scores = [trajectory.turns[0].score for trajectory in result.before["sampled"].valid]
    assert sum(score.parts["format"] for score in scores if score is not None) > 0.9 * len(scores)
    before, after = (
        {decoding: evaluation.success.value for decoding, evaluation in evaluations.items()}
        for evaluations in (result.before, result.after)
    )
    assert after["sampled"] > before["sampled"] + 0.15
    assert after["greedy"] >= before["greedy"]
