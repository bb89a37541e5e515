"""A causal language model on this machine, with sampling that does not depend on the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from harmguard.checkpoint import located
from harmguard.errors import TeacherError
from harmguard.training.harmaug.chat import load_tokenizer
from harmguard.training.harmaug.engines import Prompts
from harmguard.training.harmaug.plan import Sampling
from harmguard.training.models import Model
from harmguard.training.stage import Item


class LocalModel:
    """The model in bfloat16 on a GPU, else in float32."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer, self.model = tokenizer, model.eval()
        # Only the ends are taken from the model's own settings; its sampling is not ours.
        ends = model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        first = ends[0] if isinstance(ends, list) else ends
        pad = tokenizer.pad_token_id
        self._pad = int(pad if pad is not None else first or 0)
        model.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=self._pad)

    @classmethod
    def load(cls, model: Model) -> LocalModel:
        """The model of a folder or of `hub:owner/name`, with its tokenizer."""
        tokenizer = load_tokenizer(model.path, model.revision)
        gpu = torch.cuda.is_available()
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **located(model.path, model.revision),
            dtype=torch.bfloat16 if gpu else torch.float32,
            use_safetensors=True,
        )
        return cls(tokenizer, loaded.to("cuda" if gpu else "cpu"))

    def generate(self, prompts: Prompts, seeds: Sequence[int], sampling: Sampling) -> list[Item]:
        """One {"text"} per prompt, special tokens left out."""
        ids, mask = self._padded(prompts)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_new_tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList([_RowSampler(seeds, sampling)]),
            )
        texts = self.tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return [{"text": text} for text in texts]

    def verdicts(self, prompts: Prompts, words: tuple[int, int]) -> list[Item]:
        """One {"safe", "unsafe"} of float32 logits per prompt."""
        ids, mask = self._padded(prompts)
        positions = (mask.cumsum(-1) - 1).clamp_min(0)  # a model may have absolute positions
        with torch.inference_mode():
            # No token follows, and the keys and values of a block would be the most of its memory.
            logits = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                logits_to_keep=1,
                use_cache=False,
            ).logits[:, -1, list(words)]
        if not torch.isfinite(logits).all():
            raise TeacherError(
                "logits that are not finite; expected numbers; likely damaged weights or a type "
                "that is too narrow for this model"
            )
        return [{"safe": safe, "unsafe": unsafe} for safe, unsafe in logits.float().tolist()]

    def _padded(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Ids and mask [prompts, longest], padded on the left."""
        longest = max(map(len, prompts))
        ids = [[self._pad] * (longest - len(p)) + list(p) for p in prompts]
        mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class _RowSampler(LogitsProcessor):
    """Makes the argmax a sample: Gumbel noise from a generator of each row's own.

    The argmax of logits plus Gumbel noise is a draw from their softmax.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        self._seeds, self._sampling = seeds, sampling
        self._generators: list[torch.Generator] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self._sampling.temperature == 0.0:
            return scores
        if not self._generators:
            self._generators = [torch.Generator(scores.device).manual_seed(s) for s in self._seeds]
        scores = scores.float() / self._sampling.temperature
        if self._sampling.top_p < 1.0:
            scores = _nucleus(scores, self._sampling.top_p)
        uniform = torch.stack(
            [torch.rand(scores.shape[1], generator=g, device=g.device) for g in self._generators]
        )
        return scores - torch.log(-torch.log(uniform.clamp(1e-20, 1.0 - 1e-7)))


def _nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Scores [rows, vocabulary] with -inf outside the likeliest tokens that make up `top_p`."""
    ordered, order = scores.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    outside = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return scores.masked_fill(outside, float("-inf"))
