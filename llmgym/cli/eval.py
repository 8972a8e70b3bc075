"""`llmgym eval`: how good a model is on an environment."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError, OutputFolderError
from ..evaluation import Estimate, Evaluation, EvaluationSettings, measure, opened
from ..evaluation.folder import CONFIG
from ..messages import load_tokenizer
from ..sampling import EndpointSampler, Sampler, SamplingParams
from ..settings import checked_call, override_setting
from .shared import (
    DONE,
    OUR_FAILURE,
    Commands,
    add_command,
    add_env,
    add_json,
    console,
    env_kwargs,
    print_json,
    progress,
    table,
)

_GREEDY = SamplingParams(temperature=0.0)


def add_eval(commands: Commands) -> None:
    """Add the command `eval`."""
    parser = add_command(
        commands,
        "eval",
        summary="measure a model on an environment",
        about=(
            "Measure a model on the tasks of a split, sampled and greedy, with 95 % intervals. With several samples a "
            "task also pass@k and the majority vote. With --output, an interrupted evaluation goes on where it stopped "
            "when the same command is given again, and llmgym compare and rescore can read what it stored. "
            "Ends with 3 where too many episodes were not valid, because the environment or its verifier failed."
        ),
        examples="""
        llmgym eval llmgym/Calculator-v0 --model runs/calculator/model --tasks 100
        llmgym eval llmgym/GSM8K-v0 --model Qwen/Qwen2.5-0.5B-Instruct --decoding greedy limits.turn_tokens=512
        llmgym eval llmgym/Math-v0 --model runs/a/model --samples 16 --top-p 0.95 --output evals/a
        llmgym eval llmgym/GSM8K-v0 --model Qwen/Qwen3-0.6B --sampler vllm --set max_model_len=4096
        llmgym eval llmgym/Calculator-v0 --endpoint http://localhost:8000/v1 --tokenizer Qwen/Qwen3-0.6B
        llmgym eval llmgym/Math-v0 --endpoint https://api.openai.com/v1 --model-name gpt-5 --api-key-env OPENAI_API_KEY
        """,
    )
    add_env(parser)
    policy = parser.add_mutually_exclusive_group(required=True)
    policy.add_argument("--model", metavar="DIR", help="a model folder or hub id")
    policy.add_argument(
        "--endpoint", metavar="URL", help="a server of OpenAI's protocol, e.g. http://localhost:8000/v1"
    )
    parser.add_argument(
        "--sampler", default="torch", metavar="NAME", help="of the model, such as torch or vllm (default: torch)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="name=value",
        help="a setting of the sampler or endpoint, e.g. gpu_memory_utilization=0.9 or retries=9; may be repeated",
    )
    parser.add_argument("--model-name", metavar="NAME", help="of the endpoint (default: the only one it serves)")
    parser.add_argument("--api-key-env", metavar="VAR", help="environment variable with the endpoint's key")
    parser.add_argument(
        "--tokenizer", metavar="DIR", help="of the endpoint's model, to ask it in token ids; without, in chat messages"
    )
    parser.add_argument(
        "--tasks",
        "--limit",
        type=int,
        metavar="N",
        help="the first so many tasks (default: all of a finite split, 200 where they are generated)",
    )
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="sampled episodes a task (default: 1)")
    parser.add_argument("--split", default="test", help="of the tasks (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling; 0: greedy alone (default: 1)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="likeliest tokens kept, by probability")
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="likeliest tokens kept, by number; 0: all")
    parser.add_argument(
        "--decoding", choices=("both", "sampled", "greedy"), default="both", help="(default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=64, metavar="N", help="episodes at once (default: 64)")
    parser.add_argument("--output", metavar="DIR", help="folder for settings, episodes and figures; or to go on with")
    parser.add_argument(
        "--max-invalid",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="more episodes than this not valid: exit code 3 (default: %(default)s)",
    )
    add_json(parser)
    parser.set_defaults(run=_eval)


def _eval(options: Namespace) -> int:
    if options.samples < 1:
        raise ConfigError(f"--samples is {options.samples}, but every task needs at least one episode.")
    if options.tasks is not None and options.tasks < 1:
        raise ConfigError(f"--tasks is {options.tasks}, but at least one task must be tried.")
    if not 0 <= options.max_invalid <= 1:
        raise ConfigError(f"--max-invalid is {options.max_invalid:g}, but a share is 0 to 1.")
    results: dict[str, Evaluation] = {}
    settings = {name: _settings(options, name) for name in _decodings(options)}
    output = _output_folder(options)
    kwargs = env_kwargs(options)
    shown = progress(options)
    policy, sampler = _policy(options)
    try:
        with opened(policy, options.env, env_kwargs=kwargs, concurrency=options.concurrency, sampler=sampler) as player:
            for name, of_decoding in settings.items():
                folder = output / name if output else None
                results[name] = measure(player, of_decoding, output=folder, progress=shown, name=name)
    except KeyboardInterrupt:
        if output:
            print(f"llmgym: the same command goes on with the episodes in {output}", file=sys.stderr)
        raise
    if options.json:
        _print_json(options, settings, results)
    else:
        _print(options, settings, results)
    shares = {name: result.num_invalid / len(result.trajectories) for name, result in results.items()}
    if max(shares.values()) <= options.max_invalid:
        return DONE
    worst = max(shares, key=lambda name: shares[name])
    again = "; the same command tries them again" if output else ""
    print(
        f"llmgym: {results[worst].num_invalid} of {len(results[worst].trajectories)} episodes ({worst}) were not "
        f"valid, more than --max-invalid {options.max_invalid:g} allows: the environment or its verifier failed. They "
        f"are no part of the figures{again}.",
        file=sys.stderr,
    )
    return OUR_FAILURE


def _policy(options: Namespace) -> tuple[str | Sampler, dict[str, Any]]:
    """The model or endpoint, and the sampler of a model with its settings.

    Raises:
        ConfigError: something was said of a model that is for endpoints alone, or the other way round.
    """
    values: dict[str, Any] = {}
    for setting in options.set:
        override_setting(values, setting)
    of_endpoint = {"model": options.model_name, "api_key_env": options.api_key_env, "tokenizer": options.tokenizer}
    of_endpoint = {name: value for name, value in of_endpoint.items() if value is not None}
    if options.endpoint is None:
        if of_endpoint:
            raise ConfigError("--model-name, --api-key-env and --tokenizer are of an --endpoint. Leave them out here.")
        return options.model, {"name": options.sampler, **values}
    if options.sampler != "torch":
        raise ConfigError(f"--sampler is {options.sampler}, but an --endpoint samples by itself. Leave it out.")
    if options.tokenizer is not None:
        of_endpoint["tokenizer"] = load_tokenizer(options.tokenizer)
    values |= {"max_connections": options.concurrency, "url": options.endpoint, **of_endpoint}
    return checked_call(EndpointSampler, values, where="--set"), {}


def _decodings(options: Namespace) -> list[str]:
    if options.temperature == 0:
        return ["greedy"]
    return ["sampled", "greedy"] if options.decoding == "both" else [options.decoding]


def _settings(options: Namespace, decoding: str) -> EvaluationSettings:
    sampled = SamplingParams(temperature=options.temperature, top_p=options.top_p, top_k=options.top_k)
    return EvaluationSettings(
        env=options.env,
        env_kwargs=env_kwargs(options),
        split=options.split,
        num_tasks=options.tasks,
        num_samples=options.samples if decoding == "sampled" else 1,
        sampling=sampled if decoding == "sampled" else _GREEDY,
        seed=options.seed,
    )


def _output_folder(options: Namespace) -> Path | None:
    """The folder that holds one for each decoding.

    Raises:
        OutputFolderError: something else is there.
    """
    if options.output is None:
        return None
    folder = Path(options.output)
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not any((folder / name / CONFIG).is_file() for name in ("sampled", "greedy")):
        raise OutputFolderError(
            f"{str(folder)!r} holds something that is no evaluation, and nothing in it is overwritten. Name a folder "
            "that is new, empty, or of an evaluation to go on with."
        )
    return folder


def _print_json(
    options: Namespace, settings: Mapping[str, EvaluationSettings], results: Mapping[str, Evaluation]
) -> None:
    told = ("env", "model", "endpoint", "model_name", "sampler", "split", "seed", "output")
    document: dict[str, Any] = {name: getattr(options, name) for name in told}
    document["env_kwargs"] = env_kwargs(options)
    for name, result in results.items():
        sampling = settings[name].sampling
        drawn = {field: getattr(sampling, field) for field in ("temperature", "top_p", "top_k")}
        document[name] = {**drawn, "num_samples": settings[name].num_samples, **result.figures()}
    print_json(document)


def _print(options: Namespace, settings: Mapping[str, EvaluationSettings], results: Mapping[str, Evaluation]) -> None:
    shown = table("", *(_heading(settings[name], name) for name in results))

    def row(name: str, figure: Callable[[Evaluation], str]) -> None:
        shown.add_row(name, *map(figure, results.values()))

    row("tasks x samples", lambda r: f"{r.figures()['num_tasks']} x {r.num_samples}")
    row("success", lambda r: r.success.percent)
    row("mean reward", lambda r: str(r.reward))
    for k in sorted({k for result in results.values() for k in result.pass_at_k if k > 1}):
        row(f"pass@{k}", lambda r, k=k: _percent(r.pass_at_k.get(k)))  # type: ignore[misc]
    if any(_majority(result) for result in results.values()):
        row("majority vote", lambda r: _percent(_majority(r)))
    row("with a tool call", lambda r: f"{100 * r.tool_share:.1f} %")
    row("mean turns", lambda r: f"{r.summary()['mean_turns']:.2f}")
    row("mean sampled tokens", lambda r: f"{r.summary()['mean_action_tokens']:.1f}")
    row("stopped by", _stop_reasons)
    row("invalid episodes", lambda r: f"{r.num_invalid} of {len(r.trajectories)}")
    out = console()
    policy = f"model {options.model}" if options.endpoint is None else f"endpoint {options.endpoint}"
    out.print(f"{options.env}, split {options.split}, {policy}", markup=False, soft_wrap=True)
    out.print(shown)
    if options.output:
        out.print(f"written to {options.output}", markup=False, soft_wrap=True)


def _heading(settings: EvaluationSettings, name: str) -> str:
    sampling = settings.sampling
    if name == "greedy":
        return name
    cuts = [f"top-p {sampling.top_p:g}"] * (sampling.top_p < 1) + [f"top-k {sampling.top_k}"] * (sampling.top_k > 0)
    return ", ".join([f"{name} at temperature {sampling.temperature:g}", *cuts])


def _majority(result: Evaluation) -> Estimate | None:
    return result.majority if result.num_samples > 1 else None


def _percent(estimate: Estimate | None) -> str:
    return estimate.percent if estimate is not None else ""


def _stop_reasons(result: Evaluation) -> str:
    reasons = result.summary()["stop_reasons"]
    return ", ".join(f"{name} {100 * count / len(result.valid):.1f} %" for name, count in reasons.items())
