"""What tests of the report share: run folders made by hand, and the page as a browser reads it."""

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

import llmgym
from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.evaluation import Evaluation
from llmgym.messages import AssistantMessage
from llmgym.messages.tokenizer import ByteTokenizer
from llmgym.report import RunData, read_run, write_html
from llmgym.rollout import save_trajectories
from llmgym.training import RunConfig
from llmgym.training.config import EnvConfig, to_toml
from llmgym.training.record import RunRecord, save_held_out

HOSTILE = "</script><img src=x onerror=alert(1)><!-- ]]> \" ' & \x00 \u202e é 漢 🦊 {{data}} \\u003c"
TOKENIZER = ByteTokenizer()
VERSIONS = {"llmgym": "0.1.0"}


class Page(HTMLParser):
    """A report as a browser reads it: tags, and the contents of scripts and tables."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def inside(self, tag: str) -> list[str]:
        return [data for where, data in self.texts if where == tag]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.inside("script")[0])


def episode(answer: str = "4", *, reward: float = 1.0, sample: int = 0, **changes: Any) -> Trajectory:
    """One turn that answers "2+2"; its tokens are bytes."""
    prompt = [259, *TOKENIZER.encode("2+2"), 257, 260]
    ids = [*prompt, *TOKENIZER.encode(answer), 257]
    mask = np.arange(len(ids)) >= len(prompt)
    score = llmgym.Score(reward=reward, extracted=answer, expected="4", reason=f"compared with {answer}")
    message = AssistantMessage(content=answer, token_ids=tuple(ids[len(prompt) :]))
    values: dict[str, Any] = {
        "segments": (Segment(np.array(ids, dtype=np.int32), mask, np.where(mask, -0.25, 0).astype(np.float32)),),
        "turns": (TurnRecord(0, len(prompt), len(ids), message, score),),
        "reward": reward,
        "terminated": True,
        "truncated": False,
        "stop_reason": StopReason.ANSWERED,
        "task_key": f"task-{sample}",
        "group_id": sample,
        "metadata": {},
    }
    return Trajectory(**values | changes)


def make_run(
    folder: Path,
    *,
    before: Sequence[Trajectory] = (),
    after: Sequence[Trajectory] = (),
    batch: Sequence[Trajectory] = (),
    metrics: Sequence[Mapping[str, Any]] = (),
    envs: Sequence[EnvConfig] = (),
    **config: Any,
) -> RunData:
    """A run folder as a run writes it, with the trajectories given; byte tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    env = None if envs else EnvConfig(id="llmgym/Calculator-v0")
    (folder / "config.toml").write_text(to_toml(RunConfig(env=env, envs=tuple(envs), **config)))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    for name, trajectories in (("before", before), ("after", after)):
        if trajectories:
            save_held_out(folder, name, {"sampled": Evaluation(tuple(trajectories), 1.0)})
    if batch:
        save_trajectories(folder / "trajectories" / "step-000001.jsonl.gz", batch)
    RunRecord(
        started="2026-01-02T03:04:05+00:00", seconds=61.0, num_parameters=1234, device="cpu", full_reward=1.0,
        versions=VERSIONS,
    ).write(folder)  # fmt: skip
    return read_run(folder, tokenizer=TOKENIZER)


def page_of(run: RunData) -> Page:
    return Page(write_html(run).read_text(encoding="utf-8"))


def step_row(step: int, **values: Any) -> dict[str, Any]:
    return {"phase": "train", "step": step, "num_samples": step, "num_episodes": 1, "reward": 0.5, **values}
