"""A trained reward model as a verifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from torch import nn

from ..errors import ConfigError
from ..messages import AssistantMessage, Message, chat_for, load_tokenizer
from ..scoring import Score
from .loading import load_classifier


class RewardModel:
    """A verifier: what a sequence classifier with one output gives the task's prompt and the message.

    The number is whatever the model was trained to say; `squash` brings it into a range, for it is neither bounded nor
    centred. A number that is not finite makes the score invalid, and so does a conversation longer than the model's
    positions: keep the episode's limits within them.

    Args:
        model: a folder or id for `AutoModelForSequenceClassification`, or such a model.
        tokenizer: of the model; a folder brings its own.
        squash: applied to the output; the logistic function by default, which gives (0, 1).

    Raises:
        ConfigError: there is no such model, it has more outputs than one, or the tokenizer is missing.
    """

    def __init__(
        self,
        model: str | Path | nn.Module,
        *,
        tokenizer: Any = None,
        squash: Callable[[torch.Tensor], torch.Tensor] = torch.sigmoid,
    ) -> None:
        if not isinstance(model, nn.Module):
            tokenizer = str(model) if tokenizer is None else tokenizer
            model = load_classifier(model)
        if tokenizer is None:
            raise ConfigError("A reward model was given without its tokenizer. Pass tokenizer=... too.")
        num_outputs = cast(Any, model).config.num_labels
        if num_outputs != 1:
            raise ConfigError(f"A reward model has 1 output, but this one has {num_outputs}.")
        self._model, self._squash = model.eval(), squash
        self._tokenizer = load_tokenizer(tokenizer)
        self._chat = chat_for(self._tokenizer)
        self._one_at_a_time = Lock()  # environments call from several threads

    def __deepcopy__(self, memo: dict[int, Any]) -> RewardModel:
        return self  # it does not change, and is large

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_one_at_a_time"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _one_at_a_time=Lock())

    def __call__(self, message: AssistantMessage, task: Any) -> Score:
        # The reply's turn is closed: so it is in the conversations that such models are trained on.
        ids = [*self._chat.render([Message("user", task.prompt)], prefill=message.content), self._tokenizer.eos_id]
        longest = getattr(self._model.config, "max_position_embeddings", None)
        if longest is not None and len(ids) > longest:
            return Score(reward=0.0, is_valid=False, reason=f"{len(ids)} tokens, but the reward model reads {longest}")
        with self._one_at_a_time, torch.no_grad():
            input_ids = torch.tensor([ids], device=next(self._model.parameters()).device)
            output = self._model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits[0, 0]
            reward = float(self._squash(output.float()))
        if not math.isfinite(reward):
            return Score(reward=0.0, is_valid=False, reason=f"the reward model gave {reward}")
        return Score(reward=reward, reason=f"output {float(output):.3g}")
