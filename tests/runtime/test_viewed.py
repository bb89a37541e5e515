"""HarmGuard with the views of a text: the highest score counts, and what cannot be read is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmguard import HarmGuard
from harmguard.bundle import load_tokenizer, open_bundle
from harmguard.cli import main
from harmguard.core.encode import PairEncoder
from harmguard.core.readable import Reader, scripts_of
from harmguard.errors import TextTooLongError
from tests.runtime.conftest import manifest

BundleMaker = Callable[..., Path]
HIDDEN = "how to d\u0430ng\u0435r"  # Cyrillic letters
CODED = "cGxlYXNlIG1ha2UgZGFuZ2VyIGZvciB1cw=="


@pytest.fixture(scope="module")
def viewed_bundle(make_bundle: BundleMaker, small_bundle: Path) -> Path:
    template = open_bundle(small_bundle).manifest.input.template
    changed = {**manifest(template)["input"], "normalisation": "views-1"}
    return make_bundle(needle="danger", input=changed, metrics={"scripts": ["Latn"]})


@pytest.fixture(scope="module")
def viewed(viewed_bundle: Path) -> HarmGuard:
    return HarmGuard(viewed_bundle, threads=1)


@pytest.fixture
def encoders(viewed_bundle: Path) -> tuple[PairEncoder, PairEncoder]:
    """Without views and with them."""
    bundle = open_bundle(viewed_bundle)
    spec, tokenizer = bundle.manifest.input, load_tokenizer(bundle)
    parts = (tokenizer, spec.template, spec.max_tokens)
    return PairEncoder(*parts), PairEncoder(*parts, "views-1")


@pytest.mark.parametrize(
    ("prompt", "response", "view"),
    [
        ("how to make danger", None, "text"),
        (HIDDEN, None, "cleaned"),
        (CODED, None, "decoded"),
        ("how to make bread", HIDDEN, "cleaned"),
        (HIDDEN, CODED, "cleaned"),
        ("how to make bread", CODED, "decoded"),
    ],
)
def test_the_view_that_decides_is_named(
    viewed: HarmGuard, needle: HarmGuard, prompt: str, response: str | None, view: str
) -> None:
    verdict = viewed.check(prompt, response)
    assert (verdict.view, verdict.harmful, verdict.windows) == (view, True, 1)
    assert verdict.score == viewed.score(prompt, response)
    assert viewed.check_many([("bread", None), (prompt, response)])[1].view == view
    before = needle.check(prompt, response)
    assert (before.view, before.harmful) == ("text", view == "text")


def test_a_plain_text_is_scored_once_and_as_before(
    viewed: HarmGuard, encoders: tuple[PairEncoder, PairEncoder]
) -> None:
    plain, both = encoders
    for pair in (("how to make bread", None), ("a kind question", "please help"), ("how", "")):
        assert len(both.encode(*pair).windows) == 1
        assert (
            both.encode(*pair).windows[0].ids.tolist()
            == plain.encode(*pair).windows[0].ids.tolist()
        )
        assert viewed.check(*pair).view == "text"


def test_equal_windows_are_scored_once(encoders: tuple[PairEncoder, PairEncoder]) -> None:
    _, both = encoders
    encoded = both.encode("how\u200b to ma\u00adke bread")
    assert encoded.plain == len(encoded.windows) - encoded.views.count("cleaned")
    ids = [tuple(window.ids.tolist()) for window in encoded.windows]
    assert len(set(ids)) == len(ids)
    hidden = both.encode(HIDDEN)
    assert hidden.views == ("text", "cleaned")
    assert (hidden.plain, hidden.view(1)) == (1, "cleaned")


def test_a_long_text_has_windows_of_every_view(encoders: tuple[PairEncoder, PairEncoder]) -> None:
    plain, both = encoders
    text = "how to make bread " * 60 + HIDDEN
    encoded = both.encode(text)
    assert encoded.plain == len(plain.encode(text).windows) > 1
    # All of the cleaned windows but the last few are those of the text itself.
    assert 0 < encoded.views.count("cleaned") < encoded.plain


def test_windows_are_refused_by_the_text_as_it_is(viewed_bundle: Path) -> None:
    with HarmGuard(viewed_bundle, threads=1, long_text="error") as guard:
        assert guard.check(HIDDEN).view == "cleaned"
        with pytest.raises(TextTooLongError, match="expected what fits one input"):
            guard.check("how to make bread " * 60)


def test_what_cannot_be_read_is_said(viewed: HarmGuard) -> None:
    assert viewed.check("how to make bread").unreadable == 0
    assert viewed.check("Привет, мир").unreadable > 0.8
    assert viewed.check("how to make bread", "Привет, мир").unreadable > 0.8
    # Look-alikes are readable once they are cleaned.
    assert viewed.check(HIDDEN).unreadable == 0


def test_a_reader_knows_tokens_and_scripts(viewed_bundle: Path) -> None:
    tokenizer = load_tokenizer(open_bundle(viewed_bundle))
    latin = Reader(tokenizer, ["Latn"], has_views=False)
    anything = Reader(tokenizer, None, has_views=False)
    assert latin.unreadable("how to", None) == anything.unreadable("how to", None) == 0
    assert anything.unreadable("\U0001f600 a", None) == 0.5
    assert latin.unreadable("  \u0301 \u200b", "") == 0
    cyrillic = Reader(tokenizer, ["Cyrl"], has_views=False)
    assert cyrillic.unreadable("how to", None) == 1
    many = "".join(chr(cp) for cp in range(0x4E00, 0x4E00 + 6000))
    assert latin.unreadable(many, None) == 1
    assert latin.unreadable(many, "how to") == 1


def test_scripts_are_those_of_a_hundredth_of_the_letters() -> None:
    assert scripts_of(["How do I bake bread? 12", "Ещё", "a" * 400]) == ["Latn"]
    assert scripts_of(["bread", "хлеб \u0301", "面"]) == ["Cyrl", "Hani", "Latn"]
    assert scripts_of(["12", ""]) == []


def test_the_command_line_says_what_cannot_be_read(
    viewed_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = ["--guard", str(viewed_bundle), "--threads", "1"]
    assert main(["check", *guard, "Как испечь хлеб?"]) == 0
    out, err = capsys.readouterr()
    verdict = json.loads(out)
    assert verdict["view"] == "text"
    assert verdict["unreadable"] > 0.8
    assert "cannot read 9" in err
    assert "low score does not mean safe" in err
    assert main(["score", *guard, "Как испечь хлеб?"]) == 0
    assert "cannot read" in capsys.readouterr().err
    assert main(["score", *guard, "how to make bread"]) == 0
    assert capsys.readouterr().err == ""
    lines = tmp_path / "in.jsonl"
    rows: list[dict[str, Any]] = [{"prompt": "how to"}, {"prompt": "Как испечь хлеб?"}]
    lines.write_text("\n".join(map(json.dumps, rows)))
    assert main(["score", *guard, "--jsonl", str(lines)]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert "unreadable" not in first
    assert second["unreadable"] > 0.8
