"""The engine on this machine: draws that depend on the row alone, and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harmguard.errors import ChatTemplateError
from harmguard.training.harmaug.chat import opened_turn, verdict_words
from harmguard.training.harmaug.engines.local import (
    FOLDED,
    LocalModel,
    _nucleus,
    _RowSampler,
    narrow,
)
from harmguard.training.harmaug.inference import Continue, seed_of
from harmguard.training.harmaug.plan import Engine, Plan, Sampling
from harmguard.training.models import Model
from harmguard.training.stage import Item


@pytest.fixture(scope="module")
def generator(smoke_models: Path) -> LocalModel:
    return LocalModel.load(Model(str(smoke_models / "models" / "generator")))


def prompts(model: LocalModel, count: int) -> list[list[int]]:
    texts = [f"Write {'a rude note ' * (i % 4)}for my boss." for i in range(count)]
    return [opened_turn(model.tokenizer, text, "I have an idea for a prompt:") for text in texts]


def test_a_text_does_not_depend_on_its_neighbours(generator: LocalModel) -> None:
    asked, seeds = prompts(generator, 6), [11, 12, 13, 14, 15, 16]
    sampling = Sampling(max_new_tokens=12, temperature=1.5, top_p=0.95)
    together = generator.generate(asked, seeds, sampling)
    alone = [generator.generate([p], [s], sampling)[0] for p, s in zip(asked, seeds, strict=True)]
    assert together == alone
    assert len({r["text"] for r in together}) > 1
    assert generator.generate([asked[1]], [99], sampling) != [together[1]]


def test_temperature_0_is_the_models_own_greedy_answer(generator: LocalModel) -> None:
    (prompt,) = prompts(generator, 1)
    (found,) = generator.generate([prompt], [1], Sampling(max_new_tokens=10, temperature=0.0))
    ids = list(prompt)
    for _ in range(10):
        with torch.no_grad():
            ids.append(int(generator.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == generator.tokenizer.eos_token_id:
            break
    assert found["text"] == generator.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)


def test_a_prompt_of_several_rows_is_read_once(
    generator: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = prompts(generator, 2)
    asked, seeds = [first, first, second, first], [1, 2, 3, 4]
    sampling = Sampling(max_new_tokens=12, temperature=1.5)
    wanted = [generator.generate([p], [s], sampling)[0] for p, s in zip(asked, seeds, strict=True)]
    plain, read = generator.model.forward, []

    def forward(**inputs: Any) -> Any:
        read.append(tuple(inputs["input_ids"].shape))
        return plain(**inputs)

    monkeypatch.setattr(generator.model, "forward", forward)
    assert generator.generate(asked, seeds, sampling) == wanted
    assert read[0] == (2, max(len(first), len(second)))
    assert read[1] == (4, 1)
    assert read[-1][0] < 4  # ended rows have left


def test_an_answer_ends_before_its_stop(generator: LocalModel) -> None:
    asked, seeds = prompts(generator, 4), [1, 2, 3, 4]
    plain = Sampling(max_new_tokens=12)
    whole = [row["text"] for row in generator.generate(asked, seeds, plain)]
    stop = replace(plain, stop=" for")
    found = [row["text"] for row in generator.generate(asked, seeds, stop)]
    assert any(" for" in text for text in whole)
    assert found == [text.partition(" for")[0] for text in whole]
    # What an answer begins with does not end it.
    first = replace(plain, stop=" ")
    for text, full in zip(generator.generate(asked, seeds, first), whole, strict=True):
        assert text["text"].strip() == full.split()[0]


def test_heads_that_share_keys_give_the_same_answers() -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    ids = torch.arange(1, 11).view(2, 5)
    whole = model(input_ids=ids).logits[:, -1]

    class Tokenizer:
        eos_token_id, pad_token_id = None, 0

    local = LocalModel(Tokenizer(), model)
    with torch.inference_mode():
        _, cache = local._next(ids[:, :4], torch.ones(2, 4, dtype=torch.long), None)
        found, _ = local._next(ids[:, 4:], torch.ones(2, 5, dtype=torch.long), cache)
    assert model.config._attn_implementation == FOLDED
    assert torch.allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize("faster", [True, False])
def test_the_number_type_is_the_engines(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("harmguard.training.harmaug.engines.local.has_bf16", lambda: faster)
    assert not narrow(Engine())
    assert narrow(Engine(precision="auto")) is faster
    assert narrow(Engine(kind="ray", gpus=1.0))


def test_draws_follow_the_softmax() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    seeds, temperature = list(range(4000)), 0.7
    sampler = _RowSampler(seeds, Sampling(temperature=temperature))
    counts = Counter(sampler(seeds, logits.repeat(len(seeds), 1)).argmax(-1).tolist())
    expected = (logits[0] / temperature).softmax(-1).tolist()
    for token, p in enumerate(expected):
        # Four standard errors; the seeds are fixed.
        assert abs(counts[token] / 4000 - p) < 4 * (p * (1 - p) / 4000) ** 0.5 + 1e-3


def test_the_nucleus_is_the_fewest_likeliest_tokens() -> None:
    scores = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]]))
    kept = torch.isfinite(_nucleus(scores, 0.7)).tolist()
    assert kept == [[False, True, False, True], [True, False, False, False]]


def test_verdicts_do_not_depend_on_padding(smoke_models: Path) -> None:
    teacher = LocalModel.load(Model(str(smoke_models / "models" / "teacher")))
    words = verdict_words(teacher.tokenizer, "\n\n")
    asked = prompts(teacher, 5)
    together = teacher.verdicts(asked, words)
    for prompt, verdict in zip(asked, together, strict=True):
        with torch.no_grad():
            logits = teacher.model(torch.tensor([prompt])).logits[0, -1, list(words)]
        assert [verdict["safe"], verdict["unsafe"]] == pytest.approx(logits.tolist(), abs=1e-5)


def test_verdicts_keep_no_keys_and_values(
    smoke_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = LocalModel.load(Model(str(smoke_models / "models" / "teacher")))
    plain, kept = teacher.model.forward, []

    def forward(**inputs: Any) -> Any:
        found = plain(**inputs)
        kept.append(found.past_key_values)
        return found

    monkeypatch.setattr(teacher.model, "forward", forward)
    teacher.verdicts(prompts(teacher, 2), (1, 2))
    assert kept == [None]


def test_a_template_that_cannot_be_continued_matters_with_a_prefix_alone(
    smoke: Plan, bad_model: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")

    model = Model(bad_model("generator", change))
    function = Continue(smoke.engine, model, Sampling(max_new_tokens=2), 0).open()
    item: Item = {"id": "a", "request": "Hello.", "prefix": ""}
    (found,) = function([item])
    assert isinstance(found["text"], str)
    monkeypatch.delattr(LocalModel, "generate")  # it shows before the first answer
    with pytest.raises(ChatTemplateError, match="does not show an assistant's turn"):
        function([item, {**item, "prefix": "Yes:"}])


def test_seeds_of_rows_differ_and_stay() -> None:
    assert len({seed_of(s, f"r{i}") for s in range(3) for i in range(100)}) == 300
    assert seed_of(0, "a") == seed_of(0, "a") < 2**48
