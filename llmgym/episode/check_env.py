"""The conformance check of environments: Gymnasium's own, and the promises that llmgym adds."""

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from ..errors import CheckError, ConfigError, InfrastructureError
from .check_findings import Note, Problem
from .check_plays import Blocked, Subject
from .check_rules import RULES
from .message_env import MessageEnv
from .register import make_token_env
from .token_env import TokenEnv


@dataclass(frozen=True)
class CheckReport:
    """What was checked and held."""

    env: str
    passed: tuple[str, ...]
    """Names of the rules that held."""
    notes: tuple[str, ...]
    """What could not be checked, and why."""
    num_tasks: int
    """Tasks that were played."""
    num_episodes: int
    problems: tuple[tuple[str, Problem], ...] = ()
    """Rule and what breaks it; none in a report that `check_env` returns."""

    def __str__(self) -> str:
        played = f"{self.num_episodes} episodes of {self.num_tasks} tasks"
        notes = "".join(f"\n  not checked: {note}" for note in self.notes)
        return f"{self.env}: {len(self.passed)} rules hold over {played} ({', '.join(self.passed)}){notes}"


def check_env(
    env: str | gym.Env[Any, Any] | MessageEnv,
    *,
    num_tasks: int = 8,
    seed: int = 0,
    deadline_s: float = 60.0,
    skip: Collection[str] = (),
    **make_kwargs: Any,
) -> CheckReport:
    """Play an environment and see whether it keeps its promises.

    Rules, in order: *robustness* (no answer of the policy raises, and each is answered within the deadline), *tasks*
    (keys find tasks), *splits* (no prompt is in both), *seeds* (all repeats, to the last tool output), *views* (ids,
    masks and rewards agree between views and with the trajectory), *growth* (a conversation that grew turn by turn has
    the ids of the whole, but for how calls are spelt), *leaks* (the reference answer is not shown before the end),
    *reference* (`solve` earns the full reward, the upper end of `reward_range`), *cheap answers* (empty, random,
    constant, copied and listed answers earn the full reward on at most half of the tasks), *reading* (nor does a call
    of every tool), *budgets* (one that runs out truncates, for the right reason), *ending* (no step after it),
    *closing* (twice), *leftovers* (no process and no open file stays), *pickling*, *gymnasium* (its `check_env` has no
    warning), *messages* (the environment never speaks for the policy), *rewards* (all within `reward_range`).

    Args:
        env: an id, an environment that was made, or a `MessageEnv`.
        num_tasks: tasks to play; fewer where there are fewer.
        seed: of everything that is drawn.
        deadline_s: seconds that a `reset` or `step` may take.
        skip: names of rules to leave out.
        make_kwargs: keywords of the environment, with an id or a `MessageEnv`.

    Raises:
        CheckError: it does not; the message lists each broken promise, what was expected and how to mend it.
        ConfigError: `env` is nothing that can be checked, or `skip` names no rule.
    """
    report = examine_env(env, num_tasks=num_tasks, seed=seed, deadline_s=deadline_s, skip=skip, make_kwargs=make_kwargs)
    if report.problems:
        listed = "\n".join(f"- {rule}: {problem}" for rule, problem in report.problems)
        raise CheckError(f"{report.env} breaks {len(report.problems)} promises of an environment:\n{listed}")
    return report


def examine_env(
    env: str | gym.Env[Any, Any] | MessageEnv,
    *,
    num_tasks: int,
    seed: int = 0,
    deadline_s: float = 60.0,
    skip: Collection[str] = (),
    make_kwargs: Mapping[str, Any],
    on_rule: Callable[[str], None] = lambda rule: None,  # noqa: ARG005
) -> CheckReport:
    """As `check_env`, with what it finds in the report instead of an error.

    Args:
        on_rule: called with the name of each rule that was tried; the others as for `check_env`.

    Raises:
        ConfigError: `env` is nothing that can be checked, or `skip` names no rule.
    """
    for name in skip:
        if name not in RULES:
            raise ConfigError(f"skip names the rule {name!r}, which does not exist. There are: {', '.join(RULES)}.")
    if num_tasks < 1:
        raise ConfigError(f"num_tasks is {num_tasks}, but at least 1 task must be played.")
    name, make = _maker(env, dict(make_kwargs))
    subject = Subject(make, num_tasks=num_tasks, seed=seed, deadline_s=deadline_s)
    passed, notes, problems = [], [], []
    for rule, check in RULES.items():
        if rule in skip:
            notes.append(f"{rule}: skipped")
            continue
        try:
            findings = list(check(subject))
        except Blocked:
            problems.append((rule, _blocked(subject)))
            break  # and close nothing: a thread is still at work in it
        except InfrastructureError as error:
            problems.append((rule, Problem(f"{type(error).__name__}: {error}", "no error", "mend what raised it")))
            continue
        finally:
            subject.forget_details()
        problems += [(rule, finding) for finding in findings if isinstance(finding, Problem)]
        notes += [f"{rule}: {finding.text}" for finding in findings if isinstance(finding, Note)]
        if not findings:
            passed.append(rule)
        on_rule(rule)
    else:
        subject.close()
    return CheckReport(name, tuple(passed), tuple(notes), len(subject.tasks), len(subject.plays), tuple(problems))


def _blocked(subject: Subject) -> Problem:
    play = subject.plays[-1] if subject.plays else None
    where = f"Task {play.task.key!r} with {play.probe}" if play else "The environment"
    return Problem(
        f"{where} had no answer after {subject.deadline_s:g} seconds; the rules after this one were not tried",
        "an answer within the deadline",
        "bound what step() does, for example with llmgym.scoring's worker processes, or pass a longer deadline_s",
    )


def _maker(env: Any, make_kwargs: dict[str, Any]) -> tuple[str, Callable[[str], TokenEnv]]:
    """A name, and what makes a fresh environment of a view."""
    if isinstance(env, str):
        _made(env, make_kwargs)  # a foreign environment would not know the keyword `view`
        return env, lambda view: _made(env, {**make_kwargs, "view": view})
    if isinstance(env, MessageEnv):
        return type(env).__name__, lambda view: TokenEnv(copy.deepcopy(env), view=view, **make_kwargs)
    inner = _require_token_env(getattr(env, "unwrapped", env))
    if make_kwargs:
        raise ConfigError(f"The environment is made already, so {', '.join(make_kwargs)} cannot change it.")
    spec = inner.spec
    if spec is not None:
        return spec.id, lambda view: _made(spec, {"view": view})
    settings = inner.episode.settings
    return type(inner.message_env).__name__, lambda view: type(inner)(
        copy.deepcopy(inner.message_env),
        view=view,
        tokenizer=inner.tokenizer,
        limits=inner.limits,
        split=inner.split,
        tool_format=settings.tool_format,
        reasoning=settings.reasoning,
        malformed_call=settings.malformed_call,
        malformed_penalty=settings.malformed_penalty,
        stop_strings=settings.stop_strings,
        chat=inner.chat_form,
        chat_template_kwargs=inner.chat_template_kwargs,
    )


def _made(env: Any, make_kwargs: dict[str, Any]) -> TokenEnv:
    return make_token_env(env, **make_kwargs)


def _require_token_env(env: Any) -> TokenEnv:
    if not isinstance(env, TokenEnv):
        raise ConfigError(
            f"check_env checks environments of llmgym, but got a {type(env).__name__}. "
            "Pass an id, what gymnasium.make gave for it, or a MessageEnv."
        )
    return env
