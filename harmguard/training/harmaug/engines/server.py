"""A model behind an OpenAI-compatible server, such as vLLM's: completions of token ids."""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from harmguard.checkpoint.hub import PREFIX
from harmguard.errors import EngineError
from harmguard.extras import require
from harmguard.training.harmaug.chat import ids_of, load_tokenizer
from harmguard.training.harmaug.engines import Prompts
from harmguard.training.harmaug.plan import Sampling
from harmguard.training.models import Model
from harmguard.training.stage import AWAY, FAILED, REASON, REFUSED, Item

require("engine openai", "openai", extra="train,scale")

import openai  # noqa: E402

TOP = 20  # log-probabilities asked for; a server may give fewer
RETRIES = 5  # the client waits longer each time, or as a Retry-After of up to a minute says
TIMEOUT_S = 300.0
GARBAGE = "an answer that is no completion"
HALF = "a text with half a character"
STOPS = (401, 403, 404)  # the same for every row
REFUSALS = (400, 413, 422)  # this row's own, such as a prompt longer than the model takes
BUSY = (429, 502, 503, 504)  # the server's own, still so after the retries


class ServerModel:
    """The model `model.path` of the server at `model.url`; its tokenizer is loaded here.

    Prompts are sent as token ids: a server that got text would add a second BOS. The key is
    OPENAI_API_KEY of the environment, where one is needed. Threads may share it.
    """

    def __init__(self, model: Model) -> None:
        self.tokenizer = load_tokenizer(model.path, model.revision)
        ids_of(self.tokenizer, "")  # sets its truncation now, which no two threads may do
        self._name = model.path.removeprefix(PREFIX)
        self._client = openai.OpenAI(
            base_url=model.url,
            api_key=os.environ.get("OPENAI_API_KEY", "none"),
            max_retries=RETRIES,
            timeout=TIMEOUT_S,
        )
        weakref.finalize(self, self._client.close)

    def generate(self, prompts: Prompts, seeds: Sequence[int], sampling: Sampling) -> list[Item]:
        """One {"text"}, {"reason"}, {"refused"} or {"failed"} per prompt, one after the other."""
        options = [
            {
                "max_tokens": sampling.max_new_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed % 2**31,
                **({"stop": [sampling.stop]} if sampling.stop else {}),
            }
            for seed in seeds
        ]
        return [self._ask(p, o, _text) for p, o in zip(prompts, options, strict=True)]

    def verdicts(self, prompts: Prompts, words: tuple[int, int]) -> list[Item]:
        """The same with {"safe", "unsafe"} of log-probabilities."""
        names = [self.tokenizer.decode([word]) for word in words]
        options = {"max_tokens": 1, "temperature": 0.0, "logprobs": TOP}

        def read(choice: Any) -> Item:
            return _verdict(choice, names)

        return [self._ask(prompt, options, read) for prompt in prompts]

    def _ask(
        self, prompt: Sequence[int], options: dict[str, Any], read: Callable[[Any], Item]
    ) -> Item:
        try:
            answer = self._client.completions.create(
                model=self._name, prompt=list(prompt), **options
            )
            return read(answer.choices[0])
        except openai.APIStatusError as error:
            return _of_status(error.status_code)
        except openai.APIConnectionError as error:
            late = isinstance(error, openai.APITimeoutError)
            return {FAILED: "no answer in time" if late else "no connection", AWAY: True}
        except (openai.APIError, json.JSONDecodeError, *_WRONG_SHAPES):
            return {FAILED: GARBAGE}


def _of_status(status: int) -> Item:
    if status in STOPS:
        raise EngineError(
            f"the server answers {status}; expected completions of the plan's model; likely a "
            "wrong url, model name or OPENAI_API_KEY; finished rows are kept"
        )
    if status in REFUSALS:
        return {REFUSED: f"refused by the server with status {status}"}
    return {FAILED: f"status {status}", **({AWAY: True} if status in BUSY else {})}


# What reading a field of an answer raises when the answer is something else.
_WRONG_SHAPES = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def _text(choice: Any) -> Item:
    if not isinstance(choice.text, str):
        raise TypeError(type(choice.text))
    try:
        choice.text.encode()
    except UnicodeEncodeError:
        return {REASON: HALF}  # the same seed would give the same text again
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
    safe, unsafe = (found[name] for name in names)
    if not (math.isfinite(safe) and math.isfinite(unsafe)):
        return {REASON: "a log-probability of safe or unsafe that is not finite"}
    return {"safe": safe, "unsafe": unsafe}
