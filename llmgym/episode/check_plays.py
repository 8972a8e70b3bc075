"""Episodes that `check_env` plays, and what came back."""

import copy
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from gymnasium.utils.env_checker import data_equivalence

from ..errors import LLMGymError
from ..messages.spaces import Tokens
from .tasks import Task
from .token_env import TokenEnv
from .trajectory import Trajectory

T = TypeVar("T")
TOLERANCE = 1e-9
"""Of sums of rewards."""
Turn = str | list[int]
"""What a probe says: a text, to which the end token is added where needed, or ids."""
Probe = Callable[[int], Turn | None]
"""The turn of each number, from 0; None where the probe has nothing more to say."""


class Blocked(Exception):
    """The environment did not answer in time; its thread is still busy."""


@dataclass(eq=False)
class Play:
    """One episode, up to its end or the probe's last turn.

    Lists have one entry a step; observations and infos begin with those of `reset`.
    """

    probe: str
    task: Task
    view: str
    actions: list[Any] = field(default_factory=list)
    observations: list[Any] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    answer_roles: set[str] = field(default_factory=set)
    """Roles of the messages with which the environment answered."""
    is_over: bool = False
    terminated: bool = False
    trajectory: Trajectory | None = None
    error: LLMGymError | None = None
    """What the environment raised; the episode ended there."""

    @property
    def reward(self) -> float:
        """Of the whole episode."""
        return sum(self.rewards)

    def difference(self, other: "Play") -> str | None:
        """The first thing in which another play of the same actions came out differently, in words."""
        if repr(self.error) != repr(other.error):
            return f"one ended with {self.error!r}, the other with {other.error!r}"
        for name in ("observations", "infos", "rewards"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if len(ours) != len(theirs):
                return f"one took {len(ours)} steps, the other {len(theirs)}"
            for index, (one, two) in enumerate(zip(ours, theirs, strict=True)):
                if not data_equivalence(one, two, exact=True):
                    return f"{name}[{index}] was {_difference_of(one, two)}"
        if (self.is_over, self.terminated) != (other.is_over, other.terminated):
            return "only one of them ended the task"
        return None


def _difference_of(one: Any, two: Any) -> str:
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        name = next(name for name in one if not data_equivalence(one[name], two[name], exact=True))
        return f"{{{name!r}: {one[name]!r:.120}}}, then {{{name!r}: {two[name]!r:.120}}}"
    return f"{one!r:.120}, then {two!r:.120}"


class Subject:
    """The environment under check: makes fresh ones, plays them, and keeps what every play came to.

    Args:
        make: makes a `TokenEnv` of a view.
        num_tasks: tasks to play, fewer where there are fewer.
        seed: of the tasks, the probes and the episodes.
        deadline_s: seconds that one `reset` or `step` may take.
    """

    def __init__(self, make: Callable[[str], TokenEnv], *, num_tasks: int, seed: int, deadline_s: float) -> None:
        self._make, self.seed, self.deadline_s = make, seed, deadline_s
        self._made: list[TokenEnv] = []
        self.envs = {view: make(view) for view in ("turn", "token", "text")}
        self.message_env = self.envs["turn"].message_env
        self.tokenizer = self.envs["turn"].tokenizer
        self.split = self.envs["turn"].split
        self.tasks = self._draw(num_tasks)
        self.plays: list[Play] = []

    def make(self, view: str) -> TokenEnv:
        """A fresh environment."""
        self._made.append(self._make(view))
        return self._made[-1]

    def close(self) -> None:
        """Close every environment that was made; whether that can be done is a rule of its own."""
        for env in self._made:
            with suppress(Exception):  # it may raise anything
                env.close()

    def forget_details(self) -> None:
        """Keep what the plays so far came to, and not what was seen in them: of long episodes that fills gigabytes."""
        for play in self.plays:
            play.observations, play.infos = [], []

    def _draw(self, num_tasks: int) -> list[Task]:
        """Tasks with distinct prompts."""
        source, rng = self.message_env.tasks(self.split), np.random.default_rng(self.seed)
        tasks: dict[str, Task] = {}
        for _ in range(20 * num_tasks):
            if len(tasks) == num_tasks:
                break
            task = source.draw(rng)
            tasks.setdefault(task.prompt, task)
        return list(tasks.values())

    def begin(self, env: TokenEnv, task: Task) -> tuple[Any, dict[str, Any]]:
        """Begin a task as every play does; the first observation and its info."""
        return env.reset(seed=self.seed, options={"task": task.key, "split": self.split})

    def play(self, name: str, probe: Probe, task: Task, *, view: str = "turn", env: TokenEnv | None = None) -> Play:
        """Play a task to its end, or until the probe has nothing to say.

        Raises:
            Blocked: the environment did not answer in time.
        """
        env = env or self.envs[view]
        play = Play(name, task, view)
        self.plays.append(play)
        try:
            observation, info = self.within_deadline(lambda: self.begin(env, task))
            play.observations.append(copy.deepcopy(observation))
            play.infos.append(info)
            for action in self._actions(env, probe):
                self._step(env, action, play)
                if play.is_over:
                    break
            play.trajectory = env.trajectory()
        except LLMGymError as error:
            play.error = error
        return play

    def _step(self, env: TokenEnv, action: Any, play: Play) -> None:
        num_messages = len(env.episode.messages)
        if env.view == "token":  # too many for a thread each; the same turns were played as turns before
            observation, reward, terminated, truncated, info = env.step(action)
        else:
            observation, reward, terminated, truncated, info = self.within_deadline(lambda: env.step(action))
        play.actions.append(action)
        play.observations.append(copy.deepcopy(observation))
        play.infos.append(info)
        play.rewards.append(reward)
        # The first new message is the policy's own; a turn that is still open added none.
        play.answer_roles |= {message.role for message in env.episode.messages[num_messages + 1 :]}
        play.is_over, play.terminated = terminated or truncated, terminated

    def _actions(self, env: TokenEnv, probe: Probe) -> Iterator[Any]:
        for index in range(env.limits.turns):
            turn = probe(index)
            if turn is None:
                return
            if env.view == "text":
                yield turn
                continue
            ids = env.encode_turn(turn) if isinstance(turn, str) else turn
            ids = ids[: env.episode.room]
            if env.view == "turn":
                yield ids
            else:
                yield from ids

    def within_deadline(self, call: Callable[[], T], *, factor: int = 1) -> T:
        """What `call` returns or raises. It runs in a thread, as the collector would run it.

        Raises:
            Blocked: it took longer than `factor` deadlines.
        """
        outcome: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def run() -> None:
            try:
                outcome.put((True, call()))
            except BaseException as error:  # it is raised again in the waiting thread
                outcome.put((False, error))

        threading.Thread(target=run, name="llmgym-check-env", daemon=True).start()
        try:
            succeeded, value = outcome.get(timeout=factor * self.deadline_s)
        except queue.Empty:
            raise Blocked from None
        if not succeeded:
            raise value
        result: T = value
        return result

    # -- probes ------------------------------------------------------------------------------------------------

    def reference(self, task: Task) -> Probe | None:
        """Says the reference turns, where there are any."""
        turns = self.envs["turn"].solve(task)
        return None if turns is None else lambda index: turns[index] if index < len(turns) else None

    def random(self, task: Task) -> Probe:
        """Says random ids, each time the same ones for the same task."""
        width, room = self.tokenizer.vocab_size, self.envs["turn"].limits.turn_tokens
        entropy = [self.seed, *task.key.encode("utf-8", "surrogatepass")]
        space = Tokens(width, room, self.tokenizer.eos_id, other_end_ids=self.envs["turn"].episode.end_ids)
        return lambda index: _sample(space, [index, *entropy])


def _sample(space: Tokens, entropy: list[int]) -> list[int]:
    space.seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
    ids: list[int] = space.sample().tolist()
    return ids


def always(turn: Turn) -> Probe:
    """Says the same in every turn."""
    return lambda _: turn


def misalignment(play: Play, turns: Play) -> str | None:
    """What does not fit, between the play and its trajectory, and the play of the same turns in the turn view."""
    if play.trajectory is None or turns.trajectory is None:
        return None if play.error and turns.error else f"it ended with {play.error!r}, in the turn view {turns.error!r}"
    own, other = _summary(play.trajectory), _summary(turns.trajectory)
    for what in own:
        if own[what] != other[what]:
            return f"the {what} of the trajectory are {own[what]!r:.200}, in the turn view {other[what]!r:.200}"
    if play.view != "text":
        shown = _shown_segments(play)
        kept = [list(zip(s.token_ids.tolist(), s.action_mask.tolist(), strict=True)) for s in play.trajectory.segments]
        if shown != kept:
            return f"new_ids and new_mask told {shown!r:.200}, but the trajectory holds {kept!r:.200}"
    if abs(play.reward - play.trajectory.reward) > TOLERANCE:
        return f"the steps' rewards sum to {play.reward}, but the trajectory's is {play.trajectory.reward}"
    return None


def _summary(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "ids": [segment.token_ids.tolist() for segment in trajectory.segments],
        "action masks": [segment.action_mask.tolist() for segment in trajectory.segments],
        "turn rewards": [turn.reward for turn in trajectory.turns],
        "endings": (trajectory.terminated, trajectory.truncated, trajectory.stop_reason),
    }


def _shown_segments(play: Play) -> list[list[tuple[int, bool]]]:
    """(id, is sampled) of each segment, as actions and infos told it."""
    segments = [list(zip(play.infos[0]["new_ids"], play.infos[0]["new_mask"], strict=True))]
    for action, info in zip(play.actions, play.infos[1:], strict=True):
        sampled = [(int(token), True) for token in np.atleast_1d(action)]
        new = list(zip(info["new_ids"], info["new_mask"], strict=True)) if "new_ids" in info else sampled
        if new and new[0][1]:
            segments[-1] += new
        else:  # the template rewrote history: the sampled ids end the old segment, and the new one is shown whole
            segments[-1] += sampled
            segments.append(new)
    return segments
