"""What it costs to extend a conversation by one turn, beside rendering and encoding all of it again.

    python benchmarks/extend_cost.py >> benchmarks/results/extend_cost.jsonl

A conversation of 64 turns and about 32,000 tokens in a ChatML template, with Mistral's published vocabulary. Prints one
JSON line: milliseconds for the turn after 8, 16, 32 and 64 turns, the median of several conversations.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import mistral_common
from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

from llmgym.messages import AssistantMessage, Message, chat_for, load_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = "the agent looks at file number {} of the folder and writes down what it has found there, then goes on. "
TURNS = (8, 16, 32, 64)


def tokenizer() -> Any:
    """Mistral's vocabulary with ChatML's control tokens."""
    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    backend = convert_tekken_tokenizer(str(path), TEMPLATE)
    backend.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    backend.eos_token = backend.pad_token = "<|im_end|>"
    return load_tokenizer(backend)


def conversation(of: Any, num_turns: int) -> dict[int, tuple[float, float, int]]:
    """By turn: seconds of `extend`, seconds of `render`, tokens."""
    chat = chat_for(of)
    messages = [Message("system", WORDS.format(0)), Message("user", "begin")]
    ids, seen = chat.render(messages), {}
    for turn in range(1, num_turns + 1):
        said = WORDS.format(turn) * 5
        sampled = [*of.encode(said), of.eos_id]
        ids += sampled
        messages.append(AssistantMessage(content=said, text=said, token_ids=tuple(sampled)))
        answers = [Message("tool", WORDS.format(turn) * 16)]
        started = time.perf_counter()
        suffix = chat.extend(ids, answers, history=messages)
        extended = time.perf_counter()
        assert suffix is not None
        ids += suffix
        messages += answers
        fresh = chat_for(of)
        began = time.perf_counter()
        whole = fresh.render(messages)
        seen[turn] = (extended - started, time.perf_counter() - began, len(ids))
        assert whole == ids
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    of = tokenizer()
    runs = [conversation(of, max(TURNS)) for _ in range(repeats)]
    milliseconds = {
        name: {str(turn): round(1000 * statistics.median(run[turn][place] for run in runs), 3) for turn in TURNS}
        for place, name in enumerate(("extend_ms", "render_again_ms"))
    }
    record = {
        "benchmark": "extend_cost",
        **milliseconds,
        "tokens": {str(turn): runs[0][turn][2] for turn in TURNS},
        "repeats": repeats,
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
