"""What the report adds to the figures: alarms, a row for each environment, the meaning of each metric."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.report import HOSTILE, episode, make_run, page_of, step_row

from llmgym.cli.runs import run_file
from llmgym.report import read_run, write_html
from llmgym.report.data import problems
from llmgym.report.glossary import GLOSSARY, meaning
from llmgym.training import RunProgress
from llmgym.training.config import EnvConfig


def test_alarms_are_listed_and_marked_where_they_were_given(tmp_path: Path) -> None:
    alarm = {"phase": "alarm", "step": 2, "name": "entropy_collapse", "text": HOSTILE}
    run = make_run(tmp_path / "run", after=[episode()], metrics=[step_row(1), step_row(2, num_samples=64), alarm])

    page = page_of(run)

    assert page.data["alarms"] == [{"step": 2, "num_samples": 64, "name": "entropy collapse"}]
    assert "Entropy collapse" in page.inside("b")
    assert any("<img src=x" in paragraph for paragraph in page.inside("p"))
    assert not any(tag == "img" for tag, _ in page.tags)
    assert ("a", {"href": "#alarms"}) in page.tags


def test_a_run_without_alarms_has_no_section_for_them(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run", after=[episode()], metrics=[step_row(1)]))

    assert page.data["alarms"] == []
    assert not any("alarms" in str(value) for _, attributes in page.tags for value in attributes.values())


def test_several_environments_have_a_row_each_before_and_after(tmp_path: Path) -> None:
    envs = (EnvConfig(id="llmgym/Copy-v0"), EnvConfig(id="llmgym/Calculator-v0", name="products"))
    offsets = {"success": 0.0, "success_low": -0.25, "success_high": 0.25}
    rows = [
        {"phase": "evaluation", "step": step, "decoding": "sampled", "success": success}
        | {f"env/products/{name}": success + offset for name, offset in offsets.items()}
        for step, success in ((0, 0.25), (1, 0.5))
    ]
    trained = [episode(metadata={"env": name}) for name in ("llmgym/Copy-v0", "products")]
    run = make_run(tmp_path / "run", after=trained, metrics=[step_row(1), *rows], envs=envs)

    page = page_of(run)

    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in page.inside("td")]
    place = cells.index("50.0 % [25.0, 75.0]")
    assert cells[place - 3 : place] == ["?", "?", "25.0 % [0.0, 50.0]"]
    assert "products" in page.inside("th")
    assert [embedded["env"] for embedded in page.data["episodes"]] == ["llmgym/Copy-v0", "products"]
    assert page.data["meanings"]["env/products/success"].startswith("Share of valid episodes")


def test_a_run_that_ended_early_and_went_back_to_its_best_says_so(tmp_path: Path) -> None:
    ending = {"phase": "ending", "step": 6, "text": "no new best"}
    best = {"phase": "best", "step": 4, "decoding": "sampled"}
    page = page_of(make_run(tmp_path / "run", after=[episode()], metrics=[step_row(1), ending, best]))

    assert "synchronous; after step 6: no new best; model of step 4, the best on held-out tasks" in page.inside("dd")
    assert any("with the weights of step 4" in paragraph and "flatters" in paragraph for paragraph in page.inside("p"))


def test_an_environment_that_is_left_out_is_a_problem_of_the_run(tmp_path: Path) -> None:
    left_out = {"phase": "quarantine", "step": 3, "env": "hard", "problem": "no disk"}
    run = make_run(tmp_path / "run", after=[episode()], metrics=[step_row(1), left_out])

    assert "hard is left out from here on: no disk" in page_of(run).inside("td")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        [
            'agent={ name = "ppo", entropy_coef = 0.01 }',
            'learner.kl={ coef = 0.1, estimator = "k2", placement = "loss" }',
        ],
        [
            'agent={ name = "grpo", group_size = 4, scale_by_std = false }',
            "learner.correction={}",
            "learner.kl={ coef = 0.1 }",
        ],
    ],
)
def test_every_metric_of_a_run_has_a_meaning(tmp_path: Path, settings: list[str]) -> None:
    few = ["steps=2", "cold_start.steps=3", "cold_start.num_demonstrations=64", "cold_start.learner.warmup_steps=1"]
    few += ["learner.warmup_steps=1", "rollout.tasks_per_step=4", "evaluation.num_tasks=4"]

    run_file("demo", [*few, *settings, f"output={json.dumps(str(tmp_path))}"], progress=RunProgress(quiet=True))

    names = {name for rows in read_run(tmp_path).metrics.values() for row in rows for name in row}
    assert {"reward", "kl", "seconds_env"} <= names
    assert [name for name in names - {"phase", "step", "decoding", "name", "text"} if not meaning(name)] == []


def test_a_metric_of_one_environment_means_what_it_means_elsewhere() -> None:
    assert meaning("env/two digits/success") == GLOSSARY["episodes"]["success"]
    assert meaning("env/two digits/weight") == GLOSSARY["episodes"]["env/NAME/weight"]
    assert meaning("reward_part/format") == GLOSSARY["episodes"]["reward_part/NAME"]
    assert meaning("of somebody else") == ""


def test_what_was_lost_is_a_problem_of_the_run_with_how_often(tmp_path: Path) -> None:
    rows = [step_row(1, num_engine_restarts=0), step_row(2, num_engine_restarts=1), step_row(4, num_engine_restarts=2)]
    run = make_run(tmp_path / "run", metrics=[*rows, step_row(5, num_dropped_stale=8)])

    listed = [(problem.where, problem.what.rpartition(": ")) for problem in problems(run)]
    assert [(where, what[0].partition(" ")[0], what[2]) for where, what in listed] == [
        ("training steps 2 to 4", "vLLM", "3"),
        ("training step 5", "Episodes", "8"),
    ]


def test_an_episode_says_which_weights_sampled_it(tmp_path: Path) -> None:
    segment = episode().segments[0]
    ages = np.where(segment.action_mask, 3, -1).astype(np.int32)
    ages[-1] = 5
    sampled = episode(segments=(replace(segment, weight_version=ages),))

    page = page_of(make_run(tmp_path / "run", after=[sampled, episode(sample=1)]))

    assert [shown["versions"] for shown in page.data["episodes"]] == [[3, 5], None]


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [None, "num_samples", "reward"])
def test_the_script_of_the_page_runs_to_its_end_whatever_the_metrics_lack(
    tmp_path: Path, require: Any, lacking: str | None
) -> None:
    browser = shutil.which("chromium")
    require("browser", browser, "there is no command chromium")
    rows = [step_row(step, success=0.5, seconds=1.0, seconds_sampling=0.4) for step in range(1, 4)]
    rows = [{name: value for name, value in row.items() if name != lacking} for row in rows]
    page = write_html(make_run(tmp_path / "run", before=[episode()], after=[episode()], metrics=rows))

    command = [str(browser), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    drawn = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, timeout=120, check=False)

    require("browser", b"svg-seed" in drawn.stdout, f"{browser} opens no file: {drawn.stderr[-500:]!r}")
    assert b"1 to 2 of 2 episodes" in drawn.stdout  # the script's last act
