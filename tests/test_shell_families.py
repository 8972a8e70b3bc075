"""Every family of tasks in a file system: real commands reach what the generator computed, and nothing cheaper does."""

import re
from collections import Counter
from functools import partial
from random import Random

import pytest
from llmgym.envs.shell import ABOUT_METADATA, FAMILIES, ShellEnv
from llmgym.envs.shell.comparison import difference
from llmgym.envs.shell.tree import MODIFIED_S, File, dump, lay, unpack, with_folders
from support.sandboxes import sandbox_of
from support.shell import TRUSTED, play, solved

from llmgym.execution import Limits


def exercises(family, seeds):
    return [FAMILIES[family](Random(seed), difficulty) for seed in seeds for difficulty in (1, 2, 3)]


QUESTIONS = [name for name in FAMILIES if exercises(name, [0])[0].answer]


@pytest.fixture(scope="module")
def session(require):
    with sandbox_of("process", require) as sandbox, sandbox.session(limits=Limits(wall_s=60)) as opened:
        yield opened


@pytest.mark.parametrize("family", FAMILIES)
def test_shell_commands_reach_what_the_generator_computed(family, session):
    exercise = FAMILIES[family](Random(7), 2)
    session.command("find . -mindepth 1 -delete")
    lay(session, exercise.before)

    printed = session.command(exercise.commands).stdout.text

    found = difference(exercise.goal, dump(session), partial(unpack, session), exact_modes=exercise.exact_modes)
    assert found is None, exercise.prompt
    assert all(word in printed for word in (exercise.answer or "").split())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_solves_one_task_does_not_solve_the_next(family, session):
    one, other = (FAMILIES[family](Random(seed), 1) for seed in (1, 2))
    session.command("find . -mindepth 1 -delete")
    lay(session, one.before)

    session.command(other.commands)

    is_done = difference(one.goal, dump(session), partial(unpack, session), exact_modes=one.exact_modes) is None
    assert not is_done or one.answer not in (None, other.answer)


HASTY = {
    "largest_file": "ls -S $(find . -type f) | head -1 | sed 's|^./||'",
    "newest_file": "ls -t $(find . -type f) | head -1 | sed 's|^./||'",
    "slowest_request": "sed 's/ms=//' */requests.log | grep ^{method} | sort -nk4 | tail -1 | awk '{{print $2, $4}}'",
    "scheduled_command": "grep ' \\* \\* 1 ' */crontab | awk '{{print $6}}'",
    "disable_jobs": "sed -i 's|^\\(.* {command} .*\\)$|# \\1|' */crontab",
    "log_window": 'd=$(echo *-*); cat $d/*.log | awk \'$1 >= "{start}" && $1 <= "{end}"\' > $d/window.txt',
    "retarget_links": "cd */links; for l in *; do ln -sfn ../{new}/$(basename $(readlink $l)) $l; done",
}
PATTERNS = (r"the (?P<method>\w+) requests", r"command (?P<command>\S+) and", r"from (?P<start>\S+) to (?P<end>\S+),",
            r"renamed to \S+/(?P<new>\w+),")  # fmt: skip


@pytest.mark.parametrize("family", HASTY)
def test_who_reads_a_condition_over_earns_nothing(family, session):
    for exercise in (FAMILIES[family](Random(seed), 1) for seed in range(3)):
        session.command("find . -mindepth 1 -delete")
        lay(session, exercise.before)
        given = {
            name: text
            for p in PATTERNS
            for m in re.finditer(p, exercise.prompt)
            for name, text in m.groupdict().items()
        }

        printed = session.command(HASTY[family].format(**given)).stdout.text

        is_done = difference(exercise.goal, dump(session), partial(unpack, session)) is None
        assert not is_done or (exercise.answer and printed.strip() != exercise.answer)


LEVELS = ("process", "landlock", "bwrap")


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_reference_turns_earn_the_full_reward_in_every_sandbox(level, require):
    sandbox_of(level, require, num_workers=1).close()
    for family in list(FAMILIES)[LEVELS.index(level) :: 3]:
        score, task = solved(family, level, difficulty=3)
        assert score.reward == 1.0, (score.reason, task.prompt)


def test_the_goal_is_never_reached_at_the_start():
    for exercise in (exercise for family in FAMILIES for exercise in exercises(family, range(8))):
        reached = difference(exercise.goal, with_folders(exercise.before), lambda _: None) is None
        assert reached == (exercise.after is None)
        assert exercise.after is not None or exercise.answer


@pytest.mark.parametrize("family", QUESTIONS)
def test_no_answer_is_frequent_or_in_the_prompt(family):
    asked = exercises(family, range(60))

    answers = Counter(exercise.answer for exercise in asked)

    assert answers.most_common(1)[0][1] <= len(asked) / 20
    assert not any(f" {exercise.answer} " in exercise.prompt for exercise in asked)


def test_one_folder_holds_more_than_every_other():
    for exercise in exercises("folder_sizes", range(400)):
        totals = Counter()
        for path, entry in exercise.before.items():
            totals[path.split("/")[1]] += len(entry.data)
        first, second = totals.most_common(2)
        assert first[1] > second[1]
        assert exercise.answer == f"{first[0]} {first[1]}"


def test_prompts_are_many_so_that_splits_are_fair():
    for family in FAMILIES:
        prompts = {FAMILIES[family](Random(seed), 1).prompt for seed in range(50)}
        assert len(prompts) >= 49, family


def test_families_that_need_permissions_or_times_are_known():
    def needs(exercise):
        found = [entry for entry in exercise.before.values() if isinstance(entry, File)]
        return exercise.exact_modes or any((file.mode, file.modified_s) != (0o644, MODIFIED_S) for file in found)

    needing = {family for family in FAMILIES if any(map(needs, exercises(family, range(3))))}

    assert needing == set(ABOUT_METADATA)


def test_by_default_tasks_are_such_as_every_sandbox_can_run():
    tasks = ShellEnv(**TRUSTED).tasks("train")

    drawn = {tasks[index].metadata["family"] for index in range(600)}

    assert drawn == FAMILIES.keys() - set(ABOUT_METADATA)


def test_difficulty_changes_the_task():
    for family in FAMILIES:
        assert len({str(FAMILIES[family](Random(5), difficulty)) for difficulty in (1, 2, 3)}) == 3, family


@pytest.mark.parametrize("family", ["largest_file", "sort_table"])
def test_reading_everything_and_ending_earns_nothing(family):
    env = ShellEnv(families=[family], **TRUSTED)
    task = env.tasks("train")[0]

    first, (shown,) = play(env, task, "find . | sort; find . -type f -exec cat {} +")
    others = [play(env, task, answer=answer)[0] for answer in (shown, task.prompt, "0", "yes")]

    assert [score.reward for score in (first, *others)] == [0.0] * 5
    env.close()
