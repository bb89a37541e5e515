"""A model behind an OpenAI-compatible server, such as vLLM's: completions of token ids."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harmguard.errors import EngineError, MissingExtraError
from harmguard.training.pipeline.chat import load_tokenizer
from harmguard.training.pipeline.engines import Prompts
from harmguard.training.pipeline.recipe import Model, Sampling
from harmguard.training.pipeline.stage import FAILED, REASON, Item

try:
    import openai
except ImportError:
    raise MissingExtraError(
        "engine openai needs the package openai, not installed here; "
        "type: pip install 'harmguard[train,scale]'"
    ) from None

TOP = 20  # log-probabilities asked for; a server may give fewer
RETRIES = 5  # the client waits longer each time, and as long as a Retry-After says
TIMEOUT_S = 300.0
GARBAGE = "an answer that is no completion"


class ServerModel:
    """The model `model.path` of the server at `model.url`; its tokenizer is loaded here.

    Prompts are sent as token ids: a server that got text would add a second BOS. The key is
    OPENAI_API_KEY of the environment, where one is needed.
    """

    def __init__(self, model: Model, *, requests: int) -> None:
        self.tokenizer = load_tokenizer(model.path, model.revision)
        self._name, self._url, self._requests = model.path, model.url, requests

    def generate(self, prompts: Prompts, seeds: Sequence[int], sampling: Sampling) -> list[Item]:
        """One {"text"} or {"failed"} per prompt."""
        options = [
            {
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed % 2**31,
            }
            for seed in seeds
        ]
        return self._ask(prompts, options, _text)

    def verdicts(self, prompts: Prompts, words: tuple[int, int]) -> list[Item]:
        """One {"safe", "unsafe"} of log-probabilities, {"reason"} or {"failed"} per prompt."""
        names = [self.tokenizer.decode([word]) for word in words]
        options = {"max_tokens": 1, "temperature": 0.0, "logprobs": TOP}

        def read(choice: Any) -> Item:
            return _verdict(choice, names)

        return self._ask(prompts, [options] * len(prompts), read)

    def _ask(
        self,
        prompts: Prompts,
        options: Sequence[dict[str, Any]],
        read: Callable[[Any], Item],
    ) -> list[Item]:
        def ask(prompt: Sequence[int], chosen: dict[str, Any]) -> Item:
            try:
                answer = client.completions.create(model=self._name, prompt=list(prompt), **chosen)
                return read(answer.choices[0])
            except (openai.AuthenticationError, openai.NotFoundError) as error:
                raise EngineError(
                    f"the server answers {error.status_code}; expected completions of the "
                    "recipe's model; likely a wrong url, model name or OPENAI_API_KEY"
                ) from None
            except openai.APIStatusError as error:
                return {FAILED: f"status {error.status_code}"}
            except openai.APIConnectionError as error:
                late = isinstance(error, openai.APITimeoutError)
                return {FAILED: "no answer in time" if late else "no connection"}
            except (openai.APIError, json.JSONDecodeError, *_WRONG_SHAPES):
                return {FAILED: GARBAGE}

        # A client per block, so that none is left open when a stage ends or fails.
        with (
            openai.OpenAI(
                base_url=self._url,
                api_key=os.environ.get("OPENAI_API_KEY", "none"),
                max_retries=RETRIES,
                timeout=TIMEOUT_S,
            ) as client,
            ThreadPoolExecutor(self._requests) as pool,
        ):
            return list(pool.map(ask, prompts, options))


# What reading a field of an answer raises when the answer is something else.
_WRONG_SHAPES = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def _text(choice: Any) -> Item:
    if not isinstance(choice.text, str):
        raise TypeError(type(choice.text))
    return {"text": choice.text}


def _verdict(choice: Any, names: Sequence[str]) -> Item:
    top = choice.logprobs.top_logprobs[0]
    found = {str(token): float(value) for token, value in dict(top).items()}
    if not all(value <= 1e-3 for value in found.values()):  # also catches NaN
        raise ValueError(len(found))
    missing = [word for word, name in zip(("safe", "unsafe"), names, strict=True)
               if name not in found]  # fmt: skip
    if missing:
        # Less likely than the last one given, but how much is unknown: no number is made up.
        return {REASON: f"no log-probability of {' or '.join(missing)}"}
    return {"safe": found[names[0]], "unsafe": found[names[1]]}
