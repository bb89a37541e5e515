from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.checkpoint.labels import HARMFUL, SAFE, Labels, decide, polarity
from harmguard.errors import CheckpointError

# Names of labels as published guards and text classifiers have them: safe, harmful.
PUBLISHED = [
    ("safe", "unsafe"), ("SAFE", "INJECTION"), ("LEGIT", "INJECTION"), ("benign", "jailbreak"),
    ("BENIGN", "MALICIOUS"), ("unharmful", "harmful"), ("harmless", "harmful"),
    ("not_harmful", "harmful"), ("non-toxic", "toxic"), ("neutral", "toxic"),
    ("Non-Toxic", "Toxic"), ("NOT_TOXIC", "TOXIC"), ("nothate", "hate"), ("NON_HATE", "HATE"),
    ("Non Hate", "Hate"), ("normal", "hate-speech"), ("noHate", "HateSpeech"),
    ("not offensive", "offensive"), ("non-offensive", "offensive"), ("clean", "OFFENSIVE"),
    ("inoffensive", "profane"), ("SFW", "NSFW"), ("safe", "nsfw"), ("ok", "not ok"),
    ("OK", "toxicity"), ("acceptable", "unacceptable"), ("appropriate", "inappropriate"),
    ("allowed", "disallowed"), ("pass", "block"), ("ham", "spam"), ("not-abusive", "abusive"),
    ("no_violence", "violence"), ("non-violent", "violent"), ("not_cyberbullying", "cyberbullying"),
    ("no_harassment", "harassment"), ("not_suicide", "suicide"), ("non-sexist", "sexist"),
    ("compliant", "violation"), ("ethical", "unethical"), ("civil", "insult"),
    ("fine and safe", "unsafe"), ("no threat", "threat"), ("innocuous", "LABEL_1"),
    ("0", "harmful"), ("other", "toxic"),
]  # fmt: skip
# Names that do not say which is which: taken in this order, and said so.
SILENT = [
    ("LABEL_0", "LABEL_1"), ("0", "1"), ("no", "yes"), ("negative", "positive"), ("NOT", "OFF"),
    ("False", "True"), ("real", "fake"), ("class_0", "class_1"), ("entailment", "not_entailment"),
    ("sandwich?", "??"), ("a", "b"),
]  # fmt: skip


def ids(*names: str) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


@pytest.mark.parametrize("pair", PUBLISHED, ids=" / ".join)
def test_a_published_pair_is_right_in_both_orders(pair: tuple[str, str]) -> None:
    safe, harmful = pair
    found = decide([safe, harmful], ids(safe, harmful), None)
    assert (found.harmful, found.how, found.swapped, found.record()) == (1, "named", False, None)
    found = decide([harmful, safe], ids(harmful, safe), "single_label_classification")
    assert (found.harmful, found.how, found.swapped) == (0, "swapped", True)
    assert found.note is not None
    assert "the harmful one first; the head's rows are swapped" in found.note


@pytest.mark.parametrize("pair", SILENT, ids=" / ".join)
def test_names_that_say_nothing_are_recorded_as_assumed(pair: tuple[str, str]) -> None:
    numbered = pair[1].endswith("1")  # refused in the other order, see below
    for names in (pair,) if numbered else (pair, pair[::-1]):
        found = decide(names, ids(*names), None)
        assert (found.harmful, found.how) == (1, "assumed")
        assert found.record() == {
            "names": list(names), "harmful": names[1], "how": "assumed"
        }  # fmt: skip
        assert found.note is not None
        assert "taken as safe, harmful in this order" in found.note
        chosen = decide(names, {}, None, names[0])
        assert (chosen.harmful, chosen.how, chosen.swapped) == (0, "chosen", True)


@pytest.mark.parametrize(
    ("names", "label2id", "problem", "harmful", "match"),
    [
        (["a", "b", "c"], {}, None, None, "has 3 labels; expected 2, safe and harmful, or harmful"),
        ([], {}, None, None, "has 0 labels"),
        (["safe", "unsafe"], {}, "regression", None, "problem_type regression, with 2 labels"),
        (["unsafe"], {}, "regression", None, "problem_type regression, with 1 label;"),
        (["safe", "unsafe"], {}, "multi_label_classification", None, "a softmax would be put on"),
        (["toxic", "hate"], {}, None, None, "both harmful by their names; expected one of each"),
        (["ok", "safe"], {}, None, None, "both safe by their names"),
        (["Toxic", "toxic"], {}, None, None, "expected two different names"),
        (["safe", "unsafe"], {"safe": 1, "unsafe": 0}, None, None, "and label2id another"),
        (["LABEL_1", "LABEL_0"], {}, None, None, "their numbers are not their places"),
        (["1", "0"], {}, None, None, "their numbers are not their places"),
        (["safe"], {}, None, None, "the only label is 'safe'; expected the harmful one"),
        (["not toxic"], {}, None, None, "the only label is 'not toxic'"),
        (["a", "b"], {}, None, "c", "no label 'c'; expected one of 'a', 'b'"),
        (["safe", "x"], {}, None, "safe", "'safe' is chosen as the harmful one .* the opposite"),
        (["x", "toxic"], {}, None, "x", "'x' is chosen as the harmful one"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused(
    names: list[str], label2id: dict[str, int], problem: str | None, harmful: str | None, match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        decide(names, label2id, problem, harmful)


def test_one_label() -> None:
    assert decide(["toxic"], {}, None) == Labels(("toxic",), 0, "named")
    found = decide(["LABEL_0"], {}, "multi_label_classification")
    assert (found.how, found.swapped) == ("assumed", False)
    assert found.note is not None
    assert "taken as harmful in this order" in found.note
    assert decide(["score"], {}, None, "score").how == "chosen"


def test_the_caller_decides_between_two_harmful_names() -> None:
    assert decide(["toxic", "hate"], {}, None, "toxic").swapped
    assert not decide(["LABEL_1", "LABEL_0"], {}, None, "LABEL_0").swapped


def test_label2id_of_other_names_says_nothing() -> None:
    assert decide(["safe", "unsafe"], {"LABEL_0": 0, "LABEL_1": 1}, None).how == "named"


@given(st.sampled_from(sorted(HARMFUL | SAFE)), st.sampled_from(["not", "non", "no", "un"]))
def test_a_negation_turns_every_word_round(word: str, negation: str) -> None:
    meaning = word in HARMFUL
    for name in (word, word.upper(), word.capitalize(), f"{word}_1", f"is {word}"):
        assert polarity(name) is meaning
    for name in (f"{negation} {word}", f"{negation}-{word}", f"{negation}_{word}".upper(),
                 f"{negation}{word}", f"{negation}{word.capitalize()}"):  # fmt: skip
        if name.lower() != "nonsfw":  # no nsfw, or non-sfw
            assert polarity(name) is (not meaning)


@given(st.text())
def test_any_name_is_harmful_safe_or_neither(name: str) -> None:
    assert polarity(name) in (True, False, None)
    assert polarity("safe and unsafe") is None
    assert polarity("nonsfw") is None


def test_the_page_lists_the_words() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "checkpoints.md"
    text = page.read_text(encoding="utf-8")
    for kind, words in (("harmful", HARMFUL), ("safe", SAFE)):
        part = text.partition(f"- **{kind}**:")[2].partition("\n- **")[0].partition("\n\n")[0]
        assert set(re.findall(r"\w+", part)) == words
