"""A user whom a language model plays, and which user the keywords of an environment name."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import numpy as np

from llmgym.episode import Task
from llmgym.errors import ConfigError, SamplerError
from llmgym.messages import Message
from llmgym.sampling import ask_endpoint

from .conversation import END, UserSimulator

Ask = Callable[[Sequence[Message]], str | Awaitable[str]]
"""From a conversation to what a language model answers, as `llmgym.sampling.ask_sampler` and `ask_endpoint` give it."""

_ROLE = """\
You play a customer who talks with a service agent. Your situation and your wishes:

{instruction}

Say one short message at a time, as a customer would write it. Tell only what the situation says, and only what the \
agent needs at the moment; if you do not know something, say so. Do not do the agent's work, and do not say that you \
play a part, whatever the agent writes. Where the agent asks for your agreement to something that you want, answer \
"Yes" and nothing more. As soon as your wishes are fulfilled or finally refused, or you are handed over to somebody \
else, say goodbye and write {end} at the end of that message."""


@dataclass(frozen=True)
class _Endpoint:
    """Asks an endpoint. Unlike the function behind it, it can be pickled."""

    url: str
    model: str

    def __post_init__(self) -> None:
        ask_endpoint(self.url, model=self.model)  # complains now, and not in the first episode

    def __call__(self, messages: Sequence[Message]) -> Awaitable[str]:
        return ask_endpoint(self.url, model=self.model)(messages)


@dataclass(eq=False)
class ModelUser:
    """Has a language model play the user. `reply` is awaited where `ask` is.

    The model sees the conversation from the other side: the policy is the one who asks it. What it sees decides its
    random stream where `ask` is of a sampler, so the same task, seed and words of the policy get the same answers.
    """

    ask: Ask
    """The model; not the one that is trained."""
    instruction: Callable[[Task], str]
    """Who the user is, what they know and what they want. Say nothing here that the policy must not hear."""
    styles: tuple[str, ...] = ("",)
    """Sentences about the user's manner; one is drawn for each episode and added to the instruction."""
    opening: str = "Hello, I need some help."
    """Said first, so that an episode begins without waiting for the model."""
    greeting: str = "Hello! How can I help you?"
    """Shown to the model as what the agent said before the opening: many chat templates want somebody else to begin."""
    role: str = _ROLE
    """The system message; `{instruction}` and `{end}` in it are replaced."""
    max_chars: int = 4000
    """Of one message of the policy that the model reads; a policy must not be able to overflow its context."""
    _system: str = field(default="", init=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelUser:
        return copy.copy(self)  # the model is shared, and the rest never changes in place

    def first(self, task: Task, rng: np.random.Generator) -> str:
        instruction = f"{self.instruction(task)} {self.styles[int(rng.integers(len(self.styles)))]}".strip()
        self._system = self.role.replace("{end}", END).replace("{instruction}", instruction)
        return self.opening

    def reply(self, messages: Sequence[Message]) -> str | Awaitable[str]:
        seen = [self._seen(each) for each in messages]
        answer = self.ask((Message("system", self._system), Message("user", self.greeting), *seen))
        return self._later(answer) if isawaitable(answer) else self._checked(answer)

    async def _later(self, answer: Awaitable[str]) -> str:
        return self._checked(await answer)

    def _seen(self, message: Message) -> Message:
        # Half characters cannot be sent to a server, and a policy must not be able to make its user fail.
        text = message.content[: self.max_chars].encode("utf-8", "replace").decode()
        return Message("assistant" if message.role == "user" else "user", text)

    def _checked(self, answer: Any) -> str:
        if not isinstance(answer, str) or not answer.strip():
            raise SamplerError(
                f"The model that plays the user said {answer!r:.80}, but a user says something. Check its prompt "
                "format and the tokens that it may sample."
            )
        return answer


def user_named(
    user: Any,
    model: str,
    *,
    script: UserSimulator,
    instruction: Callable[[Task], str],
    styles: Sequence[str] = ("",),
) -> UserSimulator:
    """Who plays the user, as an environment's keywords `user` and `user_model` say.

    Args:
        user: "script", the address of an endpoint, a function from a conversation to an answer, or a simulator.
        model: name of the endpoint's model; "" for everybody else.
        script: who is meant by "script".
        instruction: as that of `ModelUser`, and so are the styles.

    Raises:
        ConfigError: there is no such user, or the endpoint's model has no name.
        MissingExtraError: an endpoint needs httpx.
    """
    is_address = isinstance(user, str) and user.startswith(("http://", "https://"))
    is_object = not isinstance(user, (str, type)) and (hasattr(user, "reply") or callable(user))
    if is_address != bool(model) or not (is_address or is_object or user == "script"):
        raise ConfigError(
            f'user is {user!r:.80} and user_model is {model!r}. Give "script", an address with the name of its model, '
            "or an object that answers."
        )
    if user == "script":
        return script
    if hasattr(user, "reply"):
        simulator: UserSimulator = user
        return simulator
    return ModelUser(_Endpoint(user, model) if is_address else user, instruction, tuple(styles))
