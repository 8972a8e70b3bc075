"""Evaluations that are stored: going on after an interruption, telling others apart, scoring and comparing again."""

import errno
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import llmgym
from llmgym.cli import main
from llmgym.episode.register import make_token_env
from llmgym.errors import ConfigError, DataError, DiskFullError, OutputFolderError
from llmgym.evaluation import Evaluation
from llmgym.rollout import Rescored, Verdict, load_trajectories, rescore
from llmgym.sampling import ScriptedSampler

ENV = "test-evaluation-folder/Count-v0"
FAILING: set[str] = set()
"""Keys of tasks whose verifier fails."""
WORLD = {"greeting": "go on", "right": "2"}


class CountEnv(llmgym.MessageEnv):
    """Two turns; the second is scored."""

    default_limits = llmgym.Limits(turns=2, turn_tokens=8, episode_tokens=16, context_tokens=64)

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}-{n}", prompt=str(n)) for n in range(6)])

    def reset(self, task: llmgym.Task, rng: Any) -> llmgym.InitialMessages:
        self.task, self.num_turns = task, 0
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        self.num_turns += 1
        if self.num_turns == 1:
            return llmgym.EnvResponse(messages=(llmgym.Message("user", WORLD["greeting"]),))
        reward = float(message.content == WORLD["right"])
        score = llmgym.Score(reward=reward, is_valid=self.task.key not in FAILING, extracted=message.content)
        return llmgym.EnvResponse(score=score, terminated=True)


llmgym.register_env(ENV, CountEnv)
TOKENIZER = llmgym.ByteTokenizer()


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    FAILING.clear()
    monkeypatch.setitem(WORLD, "greeting", "go on")
    monkeypatch.setitem(WORLD, "right", "2")


class Counting(ScriptedSampler):
    """Says a random digit; breaks off after so many turns."""

    def __init__(self, num_turns: int = 10**9) -> None:
        super().__init__(self._digit)
        self.turns_left = num_turns

    def _digit(self, prompt: Any, params: Any, rng: Any) -> list[int]:
        self.turns_left -= 1
        if self.turns_left < 0:
            raise KeyboardInterrupt
        return [*TOKENIZER.encode(str(rng.integers(3))), TOKENIZER.eos_id]


def evaluated(folder: Path | None, *, sampler: Any = None, **settings: Any) -> Evaluation:
    settings = {"num_samples": 3, "concurrency": 1, **settings}
    return llmgym.evaluate(sampler or Counting(), ENV, tokenizer=TOKENIZER, output=folder, **settings)


def said(evaluation: Evaluation) -> list[Any]:
    return [
        (t.task_key, t.sample_index, t.seed, t.reward, [segment.token_ids.tolist() for segment in t.segments])
        for t in evaluation.trajectories
    ]


def test_an_interrupted_evaluation_goes_on_to_what_it_would_have_come_to(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluated(tmp_path / "a", sampler=Counting(num_turns=15))
    stored = (tmp_path / "a" / "episodes.jsonl").read_text()
    assert stored.count("\n") == 7
    (tmp_path / "a" / "episodes.jsonl").write_text(stored[:-40])  # killed while it wrote

    sampler = Counting()
    resumed = evaluated(tmp_path / "a", sampler=sampler)

    assert 10**9 - sampler.turns_left == 2 * (18 - 6)
    assert said(resumed) == said(evaluated(None))
    assert len({reward for *_, reward, _ in said(resumed)}) == 2
    assert json.loads((tmp_path / "a" / "figures.json").read_text()) == resumed.figures()


def test_an_evaluation_on_a_full_disk_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("llmgym.evaluation.folder.EpisodeLog.append", full)
        with pytest.raises(DiskFullError, match=r"to '.*/a'\. Make room, then evaluate with the same settings again"):
            evaluated(tmp_path / "a")

    assert said(evaluated(tmp_path / "a")) == said(evaluated(None))


def test_a_finished_evaluation_is_read_and_not_played_again(tmp_path: Path) -> None:
    first = evaluated(tmp_path / "a")

    again = evaluated(tmp_path / "a", sampler=Counting(num_turns=0))

    assert said(again) == said(first)


def test_invalid_episodes_are_tried_again_when_the_evaluation_goes_on(tmp_path: Path) -> None:
    FAILING.add("test-2")
    first = evaluated(tmp_path / "a")
    FAILING.clear()

    again = evaluated(tmp_path / "a")

    assert (first.num_invalid, again.num_invalid) == (3, 0)
    assert said(again) == said(evaluated(None))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.5}, "temperature is 1.0 there and 0.5 now"),
        ({"num_samples": 4}, "num_samples is 3 there and 4 now"),
        ({"seed": 1}, "seed is 0 there and 1 now"),
        ({"split": "train"}, "split is 'test' there and 'train' now"),
        ({"env_kwargs": {"limits": {"turn_tokens": 7}}}, "env_kwargs is {} there"),
    ],
)
def test_a_folder_of_another_evaluation_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    evaluated(tmp_path / "a")
    before = (tmp_path / "a" / "episodes.jsonl").read_bytes()

    with pytest.raises(ConfigError, match=words):
        evaluated(tmp_path / "a", **changes)

    assert (tmp_path / "a" / "episodes.jsonl").read_bytes() == before


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")

    with pytest.raises(OutputFolderError, match="nothing in it is overwritten"):
        evaluated(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    evaluated(tmp_path / "a")
    lines = (tmp_path / "a" / "episodes.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a" / "episodes.jsonl").write_text("".join([lines[0], "{}\n", *lines[2:]]))

    with pytest.raises(DataError, match="line 2"):
        evaluated(tmp_path / "a")


# -- scoring again ---------------------------------------------------------------------------------------------


def rescored(folder: Path) -> list[Rescored]:
    env = make_token_env(ENV)
    source = env.message_env.tasks("test")
    return [rescore(env, source, episode) for episode in load_trajectories(folder / "episodes.jsonl")]


def test_stored_episodes_score_as_they_did(tmp_path: Path) -> None:
    evaluated(tmp_path / "a")

    assert {result.verdict for result in rescored(tmp_path / "a")} == {Verdict.SAME}


def test_another_verifier_changes_rewards_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = evaluated(tmp_path / "a")
    monkeypatch.setitem(WORLD, "right", "1")

    results = rescored(tmp_path / "a")

    for result in results:
        answer = result.before.turns[-1].message.content
        assert result.after.reward == float(answer == "1")
        assert result.verdict is (Verdict.SAME if answer == "0" else Verdict.CHANGED)
        assert result.after.segments is result.before.segments
    assert Counter(r.verdict for r in results)[Verdict.CHANGED] > 0
    assert sum(r.before.reward for r in results) == sum(t.reward for t in before.trajectories)


def test_a_world_that_answers_otherwise_is_a_mismatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated(tmp_path / "a")
    monkeypatch.setitem(WORLD, "greeting", "and now?")

    results = rescored(tmp_path / "a")

    assert {result.verdict for result in results} == {Verdict.MISMATCH}
    assert "before turn 2" in results[0].note
    assert results[0].after is results[0].before


def test_a_verifier_that_fails_makes_an_episode_invalid_and_one_that_works_again_makes_it_valid(tmp_path: Path) -> None:
    evaluated(tmp_path / "a")
    FAILING.add("test-0")
    failed = [result for result in rescored(tmp_path / "a") if result.verdict is not Verdict.SAME]
    assert {(r.verdict, r.before.task_key, r.after.is_valid) for r in failed} == {(Verdict.CHANGED, "test-0", False)}
    evaluated(tmp_path / "b")
    FAILING.clear()

    mended = [result for result in rescored(tmp_path / "b") if result.verdict is not Verdict.SAME]

    assert {(r.verdict, r.before.is_valid, r.after.is_valid) for r in mended} == {(Verdict.CHANGED, False, True)}
    assert len(mended) == 3


def test_a_task_that_is_gone_is_named(tmp_path: Path) -> None:
    episode = evaluated(None).trajectories[0]
    env = make_token_env(ENV)

    result = rescore(env, env.message_env.tasks("train"), episode)

    assert result.verdict is Verdict.UNKNOWN_TASK
    assert "'test-0'" in result.note


# -- the commands ----------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


def test_rescore_writes_beside_the_file_and_ends_with_1_where_rewards_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path / "a")
    assert command(capsys, "rescore", tmp_path / "a")[0] == 0
    before = (tmp_path / "a" / "episodes.jsonl").read_bytes()
    monkeypatch.setitem(WORLD, "right", "1")

    code, printed = command(capsys, "rescore", tmp_path / "a", "--json")
    again, text = command(capsys, "rescore", tmp_path / "a")

    (file,) = json.loads(printed)["files"]
    assert (code, again) == (1, 1)
    assert "changed: task test-" in text
    assert file["verdicts"]["changed"] == len(file["differing"]) > 0
    assert (tmp_path / "a" / "episodes.jsonl").read_bytes() == before
    new = [list(load_trajectories(tmp_path / "a" / f"episodes.rescored-{n}.jsonl")) for n in (1, 2)]
    assert [t.reward for t in new[0]] == [t.reward for t in new[1]]
    assert sum(t.reward for t in new[0]) == sum(t.turns[-1].message.content == "1" for t in new[0])


def test_compare_pairs_two_folders_and_says_what_else_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated(tmp_path / "a")
    evaluated(tmp_path / "b", seed=1, temperature=0.5, num_samples=2)

    code, printed = command(capsys, "compare", tmp_path / "a", tmp_path / "b", "--json")
    _, text = command(capsys, "compare", tmp_path / "a", tmp_path / "b", "--show-tasks")

    result = json.loads(printed)["sampled"]
    assert (code, result["num_tasks"]) == (0, 6)
    assert any("temperature differs: 1.0 and 0.5" in warning for warning in result["warnings"])
    assert result["success"]["difference"]["value"] == pytest.approx(
        result["success"]["second"] - result["success"]["first"]
    )
    assert all(key in text for key in result["changed_tasks"])


@pytest.mark.parametrize("arguments", [("compare", "no/folder", "."), ("rescore", "no/folder"), ("compare", ".", ".")])
def test_what_is_no_run_and_no_evaluation_is_refused(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(list(arguments)) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Name " in printed.err
