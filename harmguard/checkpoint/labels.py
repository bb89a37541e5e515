"""Which of a classifier's labels is the harmful one, by their names (docs/checkpoints.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harmguard.errors import CheckpointError

How = Literal["named", "swapped", "assumed", "chosen"]

HARMFUL = frozenset(
    "abuse abusive adversarial attack bad block blocked bullying cyberbullying danger dangerous "
    "derogatory disallowed discriminatory explicit flagged harassing harassment harm harmful hate "
    "hateful hatespeech illegal inappropriate injection insult insulting jailbreak malicious "
    "misogynistic misogyny nsfw obscene obscenity offense offensive porn profane profanity racism "
    "racist reject rejected risky selfharm sexism sexist spam suicidal suicide threat threatening "
    "toxic toxicity unsafe violating violation violence violent vulgar".split()
)
SAFE = frozenset(
    "acceptable accept allow allowed appropriate benign civil clean compliant ethical friendly "
    "good ham harmless innocent innocuous inoffensive legit legitimate neither neutral nice normal "
    "ok okay pass permitted polite respectful safe sfw".split()
)
NEGATIONS = ("not", "non", "no", "un")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")
_NUMBERED = re.compile(r"(?:label|class|output)?[_ -]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Labels:
    """The names as the checkpoint has them, the place of the harmful one, and how that is known.

    "named": by the names; "swapped": by the names, and the harmful one came first; "assumed": the
    names do not say, so it is the last; "chosen": by the caller.
    """

    names: tuple[str, ...]
    harmful: int
    how: How

    @property
    def swapped(self) -> bool:
        """Whether the head's rows must change places."""
        return len(self.names) == 2 and self.harmful == 0

    @property
    def note(self) -> str | None:
        """What to tell the user; None where the names are as expected."""
        names = ", ".join(map(ascii, self.names))
        if self.how == "assumed":
            return (
                f"the labels are {names}, which do not say what is harmful; taken as "
                f"{'safe, harmful' if len(self.names) == 2 else 'harmful'} in this order; if that "
                "is wrong, name the harmful one with --harmful"
            )
        if self.swapped:
            return f"the labels are {names}, the harmful one first; the head's rows are swapped"
        return None

    def record(self) -> dict[str, Any] | None:
        """What a manifest or a report keeps; None where the names are as expected."""
        if self.how == "named":
            return None
        return {"names": list(self.names), "harmful": self.names[self.harmful], "how": self.how}


def polarity(name: str) -> bool | None:
    """Whether a name means harmful (True) or safe (False); None where it says neither, or both."""
    found: set[bool] = set()
    negated = False
    for word in (part.casefold() for part in _WORD.findall(name)):
        if word in NEGATIONS:
            negated = not negated
        elif (meaning := _meaning(word)) is not None:
            found.add(meaning is not negated)
            negated = False
    return found.pop() if len(found) == 1 else None


def _meaning(word: str) -> bool | None:
    """Of one word, perhaps with a negation in front, as in unharmful or nothate."""
    if word in HARMFUL or word in SAFE:
        return word in HARMFUL
    rests = [word.removeprefix(n) for n in NEGATIONS if word.startswith(n)]
    found = {rest in SAFE for rest in rests if rest in HARMFUL or rest in SAFE}
    return found.pop() if len(found) == 1 else None  # nonsfw: no nsfw, or non-sfw


def decide(
    names: Sequence[str], ids: Mapping[str, Any], problem: str | None, harmful: str | None = None
) -> Labels:
    """Which label is harmful.

    `names` are those of the head's outputs, in order, `ids` and `problem` the config's label2id and
    problem_type; `harmful` is the name that the caller says is the harmful one. Raises
    CheckpointError for another number of labels than 1 or 2, a head that is no classifier of them,
    and names that contradict themselves.
    """
    _check_head(names, problem)
    shown = ", ".join(map(ascii, names))
    _check_ids(names, ids)
    meanings = [polarity(name) for name in names]
    if harmful is not None:
        return _chosen(names, meanings, harmful)
    _check_numbers(names)
    if len(names) == 1:
        if meanings[0] is False:
            raise CheckpointError(
                f"the only label is {shown}; expected the harmful one; likely a model whose score "
                "is high for harmless texts"
            )
        return Labels(tuple(names), 0, "named" if meanings[0] else "assumed")
    if meanings[0] is not None and meanings[0] is meanings[1]:
        kind = "harmful" if meanings[0] else "safe"
        raise CheckpointError(
            f"the labels are {shown}, both {kind} by their names; expected one of each; likely a "
            "model for another task; if not, name the harmful one with --harmful"
        )
    if meanings == [None, None]:
        return Labels(tuple(names), 1, "assumed")
    first = meanings[0] is True or meanings[1] is False
    return Labels(tuple(names), 0 if first else 1, "swapped" if first else "named")


def _check_head(names: Sequence[str], problem: str | None) -> None:
    if len(names) not in (1, 2):
        raise CheckpointError(
            f"the classifier has {len(names)} labels; expected 2, safe and harmful, or harmful "
            "alone; likely a model for another task"
        )
    if problem == "regression":
        raise CheckpointError(
            f"problem_type regression, with {len(names)} label{'s'[: len(names) - 1]}; expected a "
            "classifier, whose output is a logit; likely a model that gives a score of another "
            "scale"
        )
    if problem == "multi_label_classification" and len(names) == 2:
        raise CheckpointError(
            "problem_type multi_label_classification with 2 labels; expected a head whose 2 labels "
            "exclude each other: a softmax would be put on two independent scores"
        )


def _check_ids(names: Sequence[str], ids: Mapping[str, Any]) -> None:
    shown = ", ".join(map(ascii, names))
    if len({name.casefold() for name in names}) < len(names):
        raise CheckpointError(f"the labels are {shown}; expected two different names")
    if any(str(ids.get(name, place)) != str(place) for place, name in enumerate(names)):
        raise CheckpointError(
            f"id2label has {shown} in this order and label2id another; expected one order; likely "
            "a config that was edited in one place"
        )


def _check_numbers(names: Sequence[str]) -> None:
    numbers = [m[1] for name in names if (m := _NUMBERED.fullmatch(name.strip()))]
    if numbers == ["1", "0"]:
        raise CheckpointError(
            f"the labels are {', '.join(map(ascii, names))}: their numbers are not their places; "
            "expected one order; likely an edited config; if not, name the harmful one with "
            "--harmful"
        )


def _chosen(names: Sequence[str], meanings: Sequence[bool | None], harmful: str) -> Labels:
    shown = ", ".join(map(ascii, names))
    if harmful not in names:
        raise CheckpointError(f"no label {harmful!a}; expected one of {shown}")
    place = list(names).index(harmful)
    other = meanings[1 - place] if len(names) == 2 else None
    if meanings[place] is False or (other is True and meanings[place] is None):
        raise CheckpointError(
            f"{harmful!a} is chosen as the harmful one of {shown}; expected a name that does not "
            "say the opposite"
        )
    return Labels(tuple(names), place, "chosen")
