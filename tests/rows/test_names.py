from __future__ import annotations

import pytest

from harmguard.rows.names import KNOWN, PAIR, listed, nearly


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Prompt", "prompt"), (" prompt", "prompt"), ("prompt:", "prompt"), ("promt", "prompt"),
        ("RESPONSE", "response"), ("responses", "response"), ("reponse", "response"),
        ("resposne", "response"), ("lable", "label"), ("labels", "label"), ("Label ", "label"),
        ("license", "licence"), ("Id", "id"), ("TASK", "task"), ("so-ft", "soft"),
    ],
)  # fmt: skip
def test_what_is_nearly_a_known_name_is_found(name: str, wanted: str) -> None:
    assert nearly(frozenset({name, "extra"})) == (name, wanted)


@pytest.mark.parametrize(
    "name",
    ["text", "user_input", "prompt_id", "conv_id", "score", "tasks", "mask", "label2", "is", "",
     "answer", "toxicity", "response_harm_label", "harmful", "lang"],
)  # fmt: skip
def test_other_names_are_left_alone(name: str) -> None:
    assert nearly(frozenset({name})) is None


def test_a_slip_beside_the_name_itself_is_another_column() -> None:
    assert nearly(frozenset({"label", "labels"})) is None
    assert nearly(frozenset({"label", "Label"})) == ("Label", "label")


def test_a_stream_reads_the_pair_alone() -> None:
    assert nearly(frozenset({"Label"}), PAIR) is None
    assert nearly(frozenset(KNOWN)) is None


def test_names_are_listed_and_texts_are_counted() -> None:
    assert listed(["b", " a "]) == "b, ' a '"
    assert listed(["text", "how do I bake?", "x" * 90]) == "text, 2 more"
    assert listed(["how do I bake?"]) == "1 that look like texts, not names"
    assert listed([]) == "none"
    assert listed([f"c{i}" for i in range(20)]).endswith("c11, 8 more")
