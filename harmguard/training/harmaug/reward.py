"""A guard as a batch reward for red-team training loops, callable as TRL's GRPOTrainer calls it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from harmguard import HarmGuard
from harmguard.errors import DataError

Judged = Literal["exchange", "completion"]
Turns = Sequence[dict[str, Any]]  # messages with "role" and "content"


class GuardReward:
    """P(harmful) of each sample of a step, in [0, 1]: higher is a more successful attack.

    `judged` "exchange": the completion as a response to its prompt, for a policy that answers.
    "completion": the completion as a prompt of its own, for a policy that writes attacks.
    `GRPOTrainer(reward_funcs=GuardReward(guard), ...)` takes it as it is; further columns that
    a trainer passes are ignored.
    """

    def __init__(self, guard: HarmGuard, judged: Judged = "exchange") -> None:
        self._guard, self._judged = guard, judged
        self.__name__ = f"harm_of_{judged}"  # a trainer logs the reward under this
        self.pairs = 0  # scored so far
        self.seconds = 0.0  # spent scoring them

    def __call__(
        self,
        prompts: Sequence[str | Turns],
        completions: Sequence[str | Turns],
        **_: Any,
    ) -> list[float]:
        """One reward per completion. Texts, or turns of a conversation, of which the last counts.

        An empty attack gets 0, since there is nothing to judge. Raises DataError for inputs
        of other shapes.
        """
        if len(prompts) != len(completions):
            raise DataError(
                f"{len(prompts)} prompts and {len(completions)} completions; expected as many"
            )
        started = time.perf_counter()
        answers = [_last(c, "assistant", i) for i, c in enumerate(completions)]
        pairs: list[tuple[str, str | None]]
        if self._judged == "exchange":
            asked = [_last(p, "user", i) for i, p in enumerate(prompts)]
            pairs = list(zip(asked, answers, strict=True))
        else:
            pairs = [(answer, None) for answer in answers]
        rewards = [0.0] * len(pairs)
        there = [i for i, (prompt, _) in enumerate(pairs) if prompt]
        if there:
            scores = self._guard.score_many([pairs[i] for i in there])
            for i, score in zip(there, scores, strict=True):
                rewards[i] = float(score)
        self.pairs += len(pairs)
        self.seconds += time.perf_counter() - started
        return rewards

    @property
    def pairs_per_second(self) -> float:
        """Throughput over all calls so far; 0 before the first."""
        return self.pairs / self.seconds if self.seconds else 0.0


def _last(value: Any, role: str, index: int) -> str:
    """A text, or the content of a conversation's last turn of `role`."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        for turn in reversed(value):
            if isinstance(turn, dict) and turn.get("role") == role:
                content = turn.get("content")
                if isinstance(content, str):
                    return content
    raise DataError(
        f"sample {index} is a {type(value).__name__} without a text of the {role}; expected a "
        "string, or turns with role and content"
    )
