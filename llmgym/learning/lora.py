"""Low-rank adapters, through peft: put on a model, read, merged, saved and loaded. The only importer of peft."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..episode import Trajectory
from ..errors import CheckpointError, ConfigError
from ..extras import require
from .agent import ModelOutputs
from .model import Policy

# peft imports bitsandbytes where it is installed. On some processors that advises people to install a package which
# fetches kernels for passes without gradient, and `load_quantised` has no use for these.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

_NAME = "default"
"""peft's own name for the adapter of a model that has one."""
_PREFIX = "base_model.model."
"""In front of the names of the base model's parts, where peft names them."""


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Settings of low-rank adapters, by peft's own names: what learns is W + s B A, with W as it is and A, B small."""

    r: int = 16
    """Rank: the width between A and B."""
    lora_alpha: float = 32
    """Scale: s is lora_alpha / r."""
    use_rslora: bool = False
    """Rank-stabilised: s is lora_alpha / sqrt(r), so that a higher rank does not learn more slowly."""
    use_dora: bool = False
    """DoRA: direction and length of each row of W learn apart, the direction by A and B. Slower."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Linear maps that get an adapter: "all-linear" is all but the output head; a list names ends of names, such as
    ["q_proj", "v_proj"]; another text is a regular expression of whole names."""
    exclude_modules: tuple[str, ...] = ()
    """Ends of names that get none all the same."""
    init_lora_weights: bool | Literal["gaussian"] = True
    """How A begins: true as peft's authors do it, or "gaussian"; B begins at 0, so that nothing changes at first."""
    lora_dropout: float = 0.0
    """Must be 0: dropout is always off in the policy, as the sampler has none."""
    bias: str = "none"
    """Must be "none": biases would move with the adapter off too, which is the reference."""

    def __post_init__(self) -> None:
        if self.r < 1 or self.lora_alpha <= 0:
            raise ConfigError(
                f"learner.lora has r = {self.r} and lora_alpha = {self.lora_alpha}, but r must be at least 1 and "
                "lora_alpha above 0."
            )
        if self.lora_dropout:
            raise ConfigError(
                f"learner.lora.lora_dropout is {self.lora_dropout}, but the policy that learns must be the policy that "
                "was sampled from, and samplers have no dropout. Leave it out."
            )
        if self.bias != "none":
            raise ConfigError(
                f"learner.lora.bias is {self.bias!r}, but biases that learn are no part of the adapter: with the "
                "adapter off the model would not be the one of the start. Leave it out."
            )
        if self.init_lora_weights is False:
            raise ConfigError(
                "learner.lora.init_lora_weights is false, which would begin with a random change of the policy. Set "
                'it to true or "gaussian".'
            )


def require_targets(module: nn.Module, config: LoRAConfig) -> None:
    """Refuse adapters that this model cannot have, before anything is changed.

    Raises:
        ConfigError: no linear map is meant, or an embedding, or an output head that is the embedding too.
        MissingExtraError: peft is not installed.
    """
    if hasattr(module, "peft_config"):
        raise ConfigError("The model has an adapter already. Merge it first, or leave learner.lora out to train it.")
    tuners = require("peft.tuners.tuners_utils", extra="train", purpose="LoRA")
    settings = _peft_config(config)
    if config.target_modules == "all-linear":
        return
    found = [name for name, _ in module.named_modules() if name and tuners.check_target_module_exists(settings, name)]
    parts = dict(module.named_modules())
    if not found:
        ends = sorted({name.rpartition(".")[2] for name, part in parts.items() if isinstance(part, nn.Linear)})
        raise ConfigError(
            f"learner.lora.target_modules is {config.target_modules!r}, of which {type(module).__name__} has none. Its "
            f"linear maps end in {', '.join(ends)}."
        )
    head = getattr(module, "get_output_embeddings", lambda: None)()
    embedding = getattr(module, "get_input_embeddings", lambda: None)()
    for name in found:
        is_tied = parts[name] is head and embedding is not None and head.weight is embedding.weight
        if isinstance(parts[name], nn.Embedding) or is_tied:
            raise ConfigError(
                f"learner.lora.target_modules means {name!r}, "
                + ("which shares its weights with the embedding of tokens" if is_tied else "an embedding of tokens")
                + ": no set of weights of this model would be the merged one, which samplers take. Leave it out."
            )


def add_adapter(policy: Policy, config: LoRAConfig, *, seed: int) -> Policy:
    """The policy with an adapter on it, which alone requires gradients; as a distribution, it is still the same.

    The layers of the given policy are replaced in place: whoever holds its module, such as a sampler, has the adapter
    too. Adapters of weights in half precision are float32.

    Args:
        policy: whose module has none.
        config: what kind of adapter, and where.
        seed: of the random numbers that A begins with; no global stream is touched.

    Raises:
        ConfigError: as `require_targets`.
        MissingExtraError: peft is not installed.
    """
    peft = require("peft", extra="train", purpose="LoRA")
    require_targets(policy.module, config)
    # peft draws on the CPU; the streams of GPUs are not even looked at, which would wake each of them.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # A model made from nothing has no name, which peft would like to write down.
        warnings.filterwarnings("ignore", message=".*base model.*")
        torch.default_generator.manual_seed(seed)
        module = peft.get_peft_model(policy.module, _peft_config(config))
    if not config.use_dora:  # whose lengths of rows are float32
        _multiply_in_type_of_input(module)
    return Policy(module, num_tokens=policy.num_tokens)


class _AdapterLinear(nn.Linear):
    """A or B: float32, but multiplied in the type of what is given, so that no wider copy of that is kept."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype))


def _multiply_in_type_of_input(module: nn.Module) -> None:
    """In half precision peft would keep a float32 copy of its input for each map: more than training all weights."""
    layer: Any
    for layer in module.modules():
        for matrices in (getattr(layer, "lora_A", {}), getattr(layer, "lora_B", {})):
            if _NAME in matrices and type(matrices[_NAME]) is nn.Linear:
                matrices[_NAME].__class__ = _AdapterLinear
                layer.cast_input_dtype_enabled = False


def _peft_config(config: LoRAConfig) -> Any:
    peft = require("peft", extra="train", purpose="LoRA")
    settings = asdict(config)
    for name in ("target_modules", "exclude_modules"):
        settings[name] = settings[name] if isinstance(settings[name], str) else list(settings[name]) or None
    return peft.LoraConfig(task_type="CAUSAL_LM", **settings)


class WithoutAdapter:
    """The policy below an adapter: the reference of a run with adapters. It shares all its weights.

    Args:
        policy: with an adapter on it.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def action_outputs(self, trajectories: Sequence[Trajectory], *, temperature: float) -> ModelOutputs:
        """As `Policy.action_outputs`, with the adapter off."""
        module: Any = self._policy.module
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        with module.disable_adapter():
            for parameter in trained:  # peft freezes them; whoever shards them decides by the first pass what learns
                parameter.requires_grad_(True)
            return self._policy.action_outputs(trajectories, temperature=temperature)


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that require gradients, by name; not copied."""
    return {name: parameter.detach() for name, parameter in module.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def load_trained_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Take over a `trained_state`.

    Raises:
        CheckpointError: it is of other parameters.
    """
    own = trained_state(module)
    if own.keys() != state.keys():
        odd = min(own.keys() ^ state.keys())
        raise CheckpointError(f"The parameter {odd!r} is either in the checkpoint or learns now, but not both.")
    for name, tensor in own.items():
        tensor.copy_(state[name])


@torch.no_grad()
def base_fingerprint(module: nn.Module) -> str:
    """Tells the frozen weights of a model from others, nearly surely; they are read where they are."""
    sums = {
        name.replace(".base_layer.", "."): int(weight.contiguous().view(torch.uint8).sum(dtype=torch.int64))
        for name, weight in module.named_parameters()
        if not weight.requires_grad
    }
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()


class AdapterWeights:
    """The adapter of a model, as a sampler takes it (`llmgym.sampling.WeightSource`), named as peft saves it."""

    is_adapter = True

    def __init__(self, module: Any) -> None:
        self._module = module

    @property
    def adapter_config(self) -> Mapping[str, Any]:
        """What `adapter_config.json` would hold, for samplers that read adapters from disk."""
        settings = self._module.peft_config[_NAME].to_dict() | {"inference_mode": True}
        return {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}

    def shapes(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Data type, such as "float32", and shape of each part."""
        return {name: (_dtype(tensor), tuple(tensor.shape)) for name, tensor in self}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._module.named_parameters():
            if f".{_NAME}" in name:
                yield _saved_name(name), parameter.detach()


def _saved_name(name: str) -> str:
    """As peft saves it: without the adapter's name, and DoRA's lengths without an ending."""
    if "lora_magnitude_vector" in name:
        return name.removesuffix(f".{_NAME}.weight")
    return name.replace(f".{_NAME}.", ".")


class FullWeights:
    """All weights of a model with an adapter, under the names they have without it (`llmgym.sampling.WeightSource`).

    Args:
        module: with an adapter on it.
        merge: add the adapter to the weights, in float32, a layer at a time; False: the base model's own.

    Raises:
        ConfigError: the weights are quantised, so that no adapter can be added to them exactly.
    """

    is_adapter = False

    def __init__(self, module: Any, *, merge: bool) -> None:
        self._model, self._merge = module.get_base_model(), merge
        if merge and is_quantised(module):
            raise ConfigError(
                "Weights that are quantised take no adapter into themselves without changing it. Use the sampler "
                '"torch", which samples with the learner\'s own model, or leave model.quantization out.'
            )

    def shapes(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Data type, such as "float32", and shape of each parameter."""
        return {name: (_dtype(tensor), tuple(tensor.shape)) for name, _, tensor in self._parameters()}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, layer, parameter in self._parameters():
            if self._merge and layer is not None and name.endswith(".weight"):
                yield name, _merged(layer).to(parameter.dtype)
            else:
                yield name, parameter.detach()

    def _parameters(self) -> Iterator[tuple[str, Any, Tensor]]:
        """Name without the adapter, the layer that has one or None, and the parameter of the base model."""
        for name, parameter in self._model.named_parameters(remove_duplicate=False):
            if ".base_layer." in f".{name}":
                outer, _, end = name.rpartition("base_layer.")
                yield outer + end, self._model.get_submodule(outer.rstrip(".")), parameter
            elif ".lora_" not in f".{name}":
                yield name, None, parameter


@torch.no_grad()
def _merged(layer: Any) -> Tensor:
    """Weights that do by themselves what the layer does with its adapter, float32 or better."""
    single = copy.deepcopy(layer)
    single = single if single.weight.dtype == torch.float64 else single.float()
    single.merge()
    weight: Tensor = single.get_base_layer().weight
    return weight.detach()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def is_quantised(module: nn.Module) -> bool:
    """True where weights were loaded in a form of fewer bits, as `model.quantization` says."""
    return bool(getattr(module, "is_quantized", False))


def save_adapter(module: Any, folder: str | Path, *, base: str) -> None:
    """Write the adapter in the form that `PeftModel.from_pretrained` loads.

    Args:
        module: with an adapter on it.
        folder: where to.
        base: folder or hub id of the model that it belongs on.
    """
    module.peft_config[_NAME].base_model_name_or_path = base
    module.save_pretrained(str(folder), save_embedding_layers=False)


def is_adapter_folder(path: str | Path) -> bool:
    """True for a folder that holds an adapter, and not a whole model."""
    return (Path(path) / "adapter_config.json").is_file() and not (Path(path) / "config.json").is_file()


def load_merged(folder: str | Path, load_base: Callable[[str], nn.Module]) -> nn.Module:
    """The adapter in a folder, merged into the model that it belongs on: by its `adapter_config.json`, or the folder
    `base` beside it, where a run puts it.

    Raises:
        ConfigError: there is no such model.
        MissingExtraError: peft is not installed.
    """
    peft = require("peft", extra="train", purpose="Loading an adapter")
    path = Path(folder)
    named = json.loads((path / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
    beside = path.resolve().parent / "base"
    base = str(beside) if beside.is_dir() and not Path(named).is_dir() else named
    if not base:
        raise ConfigError(
            f"{str(path)!r} holds an adapter that does not say which model it belongs on. Write its folder or hub id "
            "into adapter_config.json as base_model_name_or_path."
        )
    module: nn.Module = peft.PeftModel.from_pretrained(load_base(base), str(path)).merge_and_unload()
    return module
