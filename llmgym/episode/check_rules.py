"""The promises of an environment that `check_env` checks, each a generator of problems and notes."""

import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
from gymnasium.utils import env_checker

from ..errors import LLMGymError, ResetNeeded, UnknownTaskError
from .check_findings import FEW, Findings, Note, Problem, Rule
from .check_plays import TOLERANCE, Play, Probe, Subject, always, misalignment
from .check_worlds import check_budgets, check_growth, check_leftovers, check_reading
from .tasks import Task, TaskSource
from .token_env import TokenEnv

_ODD_ANSWERS = ("\0", "<call>", "<call></call>", "<tool_call>{", "9" * 5000, "\\boxed{", "💥 é", "1/0", " \n ")
_CONSTANTS = ("0", "yes")


def check_robustness(subject: Subject) -> Findings:
    """Whatever the policy says is answered or scored, in time, and never an error."""
    probes: dict[str, Callable[[Task], Probe]] = {"random ids": subject.random, "an empty answer": lambda _: always("")}
    for text in _ODD_ANSWERS:
        probes[repr(text[:20])] = lambda _, text=text: always(text)  # type: ignore[misc]
    for name, probe in probes.items():
        for task in subject.tasks[:FEW]:
            play = subject.play(name, probe(task), task)
            if play.error is not None:
                yield Problem(
                    f"Task {task.key!r} answered with {name} raised {type(play.error).__name__}: {play.error}",
                    "an answer or a score; an error means that the environment's own machinery failed",
                    "answer or score in step() what the policy does wrong, and give prompts room in default_limits",
                )
                break


def check_tasks(subject: Subject) -> Findings:
    """A key finds its task again, and a strange key is refused."""
    source = subject.message_env.tasks(subject.split)
    for task in subject.tasks:
        try:
            found = source.get(task.key)
        except UnknownTaskError:
            yield Problem(f"get({task.key!r}) knows no such task", "the task that has this key", "use FiniteTasks")
            return
        if (found.prompt, found.answer) != (task.prompt, task.answer):
            yield Problem(
                f"get({task.key!r}) gave the prompt {found.prompt!r:.80}, but the task with this key has "
                f"{task.prompt!r:.80}",
                "the same task",
                "make keys with content_key(prompt, answer), or use GeneratedTasks, which names tasks itself",
            )
            return
    try:
        source.get("no such key")
    except UnknownTaskError:
        return
    yield Problem('get("no such key") gave a task', "UnknownTaskError", "raise it from the source's get()")


def check_splits(subject: Subject) -> Findings:
    """No prompt is in two splits."""
    try:
        sources = {split: subject.message_env.tasks(split) for split in ("train", "test")}
        prompts = {split: _prompts(source) for split, source in sources.items()}
    except LLMGymError as error:
        yield Note(f"the splits train and test cannot be compared: {error}")
        return
    if all(source.size == 1 for source in sources.values()):
        yield Note("there is one task, the same in both splits")
        return
    shared = prompts["train"] & prompts["test"]
    if shared:
        yield Problem(
            f"{len(shared)} of {len(prompts['test'])} test prompts are train prompts too, such as {min(shared)!r:.80}",
            "splits that never overlap",
            "choose a task's split with split_of(prompt), or make tasks with GeneratedTasks(make, split=split)",
        )


def _prompts(source: TaskSource, limit: int = 1000) -> set[str]:
    if source.size is None:
        return {source[index].prompt for index in range(limit // 20)}
    step = max(1, source.size // limit)
    return {source[index].prompt for index in range(0, source.size, step)}


def check_seeds(subject: Subject) -> Findings:
    """The same seed and actions repeat everything, to the last tool output, in a used and in a fresh environment."""
    for task in subject.tasks[:FEW]:
        for name, probe in _reference_and_random(subject, task):
            first = subject.play(name, probe, task)
            for how, env in (("again", None), ("in a fresh environment", subject.make("turn"))):
                difference = first.difference(subject.play(name, probe, task, env=env))
                if difference:
                    yield Problem(
                        f"Task {task.key!r} with {name} came out differently when played {how} with the same seed: "
                        f"{difference}",
                        "the same observations, rewards and infos",
                        "take all randomness from the rng of reset(), set all state there, and keep times out of texts",
                    )
                    return


def check_views(subject: Subject) -> Findings:
    """Tokens, turns and text tell the same episode, and the trajectory is what was shown."""
    for task in subject.tasks[:FEW]:
        for name, probe in _reference_and_random(subject, task):
            views = ("turn", "token", "text") if name == "the reference turns" else ("turn", "token")
            plays = [subject.play(name, probe, task, view=view) for view in views]
            for play in plays:
                problem = misalignment(play, plays[0])
                if problem:
                    yield Problem(
                        f"In the {play.view} view, task {task.key!r} with {name}: {problem}",
                        "the same ids, masks and rewards in every view and in the trajectory",
                        "leave the ids, masks and rewards of TokenEnv as they are",
                    )
                    return


def check_leaks(subject: Subject) -> Findings:
    """The reference answer is in no observation and no info before the end, unless the prompt holds it."""
    tasks = [task for task in subject.tasks if task.answer and not _mentions(task.prompt, task.answer)]
    if not tasks:
        yield Note("no leak can be found: tasks have no reference answer, or their prompts hold it")
        return
    shown = {}
    for task in tasks:
        plays = [subject.play("an uninformed answer", always(text), task, view="text") for text in ("", "?")]
        shown[task.key] = "\n".join(_seen_before_the_end(play, subject) for play in plays)
    leaking = []
    for task in tasks:
        others = [text for key, text in shown.items() if key != task.key]
        # An answer that most other tasks show as well is part of the wording, such as "from 1 to 10".
        is_wording = sum(_mentions(text, str(task.answer)) for text in others) > len(others) / 2
        if _mentions(shown[task.key], str(task.answer)) and not is_wording:
            leaking.append(task)
    # One answer in eight tasks may be there by chance, such as 4 in a list of budgets.
    if len(leaking) >= min(len(tasks), max(2, len(tasks) // 4)):
        task = leaking[0]
        yield Problem(
            f"The reference answer {task.answer!r:.60} of task {task.key!r} is in an observation or info before the "
            f"end; so it is for {len(leaking)} of {len(tasks)} tasks",
            "no trace of it before the task ended",
            "keep it out of messages and tool answers, and give Score(expected=...) only with terminated=True",
        )


def _mentions(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None


def _seen_before_the_end(play: Play, subject: Subject) -> str:
    seen = []
    last = len(play.observations) - play.is_over
    for observation, info in zip(play.observations[:last], play.infos[:last], strict=True):
        rest = {name: value for name, value in info.items() if name not in ("new_ids", "new_mask")}
        seen += [str(observation), subject.tokenizer.decode(info.get("new_ids", ())), repr(rest)]
    return "\n".join(seen)


def check_reference(subject: Subject) -> Findings:
    """The reference turns end the task with the full reward."""
    full, is_known = subject.message_env.reward_range[1], False
    for task in subject.tasks:
        probe = subject.reference(task)
        if probe is None:
            continue
        is_known = True
        play = subject.play("the reference turns", probe, task)
        if not play.terminated or play.reward < full - TOLERANCE:
            stop_reason = play.error or (play.trajectory.stop_reason if play.trajectory else None)
            yield Problem(
                f"The reference turns {subject.envs['turn'].solve(task)!r:.120} of task {task.key!r} earned "
                f"{play.reward} and ended with {stop_reason}",
                f"the full reward, {full}, and the end of the task",
                "let solve() give what to say without end tokens, and calls as ToolCall; see reward_range and limits",
            )
            return
    if not is_known:
        yield Note("solve() knows no reference turns, so the full reward was never seen")


def check_cheap_answers(subject: Subject) -> Findings:
    """Empty, random, constant, copied and listed answers earn the full reward on at most half of the tasks."""
    references = [(task, subject.envs["turn"].solve(task)) for task in subject.tasks]
    probes: dict[str, Callable[[Task], Probe | None]] = {
        "an empty answer": lambda _: always(""),
        "random ids": subject.random,
        "the prompt, copied,": lambda task: always(_prompt_of(task, subject)),
    }
    for text in _CONSTANTS:
        probes[f"the constant answer {text!r}"] = lambda _, text=text: always(text)  # type: ignore[misc]
    for source, turns in references[:2] if len(references) > FEW else ():
        if turns:
            probes[f"the constant answer {turns[-1]!r:.40}, right for another task,"] = (
                lambda task, own=source, text=turns[-1]: None if task is own else always(text)  # type: ignore[misc]
            )
    for name, between in (("one a line", "\n"), ("in one line", " or ")):
        probes[f"a list of answers, the right one among them, {name},"] = (
            lambda task, between=between: _listing(task, subject, between)  # type: ignore[misc]
        )
    full = subject.message_env.reward_range[1]
    for name, make_probe in probes.items():
        chosen = [(task, probe) for task in subject.tasks if (probe := make_probe(task)) is not None]
        rewards = [subject.play(name, probe, task).reward for task, probe in chosen]
        num_full = sum(reward >= full - TOLERANCE for reward in rewards)
        if num_full > len(rewards) / 2:
            yield Problem(
                f"{name[0].upper()}{name[1:]} earned the full reward on {num_full} of {len(rewards)} tasks",
                "the full reward on at most half of them",
                "let the verifier demand the answer, word the prompt so that it is not one, and vary the answers",
            )


def _listing(task: Task, subject: Subject, between: str) -> Probe | None:
    """Says two other tasks' answers, the right one, and two others: neither the first nor the last is right.

    None where that means nothing: more turns than one, a tool call, or too few different answers.
    """
    solve = subject.message_env.solve
    answers = {each.key: turns[0] for each in subject.tasks if (turns := solve(each)) is not None and len(turns) == 1}
    own = answers.get(task.key)
    texts = dict.fromkeys(answer for answer in answers.values() if isinstance(answer, str))
    others = [text for text in texts if text != own][:4]
    if not isinstance(own, str) or len(others) < 2:
        return None
    middle = len(others) // 2
    return always(between.join([*others[:middle], own, *others[middle:]]))


def _prompt_of(task: Task, subject: Subject) -> str:
    env = subject.envs["turn"]
    subject.begin(env, task)
    return env.episode.messages[-1].content


def check_rewards(subject: Subject) -> Findings:
    """Every episode's reward is within the declared range. Looks at all plays of the rules before."""
    low, high = subject.envs["turn"].reward_range
    for play in subject.plays:
        if play.error is None and not low - TOLERANCE <= play.reward <= high + TOLERANCE:
            yield Problem(
                f"Task {play.task.key!r} with {play.probe} earned {play.reward}",
                f"a reward within reward_range, {low} to {high}",
                "scale the rewards of an episode, or declare their range in reward_range",
            )
            return


def check_messages(subject: Subject) -> Findings:
    """The environment speaks as tool or user, never for the policy. Looks at all plays of the rules before."""
    for play in subject.plays:
        wrong = play.answer_roles - {"tool", "user"}
        if wrong:
            yield Problem(
                f"Task {play.task.key!r} with {play.probe} was answered with a message of the role {wrong.pop()!r}",
                "tool and user messages",
                "put few-shot turns and instructions into InitialMessages, and answer as the user or a tool",
            )
            return


def check_ending(subject: Subject) -> Findings:
    """A step before the first reset or after the end raises ResetNeeded."""
    env, action = subject.make("turn"), [subject.tokenizer.eos_id]
    for when in ("before the first reset", "after the end"):
        try:
            subject.within_deadline(lambda: env.step(action))
        except ResetNeeded:
            subject.play("an empty answer", always(""), subject.tasks[0], env=env)
            continue
        yield Problem(f"A step {when} went through", "ResetNeeded", "leave the end of episodes to TokenEnv")
        return


def check_closing(subject: Subject) -> Findings:
    """An environment can be closed twice."""
    for used in (False, True):
        env = subject.make("turn")
        if used:
            subject.play("an empty answer", always(""), subject.tasks[0], env=env)
        try:
            env.close()
            env.close()
        except Exception as error:  # whatever close() raises is what this rule looks for
            yield Problem(f"Closing twice raised {error!r}", "nothing", "forget in close() what was freed")
            return


def check_pickling(subject: Subject) -> Findings:
    """An environment can be sent to another process, and is the same one there."""
    mend = "define the class at the top of a module, and load data and services on first use, not in __init__"
    try:
        env: TokenEnv = pickle.loads(pickle.dumps(subject.make("turn")))
    except Exception as error:  # pickling runs the environment's own code, which may raise anything
        yield Problem(f"Pickling raised {error!r:.200}", "a copy", mend)
        return
    task = subject.tasks[0]
    for name, probe in _reference_and_random(subject, task):
        difference = subject.play(name, probe, task).difference(subject.play(name, probe, task, env=env))
        if difference:
            yield Problem(f"After pickling, task {task.key!r} with {name}: {difference}", "the same episode", mend)
            break
    env.close()


def check_gymnasium(subject: Subject) -> Findings:
    """Gymnasium's own checks pass in every view, without a warning."""
    for view in ("token", "turn", "text"):
        env: gym.Env[Any, Any] = subject.make(view)
        has_no_spec = env.spec is None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                subject.within_deadline(
                    lambda env=env, skip=has_no_spec: env_checker.check_env(  # type: ignore[misc]
                        env, skip_render_check=skip, skip_close_check=skip
                    ),
                    factor=20,
                )
                problems = []
            except (AssertionError, gym.error.Error, LLMGymError) as error:
                problems = [str(error)]
        for problem in [*problems, *(str(warning.message) for warning in caught)]:
            yield Problem(
                f"In the {view} view, Gymnasium's check_env says: {problem}",
                "nothing to complain of",
                "see its message; a turn of a few tokens must fit the limits",
            )
            return


def _reference_and_random(subject: Subject, task: Task) -> Iterator[tuple[str, Probe]]:
    reference = subject.reference(task)
    if reference is not None:
        yield "the reference turns", reference
    yield "random ids", subject.random(task)


RULES: dict[str, Rule] = {
    "robustness": check_robustness,
    "tasks": check_tasks,
    "splits": check_splits,
    "seeds": check_seeds,
    "views": check_views,
    "growth": check_growth,
    "leaks": check_leaks,
    "reference": check_reference,
    "cheap answers": check_cheap_answers,
    "reading": check_reading,
    "budgets": check_budgets,
    "ending": check_ending,
    "closing": check_closing,
    "leftovers": check_leftovers,
    "pickling": check_pickling,
    "gymnasium": check_gymnasium,
    "messages": check_messages,
    "rewards": check_rewards,
}
"""In the order in which they run: the first finds answers that never come, the last two look at all plays."""
