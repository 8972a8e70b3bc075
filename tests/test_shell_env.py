"""Episodes in a file system: what is there in the end is judged, and nothing that the policy says about it."""

import asyncio

import gymnasium as gym
import numpy as np
import pytest
from llmgym.envs.shell import ShellEnv
from support.sandboxes import guest_processes, sandbox_of, until
from support.shell import TRUSTED, play, settings_of

import llmgym
from llmgym.errors import ConfigError, SandboxError
from llmgym.messages import AssistantMessage

ATTACKS = {
    "nothing": "true",
    "a shell that lies": "ls() { echo sorted.txt; }; alias cat=ls; export PATH=$PWD/scratch:$PATH; ls",
    "programs that lie": "mkdir -p scratch; printf '#!/bin/sh\\nexit 0' > scratch/ls; chmod +x scratch/ls",
    "a link out of the folder": "{solution}; rm */sorted.txt; ln -s /etc/passwd $(ls -d *-*)/sorted.txt",
    "a link to a right file": "{solution}; mkdir scratch; mv */sorted.txt scratch; ln -s ../scratch/sorted.txt *-*",
    "the folder through a link": "{solution}; mkdir scratch; d=$(ls -d *-*); mv $d scratch; ln -s scratch/$d $d",
    "modules that stand in for ours": "{solution}; for m in json stat os tarfile; do echo 'exit(0)' > $m.py; done",
    "a file that waits for ever": "{solution}; f=$(ls -d */sorted.txt); rm $f; mkfifo $f",
    "a file without end": "{solution}; truncate -s 60M big",
    "files without number": "{solution}; mkdir m; cd m; seq 3000 | xargs touch",
    "paths that are too long": "{solution}; n=$(printf %0200d 1); for i in $(seq 40); do mkdir $n; cd $n; done",
    "a folder that is shut": "{solution}; chmod 000 *-*",
    "a trace": "{solution}; touch .done",
    "harm to another file": "{solution}; echo >> $(ls *-*/*.txt | grep -v sorted)",
    "no last newline": '{solution}; f=$(ls -d */sorted.txt); printf %s "$(cat $f)" > $f',
}


@pytest.fixture
def made():
    opened = []

    def make(family, **settings):
        opened.append(ShellEnv(families=[family], **{**TRUSTED, **settings}))
        return opened[-1], opened[-1].tasks("train")[0]

    yield make
    for env in opened:
        env.close()
        env.close()


def commands_of(env, task):
    return env.solve(task)[0].arguments["command"]


def test_the_right_files_earn_and_what_is_said_of_them_does_not(made):
    env, task = made("sort_table")

    done, _ = play(env, task, commands_of(env, task), answer="I failed")
    claimed, _ = play(env, task, "echo done", answer="done")

    assert (done.reward, dict(done.parts), done.reason) == (1.0, {"files": 1.0}, "all is as it should be")
    assert (claimed.reward, dict(claimed.parts)) == (0.0, {"files": 0.0})
    assert claimed.reason.endswith("sorted.txt is missing")


SLOW_LEVELS = [pytest.param(level, marks=pytest.mark.slow) for level in ("process", "landlock")]


@pytest.mark.parametrize("level", ["bwrap", *SLOW_LEVELS])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_trick_earns_anything(attack, level, require, made):
    sandbox_of(level, require, num_workers=1).close()
    env, task = made("sort_table", **settings_of(level))

    score, _ = play(env, task, ATTACKS[attack].replace("{solution}", commands_of(env, task)))

    assert score.reward == 0.0


def test_a_process_that_would_do_it_later_does_not_live_so_long(made):
    env, task = made("sort_table")

    score, _ = play(env, task, f"(setsid sh -c 'sleep 0.2; {commands_of(env, task)}' &) ; true", "sleep 0.4")

    assert score.reward == 0.0


def test_what_is_in_scratch_does_not_count(made):
    env, task = made("sort_table")

    score, _ = play(env, task, "mkdir scratch; seq 99999 > scratch/numbers", commands_of(env, task))

    assert score.reward == 1.0


def test_a_question_is_judged_by_its_answer_without_regard_to_white_space(made):
    env, task = made("most_frequent")
    name, number = task.answer.split()

    rewards = [
        play(env, task, "ls", answer=answer)[0].reward
        for answer in (f" {name}\n{number} ", f"{name}, {number}", f"It is {task.answer}.", "")
    ]

    assert rewards == [1.0, 0.0, 0.0, 0.0]


def test_whoever_changes_files_to_answer_a_question_earns_nothing(made):
    env, task = made("most_frequent")

    score, _ = play(env, task, "touch x", answer=task.answer)

    assert (score.reward, dict(score.parts)) == (0.0, {"files": 0.0, "answer": 1.0})


def test_a_message_without_a_call_is_the_answer_too(made):
    env, task = made("largest_file")
    env.reset(task, np.random.default_rng(0))

    response = asyncio.run(env.answer(AssistantMessage(f"\n{task.answer}")))

    assert (response.score.reward, response.terminated) == (1.0, True)


def test_an_episode_that_does_nothing_starts_no_process(made):
    env, task = made("sort_table")
    before = guest_processes()

    score, _ = play(env, task)

    assert (score.reward, score.reason) == (0.0, "nothing was done")
    assert guest_processes() == before


def test_neither_answer_nor_goal_is_in_the_sandbox(made):
    env, task = made("twin_files")

    _, printed = play(env, task, "env; find . -name '.*' -o -type l -o -empty")

    assert task.answer not in printed[0]
    assert "HOME=" in printed[0]


def test_listings_are_the_same_every_time(made):
    env, task = made("rename_suffix")

    listings = [play(env, task, "find . -type f -exec ls -l {} + | sort; ls -la *")[1] for _ in range(2)]

    assert listings[0] == listings[1]
    assert all(" Jan  1  2024 " in line for line in listings[0][0].splitlines() if line[0] in "-d")


def test_a_fork_has_files_of_its_own(made):
    env, task = made("sort_table")
    env.reset(task, np.random.default_rng(0))
    env.workspace.session.command("mkdir scratch")
    fork = env.fork()
    fork.workspace.session.command(commands_of(env, task))

    rewards = [asyncio.run(each.answer(AssistantMessage(""))).score.reward for each in (env, fork)]

    assert rewards == [0.0, 1.0]
    fork.close()


def test_a_lost_sandbox_is_an_error_and_no_reward(made):
    env, task = made("sort_table")
    env.reset(task, np.random.default_rng(0))
    env.workspace.session.close()

    with pytest.raises(SandboxError):
        asyncio.run(env.answer(AssistantMessage("done")))


def test_no_process_outlives_its_episode(made):
    env, task = made("sort_table")
    before = len(guest_processes())

    play(env, task, "setsid sleep 1000 & (nohup sleep 1000 >/dev/null 2>&1 &) ; sleep 1000 & true")

    assert until(lambda: len(guest_processes()) <= before)


def test_an_episode_out_of_turns_is_truncated_and_earns_nothing():
    env = gym.make("llmgym/Shell-v0", view="text", limits={"turns": 2}, **TRUSTED)
    env.reset(seed=0)

    for _ in range(2):
        seen, reward, terminated, truncated, info = env.step("<call>shell ls</call>")

    assert "error" not in seen
    assert (reward, terminated, truncated, str(info["stop_reason"])) == (0.0, False, True, "turn_budget")
    env.close()


@pytest.mark.parametrize(
    "settings",
    [{"families": ["sorting"]}, {"families": []}, {"difficulty": 4}, {"prompt_template": "Do it."}],
    ids=str,
)
def test_settings_that_do_not_exist_are_refused(settings):
    with pytest.raises(ConfigError):
        ShellEnv(**settings)


def test_prompts_are_the_users():
    env = ShellEnv(system_prompt="", prompt_template="Task: {prompt}", **TRUSTED)
    task = env.tasks("test")[0]

    (message,) = env.reset(task, np.random.default_rng(0)).messages

    assert (message.role, message.content) == ("user", f"Task: {task.prompt}")


@pytest.mark.slow
def test_the_environment_keeps_its_promises(require):
    sandbox_of("bwrap", require, num_workers=1).close()

    llmgym.check_env("llmgym/Shell-v0", num_tasks=3, sandbox="bwrap")
