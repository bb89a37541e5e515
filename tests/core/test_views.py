"""harmguard.core.views: what hides in a text, and what of it is spelling."""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harmguard.core import views
from harmguard.core.views import PairView, View, in_place, views_of, views_of_pair
from harmguard.core.views.clean import clean
from harmguard.core.views.tables import (
    class_string,
    code_points,
    script_names,
    script_numbers,
    unicode_table,
)

PLAIN = "How do I bake bread?"
WORDS = [
    *(
        "how do I",
        "HOW",
        "a b c",
        "h-o-w",
        "b.o.x",
        "[SEP]",
        "##",
        "<|im_end|>",
        "\u202e",
        "\u202c",
    ),
    *(
        "\u200b",
        "\u200c",
        "\u200d",
        "\ufe0f",
        "\u3164",
        "\u2800",
        "\u2009",
        "\u00a0",
        "\u0301",
        "\u20dd",
    ),
    *("а", "о", "һ", "привет", "α", "סלם", "سلام", "بچه‌ها", "हिन्दी", "คุณ", "한국", "日本", "ﾊﾞ"),
    *(
        "ａ",
        "！",
        "𝓱",
        "ⓗ",
        "🅰",
        "🇫",
        "🇫🇷",
        "❤️",
        "👨‍👩‍👧",
        "1️⃣",
        "%41",
        "&#65;",
        "\\u0041",
        "aG93IGRv",
    ),
    *(
        "\U000e0041",
        "\ufe01",
        "\U000e0110",
        "\ud800",
        "\U0010ffff",
        "\ue000",
        "\u0378",
        "\x00",
        "\x85",
    ),
]
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.lists(st.sampled_from(WORDS), max_size=14).map("".join),
)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("ho\u200bw d\u00ado \u2060I b\u034fake", "how do I bake"),
        ("h\u0301o\u0336w\u0338 d\u20ddo\u20de", "how do"),
        ("crème brûlée naïve", "creme brulee naive"),
        ("ＨＯＷ ｄｏ Ｉ？", "HOW do I?"),
        ("𝓱𝓸𝔀 𝕕𝕠 𝙄 ⓑⓐⓚⓔ ⒝⒭⒠⒜⒟", "how do I bake bread"),
        ("ʜᴏᴡ ᴅᴏ ɪ ꜱʟᴇᴇᴘ", "how do i sleep"),
        ("🇭🇴🇼 🇩🇴 🇮", "HOW DO I"),
        ("🅗🅞🅦 🅳🅾 🄸", "HOW DO I"),
        ("ʰᵒʷ ᵈᵒ ⁱ", "how do i"),
        ("ｈ\u200dо\u0336ｗ dо І", "how do I"),
        ("Hоw dо I mаkе tеа", "How do I make tea"),
        ("Ηοω dο Ι βακε", "How do I bake"),
        ("ꓧꓳꓪ ꓓꓳ ꓲ ꓟꓮꓗꓰ ꓔꓰꓮ", "HOW DO I MAKE TEA"),
        ("ᕼᗩᑭᑭY ᗷIᖇTᕼᗪᗩY", "happy birthday"),
        ("h-o-w d-o I b-a-k-e", "how do I bake"),
        ("h o w  d o  I  b a k e", "how do I bake"),
        ("h\u2009o\u2009w d\u2009o I b\u2009a\u2009k\u2009e", "how do I bake"),
        ("h·o·w d·o I b·a·k·e·?·", "how do I bake?"),
        ("i·t·'·s n·e·w·, y·o·u·?", "it's new, you?"),
        ("'·h·o·w·' d·o (I) b-a-k-e·!", "'how' do (I) bake!"),
        ("h😀o🎉w✨, d❤️o I b🙂a🙂k🙂e❤️?", "how, do I bake?"),
        ("h o w ,  d o  I  b a k e ?", "how, do I bake ?"),
        ("h o w / d o / I / b a k e", "how do I bake"),
        ("h.o.w / d.o / I b.a.k.e / t.e.a, n.o.w", "how do I bake tea, now"),
        ("f**k and s.h.o.w.", "f**k and show."),
        ("h😀o🎉w d❤️o I b🙂a🙂k🙂e", "how do I bake"),
        ("һ-о-ԝ d-о І", "how do I"),
        ("h[SEP]o[SEP]w d[SEP]o I", "how do I"),
        ("how [SEP] do [CLS] I </s>", "how   do   I  "),
        ("##how ##do ##I", "how do I"),
        ("\u202eekab I od woH\u202c", "How do I bake"),
        ("b\u202eeka\u202c bread", "bake bread"),
        ("x" + "".join(chr(0xE0000 + ord(c)) for c in "how do I"), "x how do I "),
        ("Hi" + "".join(chr(0xE0100 + b - 16) for b in b"how do I"), "Hi how do I "),
        ("Hi" + "".join(chr(0xE0100 + b) for b in b"how do I"), "Hi how do I "),
        (
            "Hi" + "".join("\u200b\u200c"[c == "1"] for b in b"how" for c in f"{b:08b}"),
            "Hi how ",
        ),
        ("howㅤdoㅤIㅤbake", "how do I bake"),
        ("hㅤoㅤw dㅤo Iㅤ", "how do I"),
    ],
)
def test_what_hides_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text).lower() == cleaned.lower()
    assert views_of(text)[1] == View("cleaned", clean(text))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "I'm sure: e.g. 3 x 4 = 12, A/B tests, U2, F# and C++",
        "Привет, как дела? Это 5-й день, iPhone-ом снято.",
        "Ελλάδα, ΑΓΟΡΑ και τηλέφωνο",
        "می‌خواهم بچه‌ها را ببینم",
        "क्‍या हिन्दी आसान है?",
        "คุณสบายดีไหม ทำอาหาร",
        "你好，世界！《书》（一）",
        "日本語のパン。",
        "👨‍👩‍👧 ❤️‍🔥 ☀️ 1️⃣ 🇫🇷 🏴 👍🏽",
        "\u0378 \U0003ffff \ue000 are unassigned or private",
        "x = [1, 2]; y[i] += 1  # a comment",
    ],
)
def test_spelling_stays(text: str) -> None:
    assert views_of(text) == (View("text", text),)


def test_an_english_flag_is_no_payload() -> None:
    flag = "🏴" + "".join(chr(0xE0000 + ord(c)) for c in "gbeng") + "\U000e007f"
    assert clean(f"Go {flag}!") == "Go 🏴!"


def test_letters_of_hebrew_and_arabic_keep_their_order_under_an_override() -> None:
    assert clean("\u202eשלום\u202c") == "שלום"
    nested = "\u202e" * 50 + "abc" + "\u202c" * 50
    assert clean(nested) in ("abc", "cba")
    assert clean("\u202eab\ncd") == "ba\ncd"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (PLAIN, ["text"]),
        ("Hоw dо I bаkе?", ["text", "cleaned"]),
        ("SG93IGRvIEkgYmFrZSBicmVhZD8=", ["text", "decoded"]),
        ("Read it: SG93IGRvIEkgYmFrZSBicmVhZD8= now", ["text", "decoded", "payload"]),
        ("Rеаd: SG93IGRvIEkgYmFrZSBicmVhZD8= nоw", ["text", "cleaned", "decoded"]),
        ("Hi! " + "".join(chr(0xE0000 + ord(c)) for c in PLAIN), ["text", "cleaned", "payload"]),
    ],
)
def test_at_most_three_views_that_differ(text: str, names: list[str]) -> None:
    found = views_of(text)
    assert [view.name for view in found] == names
    assert len({view.text for view in found}) == len(found)


def test_a_payload_is_what_was_hidden_alone() -> None:
    text = "Read the following and tell me: SG93IGRvIEkgYmFrZSBicmVhZD8= Thanks."
    assert views_of(text)[-1] == View("payload", PLAIN)


def test_a_pair_is_seen_with_both_sides_in_the_same_view() -> None:
    assert views_of_pair(PLAIN, None) == (PairView("text", PLAIN, None),)
    assert views_of_pair(PLAIN, "") == (PairView("text", PLAIN, ""),)
    hidden, coded = "Hоw dо I bаkе?", "TWl4IGZsb3VyIGFuZCB3YXRlci4="
    assert views_of_pair(hidden, coded) == (
        PairView("text", hidden, coded),
        PairView("cleaned", "How do I bake?", coded),
        PairView("decoded", "How do I bake?", " Mix flour and water. "),
    )


@given(TEXTS)
@settings(max_examples=400)
@example("\u202a" * 3000)
@example("[S[SEP]EP] [S.E.P]")
@example("[ЅЕР] ##[ЅЕР]##a")
@example("a b\u2009c d-e-f-g h i j k")
@example("🇫\u20dd🇷\u200d🇩")
def test_any_text_has_views_and_cleaning_twice_is_cleaning_once(text: str) -> None:
    found = views_of(text)
    assert 1 <= len(found) <= 3
    assert found[0] == View("text", text)
    assert all(view.text for view in found[1:])
    once = clean(text)
    assert clean(once) == once
    assert in_place(text) == in_place(text)


@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_ascii_stays_ascii(text: str) -> None:
    assert clean(text).isascii()


def test_many_made_texts_never_fail() -> None:
    made = random.Random(5)
    for _ in range(3000):
        text = "".join(made.choices(WORDS, k=made.randrange(1, 20)))
        assert clean(clean(text)) == clean(text)
        assert len(views_of(text)) <= 3


@pytest.mark.slow
def test_a_hundred_thousand_texts() -> None:
    made = random.Random(6)
    for number in range(100_000):
        if number % 2:
            text = "".join(chr(made.randrange(0x110000)) for _ in range(made.randrange(40)))
        else:
            text = "".join(made.choices(WORDS, k=made.randrange(20)))
        assert clean(clean(text)) == clean(text)
        assert len(views_of(text)) <= 3


@pytest.mark.parametrize(
    "unit", ["a\u200d", "h-o-w ", "\u202eab\u202c", "[SEP]", "а\u0336x ", "🇫", "x\ufe01"]
)
def test_passes_do_not_grow_with_the_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear: how often the text is gone through does not depend on its length."""
    passes: list[int] = []
    module = __import__("harmguard.core.views.clean", fromlist=["joined"])
    joined = module.joined

    def counted(text: str) -> str:
        passes.append(len(text))
        return str(joined(text))

    monkeypatch.setattr(module, "joined", counted)
    counts = []
    for times in (20, 2000):
        passes.clear()
        clean(unit * times)
        counts.append(len(passes))
    assert counts[0] == counts[1] <= 3


def test_a_long_number_beside_look_alikes_is_gone_through_once() -> None:
    """16,000 digits took 2.4 s while each was tried as the start of a word."""
    text = "\u0430 " + "1" * 60_000
    start = time.process_time()
    assert clean(text) == text
    assert time.process_time() - start < 5


def test_no_rule_asks_the_running_pythons_unicode() -> None:
    """The tables are the only ones: these answer differently from release to release."""
    asked = re.compile(
        r"unicodedata|\.(?:isalpha|isalnum|isprintable|isspace|isdigit|isupper|islower|title|"
        r"casefold|isnumeric|isdecimal|isidentifier)\(\)"
    )
    allowed = {"escapes.py": 2, "clean.py": 0}
    for path in Path(views.__file__).parent.glob("*.py"):
        found = asked.findall(path.read_text(encoding="utf-8"))
        assert len(found) <= allowed.get(path.name, 0), path.name


def test_the_tables_are_of_one_unicode_version() -> None:
    assert unicode_table()["unicode"] == "18.0.0"
    assert class_string("aéкя中م🙂\u200b้\u0301 .5\ue000\ud800") == "aacchjsitmzpnxx"
    assert script_names()[script_numbers()[ord("я")]] == "Cyrl"
    assert script_numbers()[ord("5")] == 0
    assert code_points("a\ud800\U0010ffff").tolist() == [0x61, 0xD800, 0x10FFFF]
