"""One episode, token by token: the single place where turns open, close and end.

The token view, the turn view and the collector all drive this object, so their tokens, masks, rewards and endings
cannot differ. It samples nothing and waits for nothing:

    episode.begin(task, rng)
    while not episode.is_over:
        if episode.feed(ids):                           # True: the turn is closed
            with episode.guarding():                    # an error in here is not the policy's
                response = await episode.ask()          # the environment answers
            episode.apply(response)
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import (
    EnvironmentFailure,
    InvalidAction,
    LLMGymError,
    PromptTooLong,
    ResetNeeded,
    SamplerError,
    VerifierError,
)
from ..messages import AssistantMessage, Chat, Message, TurnParser
from ..sampling import KeptTokens
from ..scoring import Score
from .conversation import Conversation
from .limits import EpisodeSettings, StopReason
from .message_env import EnvResponse, InitialMessages, MessageEnv, require_kind
from .tasks import Task
from .trajectory import Trajectory
from .turn_in_progress import TurnInProgress, require_ids, segment_of
from .waiting import resolved


class Episode:
    """The state of one running episode.

    Args:
        env: told what the policy wrote, in messages.
        chat: writes messages as ids.
        settings: budgets and the form of calls.
        clock: seconds; for the time limit alone.
    """

    def __init__(
        self,
        env: MessageEnv,
        chat: Chat,
        settings: EpisodeSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.env, self.settings = env, settings
        self._clock = clock
        self._conversation = Conversation(chat, settings, env.tools)
        self.end_ids = self._conversation.end_ids
        self.stop_reason: StopReason | None = StopReason.ABORTED
        self._turns: list[TurnInProgress] = []
        self.terminated = self.truncated = False
        self.is_valid = True
        self.is_given_up = False
        """The environment did not answer in time: a thread may still be at work in it."""

    # -- beginning ---------------------------------------------------------------------------------------------

    def begin(
        self, task: Task, rng: np.random.Generator, *, reset: Callable[[], InitialMessages] | None = None
    ) -> None:
        """Start `task`; all its randomness comes from `rng`. `reset` tells what `env.reset` answered, if it was asked.

        Raises:
            PromptTooLong: the first prompt leaves no room for an answer.
            EnvironmentFailure: the environment could not begin.
        """
        self.task, self._turns = task, []
        self._conversation.clear()
        # Until the prompt is there, nothing can be fed.
        self.stop_reason, self.is_valid, self.terminated, self.truncated = StopReason.ABORTED, True, False, False
        with self.guarding():
            initial = reset() if reset is not None else self.env.reset(task, rng)
            require_kind(InitialMessages, initial, self.env.reset)
            self._conversation.use_tools(self.env.tools)  # a task may come with tools of its own
        self.new_messages: tuple[Message, ...] = tuple(initial.messages)
        context_tokens = self.settings.limits.context_tokens
        num_tokens = self._conversation.begin(initial, room=context_tokens - 1)
        if num_tokens >= context_tokens:
            raise PromptTooLong(
                f"The prompt of task {task.key!r} has {num_tokens} tokens, but the context holds {context_tokens} and "
                "must leave room for an answer. Raise Limits.context_tokens or shorten the prompt."
            )
        self._num_closed = 0
        self._began_at = self._clock()
        self.stop_reason = None
        self._open_turn()

    # -- what can be asked -------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """True where no further token can be fed."""
        return self.stop_reason is not None

    @property
    def is_waiting(self) -> bool:
        """True where a turn is closed and the environment has not answered."""
        return self.stop_reason is None and self._turns[-1].message is not None

    @property
    def chat(self) -> Chat:
        """What writes messages as ids."""
        return self._conversation.chat

    @property
    def parser(self) -> TurnParser:
        """What reads the turns of this episode."""
        return self._conversation.parser

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, the policy's turns included. Not a copy."""
        return self._conversation.messages

    @property
    def ids(self) -> list[int]:
        """The current segment: what the model is prompted with. Not a copy."""
        return self._conversation.ids

    @property
    def turn_end(self) -> int:
        """The length of the segment at which the open turn is cut; 0 where no turn is open."""
        return 0 if self.is_over or self.is_waiting else self._turn_end

    @property
    def room(self) -> int:
        """How many tokens the open turn may still take."""
        return max(0, self.turn_end - len(self.ids)) if self._conversation.segments else 0

    @property
    def num_turns(self) -> int:
        """Turns that were begun."""
        return len(self._turns)

    @property
    def num_segments(self) -> int:
        """Segments that were begun."""
        return len(self._conversation.segments)

    @property
    def last_score(self) -> Score | None:
        """The score of the newest turn."""
        return self._turns[-1].score

    # -- the policy's tokens -----------------------------------------------------------------------------------

    def feed(
        self,
        ids: Sequence[int],
        *,
        logprobs: Sequence[float] | np.ndarray = (),
        versions: Sequence[int] | np.ndarray = (),
        kept_tokens: KeptTokens | None = None,
    ) -> bool:
        """Append sampled ids to the open turn.

        Args:
            ids: at most `room`; an end token only in the last place.
            logprobs: their log-probabilities, where known.
            versions: the weight versions that sampled them, where known.
            kept_tokens: the support that top-p or top-k left for each, where used.

        Returns:
            True where the turn is closed, so that the environment must be asked.

        Raises:
            ResetNeeded: the episode is over or was never begun.
            InvalidAction: the ids are too many, go on after the turn's end, or are no ids.
        """
        if self.is_waiting:
            raise ResetNeeded("The turn is closed and waits for the environment's answer.")
        if self.is_over:
            begun = f"The episode is over ({self.stop_reason})" if self.num_segments else "No episode was begun"
            raise ResetNeeded(f"{begun}; call reset() before the next step.")
        require_ids(ids, room=self.room, vocab_size=self.chat.tokenizer.vocab_size)
        closes_at = self.closing_index(ids)
        if closes_at is not None and closes_at + 1 < len(ids):
            raise InvalidAction(
                f"{len(ids) - closes_at - 1} ids follow the end of the turn at place {closes_at}. "
                "End the action at the end token or stop string."
            )
        turn = self._turns[-1]
        self.ids.extend(ids)
        turn.logprobs += map(float, logprobs)
        turn.versions += map(int, versions)
        if kept_tokens is not None:
            turn.kept += kept_tokens.rows()
        if closes_at is not None:
            return self._close_turn()
        if len(self.ids) >= self._turn_end:
            self._cut_turn()
        return False

    def cut(self) -> None:
        """A budget of whoever samples ended the open turn before its own did."""
        self._cut_turn(StopReason.TOKEN_BUDGET)

    def closing_index(self, ids: Sequence[int]) -> int | None:
        """The place in `ids` where they would close the open turn, by an end token or the first stop string."""
        return self._conversation.closing_index(ids)

    def encode(self, text: str) -> list[int]:
        """The ids of the text of a turn, without an end token, as the newest prompt has begun it."""
        return self._conversation.encode(text)

    def _read(self, *, is_cut: bool = False) -> AssistantMessage:
        return self._conversation.read(turn_index=len(self._turns) - 1, is_cut=is_cut)

    def _stop_turn(self) -> TurnInProgress:
        turn = self._turns[-1]
        turn.stop = len(self.ids)
        self._num_closed += turn.stop - turn.start
        return turn

    def _close_turn(self) -> bool:
        turn = self._stop_turn()
        turn.message = self._read()
        turn.asked_at = self._clock()
        self.messages.append(turn.message)
        if turn.message.malformed_calls and self.settings.malformed_call == "end":
            reason = f"a tool call cannot be read: {turn.message.malformed_calls[0].problem}"
            turn.score = self.settings.penalized(Score(reward=0.0, reason=reason), turn.message)
            self.new_messages = ()
            self._end(StopReason.PARSE_FAILURE, terminated=True)
            return False
        return True

    def _cut_turn(self, reason: StopReason | None = None) -> None:
        """A token budget ended the turn: it is kept, but neither read nor scored."""
        turn = self._stop_turn()
        turn.message = self._read(is_cut=True)
        self.new_messages = ()
        is_token_budget = turn.stop - turn.start >= self.settings.limits.turn_tokens or self._is_spent
        self._end(reason or (StopReason.TOKEN_BUDGET if is_token_budget else StopReason.CONTEXT_FULL))

    @property
    def _is_spent(self) -> bool:
        return self._num_closed >= self.settings.limits.episode_tokens

    # -- the environment's answer ------------------------------------------------------------------------------

    def ask(self) -> EnvResponse | Awaitable[EnvResponse]:
        """What the environment answers to the closed turn; await it where it is awaitable."""
        message = self._turns[-1].message
        assert message is not None, "ask() follows a feed() that returned True"
        return self.env.step(message)

    def answer(self) -> EnvResponse:
        """Ask the environment and take its answer at once, for callers that are not asynchronous.

        Raises:
            InfrastructureError: our machinery failed; the episode is over and not valid.
        """
        with self.guarding():
            response = resolved(self.ask())
        return self.apply(response)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """What goes wrong in here is not the policy's doing: the episode is over and not valid.

        Raises:
            EnvironmentFailure: in place of any error that is not llmgym's own, and of a `SamplerError`: the model that
                failed is not the policy, but one that the environment asks.
        """
        try:
            yield
        except SamplerError as error:
            self.fail()
            raise EnvironmentFailure(f"A model that {type(self.env).__name__} asks failed: {error}") from error
        except LLMGymError:
            self.fail()
            raise
        except Exception as error:  # an environment may raise anything: name the boundary, never score it
            self.fail()
            name, doing = type(self.env).__name__, "answered a turn of" if self._turns else "began"
            raise EnvironmentFailure(f"{name} raised {error!r} while it {doing} task {self.task.key!r}.") from error

    def apply(self, response: EnvResponse) -> EnvResponse:
        """Take the environment's answer: score the turn, then end the episode or open the next turn.

        Returns:
            The answer with the turn's score, from which a penalty may be taken.

        Raises:
            VerifierError: the score says that our machinery failed; the episode is over and not valid.
            EnvironmentFailure: this is no `EnvResponse`.
        """
        with self.guarding():
            require_kind(EnvResponse, response, self.env.step)
        turn = self._turns[-1]
        assert turn.message is not None, "a turn that was answered is closed"
        score = self.settings.penalized(response.score, turn.message)
        if score is not response.score:
            response = replace(response, score=score)
        turn.score, turn.seconds = response.score, self._clock() - turn.asked_at
        turn.num_tool_errors = response.num_tool_errors
        self.new_messages = response.messages
        if response.score is not None and not response.score.is_valid:
            self.fail()
            reason = response.score.reason or "no reason given"
            raise VerifierError(f"Task {self.task.key!r} could not be scored: {reason}.")
        self.messages.extend(response.messages)
        if response.terminated:
            self._end(StopReason.ANSWERED, terminated=True)
        elif response.truncated:
            self._end(StopReason.TIME_LIMIT)
        elif len(self._turns) >= self.settings.limits.turns:
            self._end(StopReason.TURN_BUDGET)
        elif self._is_spent:
            self._end(StopReason.TOKEN_BUDGET)
        elif not self._conversation.append(response.messages, room=self.settings.limits.context_tokens - 1):
            self._end(StopReason.CONTEXT_FULL)
        elif self.seconds_left == 0:
            self._end(StopReason.TIME_LIMIT)
        else:
            self._open_turn()
        return response

    @property
    def seconds_left(self) -> float | None:
        """Until the time limit; None where there is none."""
        seconds = self.settings.limits.seconds
        return None if seconds is None else max(0.0, self._began_at + seconds - self._clock())

    def give_up(self) -> None:
        """Do not wait for the environment's answer any longer: the time is over."""
        self.is_given_up, self.new_messages = True, ()
        self._end(StopReason.TIME_LIMIT)

    def fail(self) -> None:
        """Our machinery failed: the episode is over and not valid."""
        self.is_valid = False
        self._end(StopReason.ENV_ERROR)

    def _open_turn(self) -> None:
        limits, length = self.settings.limits, len(self.ids)
        self._turns.append(TurnInProgress(segment_index=self.num_segments - 1, start=length))
        self._turn_end = length + min(
            limits.turn_tokens, limits.episode_tokens - self._num_closed, limits.context_tokens - length
        )

    def _end(self, reason: StopReason, *, terminated: bool = False) -> None:
        self.stop_reason = reason
        self.terminated, self.truncated = terminated, not terminated

    # -- the record --------------------------------------------------------------------------------------------

    def trajectory(self, *, metadata: Mapping[str, Any] | None = None, **identity: Any) -> Trajectory:
        """The episode so far; one that is still open counts as aborted.

        Args:
            metadata: kept with it.
            identity: further fields of `Trajectory`, such as env_id, seed and group_id.

        Raises:
            ResetNeeded: no episode was begun.
        """
        if not self.num_segments and self.is_valid:
            raise ResetNeeded("No episode was begun, so there is no trajectory; call reset() first.")
        turns = [turn for turn in self._turns if turn.stop > turn.start]
        if not self.is_over and not self.is_waiting and len(self.ids) > self._turns[-1].start:
            # A copy: the turn itself stays open.
            turns.append(replace(self._turns[-1], stop=len(self.ids), message=self._read(is_cut=True)))
        records = tuple(turn.record() for turn in turns)
        return Trajectory(
            segments=tuple(
                segment_of(ids, [turn for turn in turns if turn.segment_index == index])
                for index, ids in enumerate(self._conversation.segments)
            ),
            turns=records,
            reward=sum(record.reward for record in records),
            terminated=self.terminated,
            truncated=self.truncated,
            stop_reason=self.stop_reason or StopReason.ABORTED,
            is_valid=self.is_valid,
            task_key=self.task.key,
            metadata=dict(metadata or {}),
            **identity,
        )
