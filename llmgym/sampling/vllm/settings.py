"""How vLLM is set up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import ConfigError

_OURS = {
    "model": "the model",
    "max_num_seqs": "max_batch",
    "skip_tokenizer_init": "nothing: llmgym has tokenizers of its own",
    "logprobs_mode": "nothing: log-probabilities are those of the distribution that was sampled from",
    "return_sampling_mask": "record_kept_tokens",
    "worker_extension_cls": "nothing: llmgym's own is there",
    "weight_transfer_config": "weight_transfer",
    "enable_sleep_mode": "colocated",
    "enable_batch_sharded_sampling": "nothing: it would sample ids that are padding of the vocabulary",
}
"""Arguments of vLLM that the sampler decides, and what decides them."""
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""That vLLM makes room for."""


@dataclass(frozen=True, kw_only=True)
class VLLMSettings:
    """Settings of `VLLMSampler`. What is None is left to vLLM, or to what suits the place."""

    engine: Literal["auto", "in_process", "async"] = "auto"
    """in_process: scheduler and model in one process, which is faster on a CPU. async: vLLM's asynchronous engine,
    whose front end, scheduler and workers have processes of their own, so that an accelerator need not wait for Python.
    auto: the first on a CPU, the second on an accelerator. Either way all of it runs beside this process, not in it."""
    dtype: str | None = None
    """None: float32 on a CPU, bfloat16 on an accelerator."""
    max_model_len: int | None = None
    """Longest prompt and completion together; None: what the model was made for."""
    gpu_memory_utilization: float | None = None
    """Share of the accelerator's memory that vLLM may take; with a learner on the same one, 0.3 to 0.5 is usual. None:
    0.4 where it is `colocated`; else vLLM's own choice, which is nearly all."""
    kv_cache_memory_bytes: int | None = None
    """Size of the key-value cache. None: 1 GiB on a CPU; on an accelerator what `gpu_memory_utilization` leaves."""
    block_size: int | None = None
    """Tokens of a block of the cache. Only full blocks are found again in the next turn. None: 32 on a CPU."""
    tensor_parallel_size: int = 1
    """Accelerators that share the model."""
    enforce_eager: bool | None = None
    """No compiled graphs: starts faster, runs slower. None: eager on a CPU."""
    seed: int = 0
    """Of vLLM's own process; each request has a seed of its own."""
    colocated: bool = False
    """The learner's accelerator is vLLM's, too: `sleep` gives its memory back and `wake` takes it again."""
    record_kept_tokens: bool = True
    """With top-p or top-k, say for each token which others it was drawn among, without which it cannot be learned from.
    With top-p and no top-k that is the whole vocabulary's log-probabilities, which is slow where it is large."""
    weight_transfer: str = "auto"
    """How new weights reach vLLM: "memory", "ipc" or "nccl". auto: ipc where learner and vLLM are one process each and
    share an accelerator, else memory."""
    lora_rank: int = 0
    """Highest rank of adapters that are sent instead of full weights; 0: none are."""
    max_restarts: int = 3
    """So often an engine that died is started again; after that its death is an error."""
    start_timeout_s: float = 3600.0
    """Seconds in which vLLM must have loaded the model, and downloaded it where it is not here."""
    silence_timeout_s: float = 600.0
    """An engine that was asked, and says nothing for so many seconds, counts as dead. It answers between its steps, so
    this must be longer than any step, or any update of the weights, takes."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables of vLLM's process, such as OMP_NUM_THREADS or CUDA_VISIBLE_DEVICES."""
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    """Any other argument of vLLM's engine, by its name there."""

    def __post_init__(self) -> None:
        for name in ("tensor_parallel_size", "block_size", "max_model_len", "kv_cache_memory_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, but it must be at least 1.")
        for name in ("max_restarts", "lora_rank"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but it cannot be negative.")
        for name in ("start_timeout_s", "silence_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}, but it must be a number of seconds above 0.")
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise ConfigError(f"gpu_memory_utilization is {share}, but it is a share: above 0 and at most 1.")
        for name in self.engine_args:
            if name in _OURS or name in self.__dataclass_fields__:
                by = _OURS.get(name, f"the setting {name}")
                raise ConfigError(f"engine_args has {name!r}, which is decided by {by}.")

    @property
    def num_workers(self) -> int:
        """Processes of vLLM that have a part of the model, or a copy, each with an accelerator."""
        others = ("pipeline_parallel_size", "data_parallel_size")
        return self.tensor_parallel_size * math.prod(int(self.engine_args.get(name, 1)) for name in others)

    @property
    def _lora_room(self) -> int:
        """The least rank of those that vLLM makes room for that holds ours.

        Raises:
            ConfigError: there is none.
        """
        for rank in _LORA_RANKS:
            if rank >= self.lora_rank:
                return rank
        raise ConfigError(f"lora_rank is {self.lora_rank}, but vLLM runs adapters up to rank {_LORA_RANKS[-1]}.")

    def vllm_args(self, model: str, *, max_batch: int) -> dict[str, Any]:
        """The arguments of vLLM's engine; what is None is left out there."""
        return {
            "model": model,
            "max_num_seqs": max_batch,
            "dtype": self.dtype,
            "max_model_len": self.max_model_len,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "kv_cache_memory_bytes": self.kv_cache_memory_bytes,
            "block_size": self.block_size,
            "tensor_parallel_size": self.tensor_parallel_size,
            "enforce_eager": self.enforce_eager,
            "seed": self.seed,
            "enable_sleep_mode": self.colocated,
            "skip_tokenizer_init": True,
            "generation_config": "vllm",
            "logprobs_mode": "processed_logprobs",
            "max_logprobs": -1,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
            "worker_extension_cls": f"{__package__}.extension.WorkerExtension",
            **({"enable_lora": True, "max_lora_rank": self._lora_room} if self.lora_rank else {}),
            **self.engine_args,
        }
