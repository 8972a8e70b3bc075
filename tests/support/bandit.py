"""A bandit that a tiny model can learn, and trajectories written as text."""

import numpy as np
import torch
from support.models import tiny_model

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

PAID = 18
"""The token that the bandit pays; the model starts with giving it a probability of 0.21."""


def bandit_model(seed=0):
    return tiny_model(seed, num_key_value_heads=4)


def trajectory(text, reward=0.0, stop_reason=StopReason.ANSWERED):
    """A prompt and turns, in which `.` before a token means that it was sampled; the last turn is paid."""
    words = text.split()
    is_action = np.array([word.startswith(".") for word in words])
    ids = np.array([int(word.lstrip(".")) for word in words], dtype=np.int32)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_action.astype(int), [0]]))).reshape(-1, 2)
    turns = [
        TurnRecord(0, int(start), int(stop), AssistantMessage(""), Score(reward=reward * (index == len(edges) - 1)))
        for index, (start, stop) in enumerate(edges)
    ]
    is_cut = stop_reason is StopReason.TIME_LIMIT
    return Trajectory(
        segments=(Segment(ids, is_action),),
        turns=tuple(turns),
        reward=reward,
        terminated=not is_cut,
        truncated=is_cut,
        stop_reason=stop_reason,
        metadata={},
    )


def varied():
    texts = ["1 2 .3 .4 5 .6", "7 .8 9 .8", "1 2 3", "4 .5 .6 .7 .8 .9 .10", "9 9 .1"]
    return [trajectory(text, reward=float(index % 2)) for index, text in enumerate(texts)]


@torch.no_grad()
def log_probabilities(model):
    """Of the one action, after the prompt [1]."""
    return model(torch.tensor([[1]])).logits[0, 0].log_softmax(-1)


def bandit_rows(model, rng, size=16):
    p = log_probabilities(model).double().exp().numpy()
    tokens = rng.choice(len(p), size=size, p=p / p.sum())
    return [trajectory(f"1 .{token}", reward=float(token == PAID)) for token in tokens]
