"""A causal language model on this machine, with sampling that does not depend on the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from harmguard.checkpoint import located
from harmguard.checkpoint.precision import has_bf16
from harmguard.errors import TeacherError
from harmguard.training.harmaug.chat import load_tokenizer
from harmguard.training.harmaug.engines import Prompts
from harmguard.training.harmaug.plan import Engine, Sampling
from harmguard.training.models import Model
from harmguard.training.stage import Item

FOLDED = "harmguard_folded"  # what transformers knows `_attention` by
KEPT = 0.75  # once no more than this share of the rows goes on, the ended ones leave the batch


def narrow(engine: Engine) -> bool:
    """Whether models of `engine` compute in bfloat16, else in float32."""
    gpu = engine.gpus > 0 if engine.kind == "ray" else torch.cuda.is_available()
    return gpu or (engine.precision == "auto" and has_bf16())


class LocalModel:
    """The model in the number type that it was loaded in."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer, self.model = tokenizer, model.eval()
        # Only the ends are taken from the model's own settings; its sampling is not ours.
        ends = model.generation_config.eos_token_id
        ends = tokenizer.eos_token_id if ends is None else ends
        self._ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
        pad = tokenizer.pad_token_id
        self._pad = int(pad if pad is not None else (*self._ends, 0)[0])
        # transformers 5.24 has another word for it than releases before.
        known = signature(model.forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"
        if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
            model.set_attn_implementation(FOLDED)

    @classmethod
    def load(cls, model: Model, *, narrow: bool | None = None) -> LocalModel:
        """The model of a folder or of `hub:owner/name`, with its tokenizer.

        In bfloat16 where `narrow` says so, else in float32; None: in bfloat16 on a GPU.
        """
        tokenizer = load_tokenizer(model.path, model.revision)
        gpu = torch.cuda.is_available()
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            **located(model.path, model.revision),
            dtype=torch.bfloat16 if (gpu if narrow is None else narrow) else torch.float32,
            use_safetensors=True,
        )
        return cls(tokenizer, loaded.to("cuda" if gpu else "cpu"))

    def generate(self, prompts: Prompts, seeds: Sequence[int], sampling: Sampling) -> list[Item]:
        """One {"text"} per prompt, special tokens left out."""
        # A prompt that several rows have is read once.
        places = {prompt: i for i, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
        sampler = _RowSampler(seeds, sampling)
        made: list[list[int]] = [[] for _ in prompts]
        ids, mask = self._padded(list(places))
        with torch.inference_mode():
            logits, cache = self._next(ids, mask, None)
            rows = list(range(len(prompts)))
            keep: Tensor | None = self._index(places[tuple(prompt)] for prompt in prompts)
            for left in range(sampling.max_new_tokens, 0, -1):
                if keep is not None:
                    logits, mask = logits[keep], mask[keep]
                    cache.batch_select_indices(keep)
                drawn = sampler(rows, logits).argmax(-1)
                for row, token in zip(rows, drawn.tolist(), strict=True):
                    made[row].append(token)
                going = [i for i, row in enumerate(rows) if not self._ended(made[row], sampling)]
                if not going or left == 1:
                    break
                mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
                logits, cache = self._next(drawn[:, None], mask, cache)
                # Ended rows that stay cost less than copying the cache at every end.
                few = len(going) <= KEPT * len(rows)
                keep = self._index(going) if few else None
                rows = [rows[i] for i in going] if few else rows
        return [{"text": self._text(tokens, sampling)} for tokens in made]

    def _next(self, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Logits [rows, vocabulary] of the token after `ids`, and the cache that they are in."""
        # A model may have absolute positions.
        positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            logits_to_keep=1,
            use_cache=True,
            **{self._cache: cache},
        )
        return out.logits[:, -1], out[self._cache]

    def _index(self, rows: Iterable[int]) -> Tensor:
        return torch.tensor(list(rows), device=self.model.device)

    def _ended(self, tokens: list[int], sampling: Sampling) -> bool:
        if not self._ends_at(tokens) and sampling.stop:
            return sampling.stop in self.tokenizer.decode(tokens).lstrip()
        return self._ends_at(tokens)

    def _ends_at(self, tokens: list[int]) -> bool:
        return not set(self._ends).isdisjoint(tokens)

    def _text(self, tokens: list[int], sampling: Sampling) -> str:
        """What was said before the first end."""
        end = next((i for i, token in enumerate(tokens) if token in self._ends), len(tokens))
        text = str(self.tokenizer.decode(tokens[:end], skip_special_tokens=True))
        if not sampling.stop:
            return text
        blank = len(text) - len(text.lstrip())
        return text[:blank] + text[blank:].partition(sampling.stop)[0]

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


class _RowSampler:
    """Makes the argmax a sample: Gumbel noise from a generator of each row's own.

    The argmax of logits plus Gumbel noise is a draw from their softmax.
    """

    def __init__(self, seeds: Sequence[int], sampling: Sampling) -> None:
        self._seeds, self._sampling = seeds, sampling
        self._generators: list[torch.Generator] = []

    def __call__(self, rows: Sequence[int], scores: Tensor) -> Tensor:
        """The scores [rows, vocabulary] of some rows, by number, with their noise."""
        if self._sampling.temperature == 0.0:
            return scores
        if not self._generators:
            self._generators = [torch.Generator(scores.device).manual_seed(s) for s in self._seeds]
        scores = scores.float() / self._sampling.temperature
        if self._sampling.top_p < 1.0:
            scores = _nucleus(scores, self._sampling.top_p)
        uniform = torch.stack(
            [torch.rand(scores.shape[1], generator=g, device=g.device)
             for g in (self._generators[row] for row in rows)]
        )  # fmt: skip
        return scores - torch.log(-torch.log(uniform.clamp(1e-20, 1.0 - 1e-7)))


def _nucleus(scores: Tensor, top_p: float) -> Tensor:
    """Scores [rows, vocabulary] with -inf outside the likeliest tokens that make up `top_p`."""
    ordered, order = scores.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    outside = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return scores.masked_fill(outside, float("-inf"))


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """transformers' own, but for one new token the heads that share keys stand as queries.

    Their keys and values would be copied for each head otherwise, which on a CPU takes longer
    than the rest of the step.
    """
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    if tokens > 1 or shared == heads:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    mask = None if attention_mask is None else attention_mask[..., : key.shape[-2]]
    out = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, shared, heads // shared, width), key, value, attn_mask=mask,
        scale=kwargs.get("scaling"),
    )  # fmt: skip
    return out.reshape(rows, 1, heads, width), None


AttentionInterface.register(FOLDED, _attention)
AttentionMaskInterface.register(FOLDED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
