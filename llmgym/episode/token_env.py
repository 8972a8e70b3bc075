"""The Gymnasium side: one episode in three views, as tokens, turns or text."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from typing import Any, ClassVar, SupportsIndex, TypeVar, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding

from ..errors import ConfigError, InvalidAction
from ..messages import Message, ToolCall, chat_for, load_tokenizer, turn_style, whole_text
from ..messages.spaces import Tokens, UnicodeText
from ..registry import closest, load_object
from ..settings import require_types
from .episode import Episode
from .limits import EpisodeSettings, Limits
from .message_env import MessageEnv
from .tasks import Task, TaskSource
from .trajectory import Trajectory

T = TypeVar("T")

VIEWS = ("token", "turn", "text")
OBSERVATIONS = ("full", "last")
MAX_TEXT = 1_000_000
"""Characters of an observation in the text view."""


class TokenEnv(gym.Env[Any, Any]):
    """A `MessageEnv` as a Gymnasium environment with token, turn or text actions.

    Args:
        env: the task, told in messages.
        view: what an action is: one "token", the ids of one "turn", or its "text".
        observation: "full", the ids of the current segment and their number, or "last", the newest id.
        tokenizer: "bytes", a folder or hub id, or an object; see `llmgym.messages.load_tokenizer`.
        limits: budgets, whole or in part as a mapping; the rest are the environment's own.
        split: where `reset` draws tasks from, unless its options name another split.
        tool_format: form of turns with tool calls, one of `llmgym.messages.FORMS`; "auto" is that of the tokenizer's
            chat template, else "tag" where each tool needs one argument, else "hermes".
        reasoning: whether turns begin with a block `<think>…</think>`: "think", "none", or "auto", as in the chat
            template. No call in it counts, and it is no part of a message's `content`.
        malformed_call: what follows an unreadable call, "answer" or "end".
        malformed_penalty: taken from the reward of each turn with an unreadable call; `reward_range` allows for it.
        stop_strings: texts that close a turn beside the end token.
        chat: how messages are written: "template", or "renderers:NAME" for a renderer of the package `renderers`.
        chat_template_kwargs: passed to the tokenizer's chat template, or to the renderer.
        render_mode: "ansi" renders the conversation as text.

    Raises:
        ConfigError: a keyword has a value that does not exist.
        TokenizerError: the tokenizer cannot be loaded, or lacks what an episode needs.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1}  # type: ignore[misc]

    def __init__(
        self,
        env: MessageEnv,
        *,
        view: str = "token",
        observation: str = "full",
        tokenizer: Any = "bytes",
        limits: Limits | Mapping[str, Any] | None = None,
        split: str = "train",
        tool_format: str = "auto",
        reasoning: str = "auto",
        malformed_call: str = "answer",
        malformed_penalty: float = 0.0,
        stop_strings: Iterable[str] = (),
        chat: str = "template",
        chat_template_kwargs: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        _require_one_of("view", view, VIEWS)
        _require_one_of("observation", observation, OBSERVATIONS)
        if render_mode is not None:
            _require_one_of("render_mode", render_mode, self.metadata["render_modes"])
        if isinstance(stop_strings, str):
            raise ConfigError(
                f"stop_strings is the text {stop_strings!r}, which would stop at each of its characters. "
                f"Write a list of texts: [{stop_strings!r}]."
            )
        self.message_env, self.view, self.split, self.render_mode = env, view, split, render_mode
        self.chat_form, self.chat_template_kwargs = chat, chat_template_kwargs
        self.tokenizer = load_tokenizer(tokenizer)
        self.limits = merge_limits(env.default_limits, limits)
        style = turn_style(self.tokenizer, chat_template_kwargs)
        settings = EpisodeSettings(
            limits=self.limits,
            tool_format=tool_format,
            reasoning=reasoning,
            malformed_call=malformed_call,
            malformed_penalty=malformed_penalty,
            stop_strings=tuple(stop_strings),
            style=style,
        )
        is_verbatim = tool_format not in ("auto", style.form)
        writer = chat_for(self.tokenizer, chat_template_kwargs, form=chat, is_verbatim=is_verbatim)
        self.episode = Episode(env, writer, settings)
        self._sources: dict[str, TaskSource] = {}
        self._seed = 0

        width, context = self.tokenizer.vocab_size, self.limits.context_tokens
        self._buffer = np.full(context, self.tokenizer.pad_id, dtype=np.int32) if observation == "full" else None
        if view == "token":
            self.action_space = spaces.Discrete(width)
        elif view == "turn":
            ends = self.episode.end_ids
            self.action_space = Tokens(width, self.limits.turn_tokens, self.tokenizer.eos_id, other_end_ids=ends)
        else:
            self.action_space = UnicodeText(MAX_TEXT)
        if view == "text":
            self.observation_space = UnicodeText(MAX_TEXT)
        elif observation == "last":
            self.observation_space = spaces.Discrete(width)
        else:
            ids = spaces.Box(0, width - 1, shape=(context,), dtype=np.int32)
            self.observation_space = spaces.Dict({"ids": ids, "length": spaces.Discrete(context + 1)})
        # What the hot path of a token step looks at.
        self._ids: list[int] = []
        self._turn_end = 0
        self._width, self._end_ids = width, self.episode.end_ids
        self._takes_plain_tokens = view == "token" and not settings.stop_strings

    # -- Gymnasium ---------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a task, drawn from `np_random` or named in the options.

        Args:
            seed: as Gymnasium's.
            options: "task", the key of the task to begin, and "split", where it is looked up or drawn from.

        Raises:
            ConfigError: an option that does not exist.
            UnknownTaskError: no task of the split has the key.
        """
        super().reset(seed=seed)
        options = {} if options is None else options
        if not isinstance(options, Mapping):
            raise ConfigError(f'options is {options!r}, but it must be a mapping such as {{"task": key}}.')
        for name in options:
            _require_one_of("The reset option", name, ("task", "split"))
        self._seed = int(self.np_random.integers(2**63)) if seed is None else seed
        task_rng, noise_rng = episode_rngs(seeding.np_random(self._seed)[0])
        source = self._source(options.get("split", self.split))
        key = options.get("task")
        if key is not None and not isinstance(key, str):
            raise ConfigError(f"The reset option 'task' is {key!r}, but it must be the key of a task, which is a text.")
        task = source.draw(task_rng) if key is None else source.get(key)
        try:
            self.episode.begin(task, noise_rng)
        finally:
            self._turn_end = self.episode.turn_end  # 0 where it failed: nothing of the last episode goes on
        self._resume_hot_path()
        ids = self.episode.ids
        info = {
            "task": self.episode.task.key,
            "new_ids": tuple(ids),
            "new_mask": (False,) * len(ids),
            "max_new_tokens": self.episode.room,
        }
        return self._observe(), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Append one token, the ids of a turn, or a turn's text with its end token.

        Returns:
            Observation, the reward of the turn that the action closed, or 0; `terminated`: the task ended;
            `truncated`: a budget ended; and `info` with what is known: new ids with their mask, `max_new_tokens`,
            `score`, `stop_reason`.

        Raises:
            ResetNeeded: the episode is over, or `reset` was never called.
            InvalidAction: the action is outside the action space or does not fit the turn.
            InfrastructureError: our machinery failed. An infrastructure fault is not a wrong answer.
        """
        if self._takes_plain_tokens:
            ids, token = self._ids, action if type(action) is int else self._ids_of(action)[0]
            if 0 <= token < self._width and token not in self._end_ids and len(ids) + 1 < self._turn_end:
                # An ordinary token inside a turn: nothing but the ids changes.
                if self._buffer is None:
                    ids.append(token)
                    return token, 0.0, False, False, {}
                self._buffer[len(ids)] = token
                ids.append(token)
                return {"ids": self._buffer.copy(), "length": len(ids)}, 0.0, False, False, {}
        return self._step_turn(self._ids_of(action))

    def _step_turn(self, new_ids: list[int]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        episode = self.episode
        num_segments, num_ids = episode.num_segments, len(self._ids)
        score = None
        try:
            if episode.feed(new_ids):
                score = episode.answer().score
            elif episode.is_over:
                score = episode.last_score
        finally:
            self._turn_end = episode.turn_end  # 0 where the environment failed: no token may follow
        self._resume_hot_path()

        num_old = num_ids if episode.num_segments == num_segments else 0
        num_sampled = len(new_ids) if num_old else 0
        new = tuple(episode.ids[num_old:])
        info: dict[str, Any] = {
            "new_ids": new,
            "new_mask": (True,) * num_sampled + (False,) * (len(new) - num_sampled),
            "max_new_tokens": episode.room,
        }
        if score is not None:
            info["score"] = score
        if episode.stop_reason is not None:
            info["stop_reason"] = episode.stop_reason
        reward = float(score.reward) if score is not None else 0.0
        return self._observe(), reward, episode.terminated, episode.truncated, info

    @property
    def reward_range(self) -> tuple[float, float]:
        """Bounds of an episode's reward, with the penalties of unreadable calls in each of its turns."""
        low, high = self.message_env.reward_range
        return low - self.episode.settings.malformed_penalty * self.limits.turns, high

    def render(self) -> str | None:
        """The conversation so far as text, turns of the policy as they were sampled."""
        if self.render_mode is None:
            return None
        return "\n".join(f"{message.role}: {whole_text(message)}" for message in self.episode.messages)

    def close(self) -> None:
        """Close the environment behind; harmless when called twice."""
        self.message_env.close()

    def trajectory(self, **identity: Any) -> Trajectory:
        """The current episode as it would be stored; one that is still open counts as aborted."""
        env_id = self.spec.id if self.spec is not None else ""
        return self.episode.trajectory(env_id=env_id, seed=self._seed, **identity)

    def solve(self, task: Task) -> list[str] | None:
        """The reference turns of a task as a policy would write them; None where none is known.

        Raises:
            ConfigError: a turn calls a tool that does not exist, or whose call has no text in the form of calls.
        """
        turns = self.message_env.solve(task)
        if turns is None:
            return None
        schemas = [tool.schema for tool in self.message_env.tools_of(task)]
        parser = self.episode.settings.parser(schemas, self.tokenizer)
        written = []
        for turn in turns:
            calls = [turn] if isinstance(turn, ToolCall) else turn
            written.append(calls if isinstance(calls, str) else parser.write(*calls))
        return written

    def encode_turn(self, text: str) -> list[int]:
        """The ids of a turn that says `text`: up to its first stop string, or else with the end token."""
        ends = [text.find(stop) + len(stop) for stop in self.episode.settings.stop_strings if stop in text]
        ids = self.episode.encode(text[: min(ends)] if ends else text)
        if ends:
            return ids
        return ids if ids and ids[-1] in self._end_ids else [*ids, self.tokenizer.eos_id]

    def fitted_turn(self, text: str) -> list[int]:
        """As `encode_turn`, as far as it fits: like a policy's own turn, a text that is too long is cut."""
        ids = self.encode_turn(text)
        if not self.episode.room:
            return ids
        ids = ids[: self.episode.room]
        closes_at = self.episode.closing_index(ids)  # a stop string may have begun in the prefill
        return ids if closes_at is None else ids[: closes_at + 1]

    # -- inside ------------------------------------------------------------------------------------------------

    def _source(self, split: str) -> TaskSource:
        if split not in self._sources:
            self._sources[split] = self.message_env.tasks(split)
        return self._sources[split]

    def _resume_hot_path(self) -> None:
        self._ids, self._turn_end = self.episode.ids, self.episode.turn_end
        if self._buffer is not None:
            self._buffer[:] = self.tokenizer.pad_id
            self._buffer[: len(self._ids)] = self._ids

    def _observe(self) -> Any:
        if self.view == "text":
            return text_of(self.episode.new_messages)
        if self._buffer is None:
            return self._ids[-1]
        return {"ids": self._buffer.copy(), "length": len(self._ids)}

    def _ids_of(self, action: Any) -> list[int]:
        """The ids that an action of this view means."""
        try:
            if self.view == "token":
                return [operator.index(cast(SupportsIndex, action))]
            if self.view == "turn":
                return [operator.index(token) for token in action]
        except TypeError as error:
            wanted = "one token id" if self.view == "token" else "a sequence of token ids"
            given = f"{action!r:.100} of type {type(action).__name__}"
            raise InvalidAction(f"The action is {given}, but the {self.view} view takes {wanted}.") from error
        if not isinstance(action, str):
            raise InvalidAction(f"The action is of type {type(action).__name__}, but the text view takes a str.")
        return self.fitted_turn(action)


def make_env(env: Any, **kwargs: Any) -> TokenEnv:
    """Gymnasium's entry point: makes the `MessageEnv` and the `TokenEnv` around it.

    Args:
        env: a `MessageEnv` class, or "package.module:Name" of one.
        kwargs: keywords of `TokenEnv`; all others go to the environment's class.

    Raises:
        ConfigError: neither takes one of the keywords, a value has the wrong type, or `env` makes something else.
        RegistrationError: there is nothing under the name.
    """
    make = load_object(env) if isinstance(env, str) else env
    of_token_env = _keywords(TokenEnv) or ()
    own = {name: kwargs.pop(name) for name in of_token_env if name in kwargs}
    known = _keywords(make)
    if known is not None:
        for name in kwargs:
            _require_one_of("A keyword of the environment", name, (*known, *of_token_env))
    require_types(TokenEnv, own)
    require_types(make, kwargs)
    message_env = make(**kwargs)
    if not isinstance(message_env, MessageEnv):
        raise ConfigError(
            f"{env!r} made a {type(message_env).__name__}, but an environment is made by a subclass of "
            "llmgym.MessageEnv. Register that."
        )
    return TokenEnv(message_env, **own)


@cache
def _keywords(make: Any) -> tuple[str, ...] | None:
    """Names of the keywords that `make` takes; None where it takes any, or does not say."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "env")


def merge_limits(default: Limits, changes: Limits | Mapping[str, Any] | None) -> Limits:
    """`default` with the changed budgets in its place.

    Raises:
        ConfigError: a budget that does not exist.
    """
    if isinstance(changes, Limits):
        return changes
    if changes is not None and not isinstance(changes, Mapping):
        raise ConfigError(f'limits is {changes!r}, but it must be Limits, or a mapping such as {{"turns": 3}}.')
    for name in changes or ():
        _require_one_of("A limit", name, [field.name for field in fields(Limits)])
    return Limits(**(asdict(default) | dict(changes or {})))


def episode_rngs(np_random: np.random.Generator) -> tuple[np.random.Generator, np.random.Generator]:
    """Two independent generators for an episode: one chooses the task, one is the environment's own."""
    task_seed, noise_seed = np_random.integers(2**63, size=2)
    return np.random.default_rng(task_seed), np.random.default_rng(noise_seed)


def noise_rng(seed: int) -> np.random.Generator:
    """The environment's own generator of the episode that `reset(seed=seed)` begins."""
    return episode_rngs(seeding.np_random(seed)[0])[1]


def text_of(messages: Sequence[Message]) -> str:
    """Messages as the text view shows them."""
    return "\n\n".join(message.content for message in messages)[:MAX_TEXT]


def _require_one_of(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{what} is {value!r}, which does not exist. {closest(str(value), known)}")
