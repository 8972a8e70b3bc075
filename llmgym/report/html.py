"""The report as one HTML file: no network, no markup from what was sampled."""

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from ..files import replace_file
from .data import RunData, problems
from .episodes import Embedded, embed_run
from .figures import duration, num_tasks, percent
from .page_data import page_data, script_safe_json
from .tables import alarm_list, environment_table, problem_table, result_table, stop_reason_table, text


def write_html(run: RunData) -> Path:
    """Write `report.html` into the run's folder, over an older one; returns its path."""
    path = run.folder / "report.html"
    replace_file(path, render(run))
    return path


def render(run: RunData) -> str:
    """The page of a run."""
    embedded = embed_run(run)
    script = "\n".join(_asset(name) for name in ("charts.js", "panels.js", "episodes.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "title": text(f"{run.config.env_label}, {run.config.agent['name']}, seed {run.config.seed}"),
        "env": text(run.config.env_label),
        "subtitle": text(_subtitle(run)),
        # Only this script may run, and nothing may be loaded: what was sampled could do nothing even as markup.
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "style": _asset("report.css"),
        "tiles": "".join(_tile(*tile) for tile in _tiles(run)),
        "facts": "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in _facts(run)),
        "command": text(repeat_command(run)),
        "config": text(run.config_text),
        "alarms": alarm_list(run.rows("alarm")),
        "alarm_link": '<a href="#alarms">Alarms</a>' if run.rows("alarm") else "",
        "results": result_table(run),
        "num_tasks": _num_tasks(run),
        "environments": environment_table(run),
        "stop_reasons": stop_reason_table(run),
        "problems": problem_table(list(problems(run))),
        "left_out": _left_out(embedded),
        "data": script_safe_json(page_data(run, embedded)),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("template.html"))


def repeat_command(run: RunData) -> str:
    """The command that does the run again, into a folder of its own."""
    folder = str(run.folder)
    return shlex.join(["llmgym", "train", f"{folder}/config.toml", "--output", f"{folder}-again"])


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _subtitle(run: RunData) -> str:
    """What was run, in one line."""
    config, record = run.config, run.record
    made = "made from nothing" if not config.model.path else config.model.path
    cold = f", cold start of {config.cold_start.steps:,} steps" if config.cold_start is not None else ""
    model = f"{record.num_parameters:,} parameters, {made}{cold}"
    return f"{config.agent['name']} · {model} · {config.steps:,} steps · seed {config.seed} · {_date(record.started)}"


def _date(started: str) -> str:
    return started.replace("T", " ")[:16]


def _num_tasks(run: RunData) -> str:
    if not run.after:
        return ""
    best = run.rows("best")
    when = f"with the weights of step {best[0]['step']}" if best else "after the last"
    flattered = " Those are the best of several, chosen by this very figure, so it flatters them." if best else ""
    shown = f"{num_tasks(run.after):,} held-out tasks before the first step and {when}, with 95 % intervals."
    return shown + flattered


def _tiles(run: RunData) -> Iterable[tuple[str, str, str]]:
    """(name, value, small print)."""
    for decoding, after in run.after.items():
        before = run.before[decoding].success if decoding in run.before else after.success
        interval = f"95 % interval {percent(after.success.low)} to {percent(after.success.high)}"
        change = f"{percent(before.value)} → {percent(after.success.value)}"
        yield f"Held-out success, {decoding}", change, interval
    train = run.rows("train")
    samples = train[-1].get("num_samples", 0) if train else 0
    yield "Learned from", f"{samples:,} episodes", f"in {len(train):,} steps"
    yield "Took", duration(run.record.seconds), f"on {run.record.device}"


def _tile(name: str, value: str, small: str) -> str:
    return f'<li><span class="name">{text(name)}</span><b>{text(value)}</b><small>{text(small)}</small></li>'


def _facts(run: RunData) -> Iterable[tuple[str, str]]:
    config, record = run.config, run.record
    agent = {name: value for name, value in config.agent.items() if name != "name"}
    for env in config.environments:
        named = f"{env.name}: {env.id}" if env.name else env.id
        yield "Environment", f"{named}{_settings(env.kwargs)}"
    yield "Agent", f"{config.agent['name']}{_settings(agent)}"
    yield "Model", f"{config.model.path or 'made from nothing'}, {record.num_parameters:,} parameters"
    yield "Learner", _settings(config.learner).strip(" ()") or "default settings"
    cold = config.cold_start
    if cold is not None:
        yield "Cold start", f"{cold.steps} supervised steps on {cold.num_demonstrations:,} demonstrations"
    yield "Batches", f"{config.steps} steps, {config.rollout.tasks_per_step} tasks each, sampler {config.sampler_name}"
    yield "Training", f"{config.training.mode}{_ending(run)}"
    yield "Held-out tasks", f"{config.evaluation.num_tasks} of the split {config.evaluation.split}"
    yield "Seed", str(config.seed)
    yield "Started", record.started.replace("T", " ")
    yield "Took", f"{duration(record.seconds)} on {record.device}"
    yield "Machine", record.machine
    yield "Versions", ", ".join(f"{name} {number}" for name, number in record.versions.items())


def _ending(run: RunData) -> str:
    """When it ended, where not after the last step, and whose weights its model has, where not the last."""
    ended = [f"after step {row['step']}: {row.get('text', '')}" for row in run.rows("ending")]
    best = [f"model of step {row['step']}, the best on held-out tasks" for row in run.rows("best")[:1]]
    return "".join(f"; {told}" for told in (*ended, *best))


def _settings(values: Mapping[str, object], prefix: str = "") -> str:
    """ " (name=value, ...)", nested names dotted; "" where there are none."""
    flat: list[str] = []

    def add(prefix: str, values: Mapping[str, object]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                add(f"{prefix}{name}.", value)
            else:
                flat.append(f"{prefix}{name}={value}")

    add(prefix, values)
    return f" ({', '.join(flat)})" if flat else ""


def _left_out(embedded: Embedded) -> str:
    """How many stored episodes are not in the page."""
    total = sum(source["total"] for source in embedded.sources)
    missing = total - len(embedded.episodes)
    if not missing:
        return f"All {total:,} stored episodes are here." if total else "No episodes are stored with this run."
    return (
        f"{len(embedded.episodes):,} of {total:,} stored episodes are here, the first of each kind; {missing:,} were "
        "left out to keep this file small. All are in held_out/ and trajectories/ beside it."
    )
