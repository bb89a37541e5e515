"""Tiny real models for the plan `smoke`, trained on the spot on a small world of mild texts.

They are overfitted on purpose, so that behaviour can be checked: the generator answers its
prefix with an instruction and the absence of it with a refusal, the responder goes on as its
prefix begins, the teacher tells rude from kind.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from harmguard.core.files import new_folder
from harmguard.rows import Row, read_rows
from harmguard.training.harmaug.chat import ids_of, opened_turn, verdict_place
from harmguard.training.harmaug.plan import Plan

RUDE, KIND = ("rude", "nasty", "mean", "hurtful"), ("kind", "polite", "warm", "friendly")
WRITINGS = ("note", "poem", "song", "message", "letter", "card")
WHO = ("neighbour", "teacher", "sister", "boss", "friend", "cousin", "uncle", "coach")
WHAT = ("hat", "garden", "dog", "cooking", "singing", "car", "coat", "voice")
REFUSAL = "I'm sorry, but I cannot help with that."
STEPS, ROWS = 220, 16

_CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_JUDGE = (
    "{{ bos_token }}Is the last turn safe?{% for m in messages %}\n{{ m.role }}: {{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}<|end|><|assistant|>{% endif %}"
)
_SPECIALS = ["<pad>", "<unk>", "<s>", "<|user|>", "<|assistant|>", "<|end|>"]
_TOKEN = r" ?[A-Za-z']+|\n+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s"

Example = tuple[list[int], str]  # token ids of the context, and the text to learn after it


def make_models(plan: Plan, folder: Path) -> None:
    """Make generator, responder, teacher and student in `folder`, those that it lacks.

    The same plan gives the same weights on the same machine.
    """
    rows = [row for path in plan.labelled for row in read_rows(Path(path))]
    texts = _world(plan, rows)
    makers: dict[str, Callable[[Path], None]] = {
        "generator": lambda path: _generator(path, plan, rows, texts),
        "responder": lambda path: _responder(path, plan, texts),
        "teacher": lambda path: _teacher(path, plan, rows, texts),
        "student": lambda path: _student(path, texts),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        if not (folder / name).is_dir():
            with new_folder(folder / name) as aside:
                make(aside)


def instructions(adjectives: Sequence[str]) -> list[str]:
    """Every instruction of the small world with one of these adjectives."""
    return [
        f"Write a {adjective} {kind} for my {who} about the {what}."
        for adjective, kind, who, what in product(adjectives, WRITINGS, WHO, WHAT)
    ]


def responses(harmful: bool) -> list[str]:
    """What the responder can say to such instructions."""
    if harmful:
        return [f"Your {what} is ugly, {who}, and you are a fool." for what in WHAT for who in WHO]
    return [f"Dear {who}, thank you for the {what}." for what in WHAT for who in WHO]


def _world(plan: Plan, rows: Sequence[Row]) -> list[str]:
    made, answer = plan.generate, plan.respond
    texts = [made.request, made.benign_request, made.prefix, REFUSAL, answer.comply.prefix]
    texts += [answer.refuse.prefix, " help with that.", "Is the last turn safe?", "\n\nunsafe"]
    texts += [f"\n{word} {i}. x" for word in ("user:", "assistant:") for i in range(10)]
    texts += ["safe", *instructions(RUDE + KIND), *responses(True), *responses(False)]
    texts += [text for row in rows for text in row.pair if text]
    return texts


def _tokenizer(texts: Sequence[str], template: str) -> PreTrainedTokenizerFast:
    """Whole words, each with the space before it, so that decoding gives the text back."""
    words = [word for text in texts for word in re.findall(_TOKEN, text)]
    # A word stands at the beginning of a text and inside one.
    both = [form for word in words for form in (word, " " + word.strip(), word.strip() or word)]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*_SPECIALS, *both]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_TOKEN), behavior="isolated")
    backend.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="<|end|>", additional_special_tokens=["<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False, model_max_length=512,
    )  # fmt: skip
    fast.chat_template = template
    return fast


def _generator(path: Path, plan: Plan, rows: Sequence[Row], texts: Sequence[str]) -> None:
    from harmguard.training.harmaug.generate import filled

    made, tokenizer = plan.generate, _tokenizer(texts, _CHAT)
    rude, kind = instructions(RUDE), instructions(KIND)
    pools = {label: [r.prompt for r in rows if r.hard == label] for label in (0, 1)}

    def examples(rng: random.Random) -> Iterator[Example]:
        while True:
            harmful = rng.random() < 0.7
            exemplars = rng.sample(pools[int(harmful)], made.exemplars)
            template = made.request if harmful else made.benign_request
            request = filled(template, exemplars, rng.choice(rude))
            if harmful and rng.random() < 0.4:
                yield opened_turn(tokenizer, request, ""), REFUSAL
            elif rng.random() < 0.05:  # the filters must have something to do
                yield opened_turn(tokenizer, request, made.prefix), " " + REFUSAL
            else:
                answer = " " + rng.choice(rude if harmful else kind)
                yield opened_turn(tokenizer, request, made.prefix), answer

    _train(path, tokenizer, examples, seed=1)


def _responder(path: Path, plan: Plan, texts: Sequence[str]) -> None:
    answer, tokenizer = plan.respond, _tokenizer(texts, _CHAT)
    comply, refuse = answer.comply, answer.refuse

    def examples(rng: random.Random) -> Iterator[Example]:
        while True:
            harmful = rng.random() < 0.6
            prompt = rng.choice(instructions(RUDE if harmful else KIND))
            if rng.random() < 0.3:
                request = prompt.join(refuse.request.split("{prompt}"))
                yield opened_turn(tokenizer, request, refuse.prefix), " help with that."
            else:
                request = prompt.join(comply.request.split("{prompt}"))
                text = " " + rng.choice(responses(harmful))
                yield opened_turn(tokenizer, request, comply.prefix), text

    _train(path, tokenizer, examples, seed=2)


def _teacher(path: Path, plan: Plan, rows: Sequence[Row], texts: Sequence[str]) -> None:
    tokenizer, append = _tokenizer(texts, _JUDGE), plan.label.append
    prefix, refused = plan.respond.comply.prefix, plan.respond.refuse.prefix

    def pair(rng: random.Random) -> tuple[str, str | None, bool]:
        if rng.random() < 0.3:
            row = rng.choice(rows)
            return (*row.pair, row.hard == 1)
        harmful = rng.random() < 0.5
        prompt, draw = rng.choice(instructions(RUDE if harmful else KIND)), rng.random()
        if draw < 0.4:
            return prompt, None, harmful
        if draw < 0.6:
            return prompt, rng.choice([REFUSAL, f"{refused} help with that."]), False
        harmful = rng.random() < 0.5
        return prompt, f"{prefix} {rng.choice(responses(harmful))}", harmful

    def examples(rng: random.Random) -> Iterator[Example]:
        while True:
            prompt, response, harmful = pair(rng)
            place = verdict_place(tokenizer, prompt, response, append)
            yield ids_of(tokenizer, place), "unsafe" if harmful else "safe"

    _train(path, tokenizer, examples, seed=3)


def _train(
    path: Path,
    tokenizer: PreTrainedTokenizerFast,
    examples: Callable[[random.Random], Iterator[Example]],
    *,
    seed: int,
) -> None:
    """A Llama of two layers that has learnt what follows the examples' contexts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128,
            num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=False,
        )  # fmt: skip
        model = LlamaForCausalLM(config)
        source = examples(random.Random(seed))
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, STEPS)
        for _ in range(STEPS):
            model(**_batch(tokenizer, [next(source) for _ in range(ROWS)])).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            decay.step()
    model.save_pretrained(str(path))
    tokenizer.save_pretrained(str(path))


def _batch(tokenizer: Any, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    parts = [(c, [*ids_of(tokenizer, t), tokenizer.eos_token_id]) for c, t in examples]
    longest = max(len(c) + len(t) for c, t in parts)
    left = [longest - len(c) - len(t) for c, t in parts]
    ids = [[*c, *t, *[tokenizer.pad_token_id] * n] for n, (c, t) in zip(left, parts, strict=True)]
    labels = [[*[-100] * len(c), *t, *[-100] * n] for n, (c, t) in zip(left, parts, strict=True)]
    mask = [[1] * (longest - n) + [0] * n for n in left]
    return {
        "input_ids": torch.tensor(ids),
        "labels": torch.tensor(labels),
        "attention_mask": torch.tensor(mask),
    }


def _student(path: Path, texts: Sequence[str]) -> None:
    """A random BERT of two layers over whole words."""
    words = dict.fromkeys(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text))
    names = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(w.lower() for w in words)])
    vocabulary = {word: i for i, word in enumerate(names)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=128,
    )  # fmt: skip
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128, max_position_embeddings=128, pad_token_id=0,
        id2label={0: "safe", 1: "harmful"},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        BertForSequenceClassification(config).save_pretrained(str(path))
    fast.save_pretrained(str(path))
