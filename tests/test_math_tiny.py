"""The single-turn recipe: what its demonstrations show, and that it learns."""

import re

from llmgym.rollout import Collector, TaskCursor
from llmgym.sampling import ScriptedSampler
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
