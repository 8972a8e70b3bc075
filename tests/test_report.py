"""The report of a run: one file, no network, true numbers, and nothing that was sampled becomes markup."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.report import HOSTILE, TOKENIZER, Page, episode, make_run, page_of, step_row

import llmgym
from llmgym.cli import main
from llmgym.cli.runs import run_file
from llmgym.episode import StopReason
from llmgym.errors import DataError
from llmgym.messages import ToolCall
from llmgym.report import course_table, read_run
from llmgym.report.episodes import embed_run
from llmgym.report.page_data import page_data
from llmgym.rollout import load_trajectories
from llmgym.training import RunProgress


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of the demo, with its report."""
    folder = tmp_path_factory.mktemp("real") / "run"
    few = ["steps=2", "cold_start.steps=3", "cold_start.num_demonstrations=64", "cold_start.learner.warmup_steps=1"]
    few += ["learner.warmup_steps=1", "rollout.tasks_per_step=2", "evaluation.num_tasks=8", "evaluation.every=1"]
    run_file("demo", [*few, f"output={json.dumps(str(folder))}"], progress=RunProgress(quiet=True))
    return folder


def test_a_run_ends_in_one_file_that_asks_no_network_for_anything(real_run: Path) -> None:
    markup = (real_run / "report.html").read_text(encoding="utf-8")

    page = Page(markup)

    assert page.open == []
    assert "http:" not in markup
    assert "https:" not in markup
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "base"}
    assert all(attributes.get("href", "#").startswith("#") for _, attributes in page.tags)  # type: ignore[union-attr]
    assert not any("src" in attributes for _, attributes in page.tags)
    (policy,) = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
    assert policy.startswith("default-src 'none'")  # type: ignore[union-attr]


def test_the_page_has_one_heading_for_each_section_and_a_name_for_each_control(real_run: Path) -> None:
    page = Page((real_run / "report.html").read_text(encoding="utf-8"))

    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in page.tags].count("h1") == 1
    for tag, attributes in page.tags:
        if tag == "section":
            assert attributes["aria-labelledby"] in ids
    labels = " ".join(page.inside("label"))
    assert all(name in labels for name in ("From", "Outcome", "Stopped", "Text", "Colour", "Metric"))


def test_the_report_says_what_was_run_and_how_to_repeat_it(real_run: Path) -> None:
    page = Page((real_run / "report.html").read_text(encoding="utf-8"))

    facts = dict(zip(page.inside("dt"), page.inside("dd"), strict=True))
    assert facts["Seed"] == "0"
    assert "steps=" not in facts["Agent"]
    assert "group_size=8" in facts["Agent"]
    assert "torch 2" in facts["Versions"]
    command, config = page.inside("code")
    assert command == f"llmgym train {real_run}/config.toml --output {real_run}-again"
    assert config == (real_run / "config.toml").read_text()


def test_the_table_says_what_the_evaluations_say(real_run: Path) -> None:
    run = read_run(real_run)
    page = Page((real_run / "report.html").read_text(encoding="utf-8"))

    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in page.inside("td")]
    for evaluation in (*run.before.values(), *run.after.values()):
        success = evaluation.success
        assert f"{100 * success.value:.1f} % [{100 * success.low:.1f}, {100 * success.high:.1f}]" in cells
        assert str(evaluation.reward) in cells
        assert f"{evaluation.summary()['mean_action_tokens']:.1f}" in cells
    measured = [row["success"] for row in run.rows("evaluation") if row["decoding"] == "sampled"]
    assert (measured[0], measured[-1]) == tuple(at["sampled"].success.value for at in (run.before, run.after))


def test_every_stored_episode_is_in_the_page_token_by_token(real_run: Path) -> None:
    page = Page((real_run / "report.html").read_text(encoding="utf-8"))
    run = read_run(real_run)
    stored = [t for _, _, evaluation in run.evaluations() for t in evaluation.trajectories]
    stored += [t for _, path in run.batches() for t in load_trajectories(path)]

    assert len(page.data["episodes"]) == len(stored) == 2 * 2 * 8 + 2 * 16
    for embedded, trajectory in zip(page.data["episodes"], stored, strict=True):
        segments = [(segment["ids"], mask_of(segment)) for segment in embedded["segments"]]
        assert segments == [(s.token_ids.tolist(), s.action_mask.tolist()) for s in trajectory.segments]
        assert embedded["reward"] == trajectory.reward
        assert len(embedded["logprobs"]) == trajectory.num_actions
        assert len(embedded["turns"]) == len(trajectory.turns)
    ids = stored[0].segments[0].token_ids.tolist()
    texts = [page.data["tokens"][str(token)] for token in ids]
    assert "".join(shown for shown, is_control in texts if not is_control) == run.tokenizer.decode(ids)


def mask_of(segment: Mapping[str, Any]) -> list[bool]:
    """True where the policy wrote: positions whose number of borders up to them is odd."""
    return [sum(border <= p for border in segment["borders"]) % 2 == 1 for p in range(len(segment["ids"]))]


def test_a_stored_batch_of_a_run_tells_the_advantages(real_run: Path) -> None:
    stored = list(load_trajectories(real_run / "trajectories" / "step-000002.jsonl.gz"))

    assert [len(t.metadata["advantages"]) for t in stored] == [t.num_actions for t in stored]


def test_advantages_are_one_number_where_all_tokens_have_the_same(tmp_path: Path) -> None:
    batch = [episode("12", metadata={"advantages": values}) for values in ([0.5, 0.5, 0.5], [1.0, 0.0, -1.0])]

    page = page_of(make_run(tmp_path / "run", batch=[*batch, episode("12")]))

    assert [embedded["advantages"] for embedded in page.data["episodes"]] == [0.5, [1.0, 0.0, -1.0], None]


def test_a_hostile_answer_stays_text(tmp_path: Path) -> None:
    trajectory = episode(HOSTILE, metadata={"advantages": [1.0] * 90}, task_key=HOSTILE)
    call = ToolCall(name=HOSTILE, arguments={HOSTILE: HOSTILE}, id="call")
    (turn,) = trajectory.turns
    trajectory = replace(trajectory, turns=(replace(turn, message=replace(turn.message, tool_calls=(call,))),))

    page = page_of(make_run(tmp_path / "run", before=[trajectory], after=[trajectory], batch=[trajectory]))

    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(tag == "img" for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    embedded = page.data["episodes"][0]
    assert embedded["turns"][0]["score"]["extracted"] == HOSTILE
    assert embedded["turns"][0]["calls"] == [{"name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}]
    assert embedded["task"] == HOSTILE


def test_hostile_settings_and_reasons_stay_text(tmp_path: Path) -> None:
    score = llmgym.Score(reward=0.0, is_valid=False, reason=HOSTILE)
    bad = episode(is_valid=False, stop_reason=StopReason.ENV_ERROR)
    bad = replace(bad, turns=(replace(bad.turns[0], score=score),))

    page = page_of(make_run(tmp_path / "run", after=[episode(), bad], agent={"name": HOSTILE.replace("\x00", "")}))

    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(tag == "img" for tag, _ in page.tags)
    assert any("env_error" in cell and "<img src=x" in cell for cell in page.inside("td"))


def test_numbers_that_json_does_not_know_are_unknown_in_the_page(tmp_path: Path) -> None:
    rows = [step_row(1, loss=math.nan, grad_norm=math.inf), step_row(2, loss=0.5, grad_norm=1.0, extra=3)]

    page = page_of(make_run(tmp_path / "run", after=[episode()], metrics=rows))

    columns = page.data["metrics"]["train"]["columns"]
    assert columns["loss"] == [None, 0.5]
    assert columns["grad_norm"] == [None, 1.0]
    assert columns["extra"] == [None, 3]


def test_what_does_not_fit_is_left_out_and_counted(tmp_path: Path) -> None:
    many = [episode(sample=index) for index in range(50)]
    run = make_run(tmp_path / "run", before=many, after=many, batch=many, metrics=[step_row(1, num_episodes=50)])

    embedded = embed_run(run, held_out_bytes=6000, batch_bytes=2000)

    assert [source["total"] for source in embedded.sources] == [50, 50, 50]
    kept = [source["kept"] for source in embedded.sources]
    assert all(0 < number < 50 for number in kept)
    assert len(embedded.episodes) == sum(kept)
    assert len(json.dumps(embedded.episodes)) < 10_000
    assert [e["task"] for e in embedded.episodes if e["source"] == 0] == [f"task-{n}" for n in range(kept[0])]


def test_the_page_tells_how_many_episodes_were_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", after=[episode(sample=index) for index in range(9)])
    monkeypatch.setattr("llmgym.report.html.embed_run", lambda run: embed_run(run, held_out_bytes=1500))

    page = page_of(run)

    (hint,) = [hint for hint in page.inside("p") if "left out" in hint]
    kept = len(page.data["episodes"])
    assert 0 < kept < 9
    assert hint.startswith(f"{kept} of 9 stored episodes")
    assert f"{9 - kept} were left out" in hint


def test_a_run_without_held_out_episodes_or_steps_still_has_a_report(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=0)

    page = page_of(run)

    assert page.data["episodes"] == []
    assert page.data["metrics"] == {}
    assert any("No held-out episodes" in paragraph for paragraph in page.inside("p"))
    assert course_table(run) is None


def test_a_real_run_of_no_steps_is_the_same_before_and_after(tmp_path: Path) -> None:
    overrides = ["steps=0", "cold_start.steps=1", "cold_start.num_demonstrations=4", "cold_start.batch_size=4"]
    overrides += ["cold_start.learner.warmup_steps=0", "learner.warmup_steps=0", "evaluation.num_tasks=3"]

    run_file("demo", [*overrides, f"output={json.dumps(str(tmp_path / 'run'))}"], progress=RunProgress(quiet=True))

    run = read_run(tmp_path / "run")
    assert run.before["greedy"].summary() == run.after["greedy"].summary()
    assert page_data(run, embed_run(run))["metrics"].keys() == {
        "cold_start",
        "evaluation, sampled",
        "evaluation, greedy",
    }


def test_failures_of_ours_are_listed(tmp_path: Path) -> None:
    broken = episode(is_valid=False, stop_reason=StopReason.ENV_ERROR, task_key="the-broken-one")
    rows = [step_row(1, num_invalid=1), step_row(2, num_non_finite_steps=1.0), step_row(3)]

    page = page_of(make_run(tmp_path / "run", after=[episode()], batch=[broken], metrics=rows))

    listed = " ".join(page.inside("td"))
    assert "1 invalid episodes were left out" in listed
    assert "the-broken-one, env_error" in listed
    assert "a gradient was not finite" in listed
    assert page.data["episodes"][1]["outcome"] == "invalid"


def test_long_runs_are_thinned_out_evenly_and_keep_their_last_step(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", metrics=[step_row(step) for step in range(1, 2502)])

    train = page_of(run).data["metrics"]["train"]

    assert train["every"] == 3
    assert train["columns"]["step"][:3] == [1, 4, 7]
    assert train["columns"]["step"][-1] == 2501
    assert len(train["columns"]["reward"]) <= 1001


def test_show_prints_the_table_and_writes_the_report_anew(real_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (real_run / "report.html").unlink()

    assert main(["show", str(real_run)]) == 0

    shown = capsys.readouterr().out
    assert "8 held-out tasks" in shown
    assert "2 training steps" in shown
    assert f"--output {real_run}-again" in shown
    assert (real_run / "report.html").is_file()


def test_show_as_json_is_one_object_with_the_figures(real_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(real_run), "--json"]) == 0

    captured = capfd.readouterr()
    figures = json.loads(captured.out)
    assert figures["after"]["sampled"] == read_run(real_run).after["sampled"].summary()
    assert figures["last_step"]["step"] == 2
    assert captured.err == ""


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (".", "There is no folder"),
        ("config.toml", "has no config.toml, so it is not the folder of a run"),
        ("metrics.jsonl", "has no metrics.jsonl"),
        ("model", "no tokenizer folder"),
    ],
)
def test_show_says_what_is_missing_from_a_folder(
    missing: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "run", after=[episode()])
    if (tmp_path / "run" / missing).is_file():
        (tmp_path / "run" / missing).unlink()

    code = main(["show", str(tmp_path / ("nowhere" if missing == "." else "run"))])

    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("metrics.jsonl", '{"phase": "train", "step": 1}\n{"phase": "tr', "line 2"),
        ("metrics.jsonl", "[1]\n", "line 1"),
        ("run.json", "{}", "is not the record of a run"),
        ("run.json", '{"sta', "is not the record of a run"),
    ],
)
def test_a_damaged_file_is_named(file: str, contents: str, message: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run", after=[episode()])
    (tmp_path / "run" / file).write_text(contents)

    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "run", tokenizer=TOKENIZER)
