"""harmguard.core.views: what is decoded, and what is left as it is."""

from __future__ import annotations

import base64
import codecs
from itertools import groupby
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmguard.core.views import decode, views_of
from harmguard.core.views.ciphers import deciphered, unleeted
from harmguard.core.views.escapes import from_codes, from_words, unescaped
from harmguard.core.views.gaps import parted, unrepeated, unsplit
from harmguard.core.views.reading import bits_a_letter, reads, word_bits

PLAIN = "How do I bake a good chocolate cake at home?"
RAW = PLAIN.encode()


def _words(text: str) -> list[str]:
    return "".join(c.lower() if c.isalpha() else " " for c in text).split()


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode().rstrip("="),
        "\n".join(base64.b64encode(RAW).decode()[i : i + 12] for i in range(0, 60, 12)),
        " ".join(base64.b64encode(word.encode()).decode() for word in PLAIN.split()),
        base64.b64encode(PLAIN.encode("utf-16-le")).decode(),
        base64.b64encode(PLAIN.encode("utf-16-be")).decode(),
        base64.b32encode(RAW).decode(),
        base64.b64encode(base64.b64encode(RAW)).decode(),
        RAW.hex(),
        RAW.hex(" ").upper(),
        "0x" + RAW.hex(),
        " ".join(f"0x{byte:02X}" for byte in RAW),
        "".join(f"\\x{byte:02x}" for byte in RAW),
        " ".join(f"{byte:08b}" for byte in RAW),
        "".join(f"{byte:07b}" for byte in RAW),
        " ".join(str(byte) for byte in RAW),
        ", ".join(f"{byte:o}" for byte in RAW),
        quote(PLAIN),
        "".join(f"%{byte:02X}" for byte in RAW),
        quote("".join(f"%{byte:02X}" for byte in RAW)),
        "".join(f"%u{byte:04X}" for byte in RAW),
        "".join(f"&#{byte};" for byte in RAW),
        "".join(f"&#X{byte:06X};" for byte in RAW),
        "".join(f"&#{byte}" for byte in RAW),
        "".join(f"\\u{byte:04x}" for byte in RAW),
        "".join(f"\\u{{{byte:x}}}" for byte in RAW),
        "".join(f"\\U{byte:08x}" for byte in RAW),
        " ".join(f"U+{byte:04X}" for byte in RAW),
        "".join(f"\\{byte:03o}" for byte in RAW),
        "".join(f"={byte:02X}" for byte in RAW),
        codecs.encode(PLAIN, "rot13"),
        PLAIN.lower().translate(str.maketrans("abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba")),
        PLAIN[::-1],
        " ".join(word[::-1] for word in PLAIN.split()),
        PLAIN.lower().translate(str.maketrans("aeiost", "431057")),
        PLAIN.lower().translate(str.maketrans("aeios", "@3!0$")),
        "8-15-23 4-15 9 2-1-11-5 1 7-15-15-4 3-8-15-3-15-12-1-20-5 3-1-11-5 1-20 8-15-13-5",
        ".... --- .-- / -.. --- / .. / -... .- -.- . / .- / --. --- --- -.. / "
        "-.-. .... --- -.-. --- .-.. .- - . / -.-. .- -.- . / .- - / .... --- -- .",
        "⠓⠕⠺ ⠙⠕ ⠊ ⠃⠁⠅⠑ ⠁ ⠛⠕⠕⠙ ⠉⠓⠕⠉⠕⠇⠁⠞⠑ ⠉⠁⠅⠑ ⠁⠞ ⠓⠕⠍⠑",
        "ǝɯoɥ ʇɐ ǝʞɐɔ ǝʇɐloɔoɥɔ pooɓ ɐ ǝʞɐq ı op ʍoɥ".replace("ɓ", "ƃ"),
        "Ho.w do I ba.ke a go.od choco.late ca.ke at ho.me?",
        "How do I ba<b></b>ke a go<i></i>od choco<b></b>late ca<u></u>ke at ho<b></b>me?",
        "HowDoIBakeAGoodChocolateCakeAtHome?",
    ],
)  # fmt: skip
def test_codes_are_read(text: str) -> None:
    seen = [_words(view.text) for view in views_of(text)[1:]]
    missing = min(sum(word not in words for word in _words(PLAIN)) for words in seen)
    # Upside down, d and p are each other's shapes in one word or another.
    assert missing <= 1, seen


def test_the_spelling_alphabet_is_read() -> None:
    spelt = "hotel oscar whiskey / delta oscar / india / bravo alpha kilo echo"
    assert from_words(spelt) == "how do i bake"
    # Two gaps are as frequent: the first stands between letters, in every process.
    assert from_words("oscar whiskey / delta oscar / india") == "ow do i"
    assert from_words("Echo and Romeo met at the hotel in November") == (
        "Echo and Romeo met at the hotel in November"
    )


@pytest.mark.parametrize(
    "text",
    [
        "a sha256 is 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKq8mU0vQ0fXb0yq7bGzv1u3 me@host",
        "10 20 30 40 50 60, then 192.168.10.12 and 2024-05-06",
        "Mp3, h264, utf8, win10, B2B and covid19 are names",
        "os.path.join(a, b) and foo_bar.baz-qux in https://example.com/a/b",
        "Donaudampfschifffahrtsgesellschaft and internationalisation",
        "Szczebrzeszyn chrzaszcz brzmi w trzcinie",
        "R&D costs 100% = all; AT&T, 3 &times; 4 < 5",
        "- - - - - - - -",
        "... --- ...",
        "&nosuchname; &#xFFFFFFF; &#xD800; \\ud800 %zz \\u12",
    ],
)
def test_what_only_looks_like_a_code_stays(text: str) -> None:
    assert decode(text) == text


def test_a_place_is_decoded_where_it_stands() -> None:
    text = f"Please decode {base64.b64encode(RAW).decode()} and rot13 as well"
    assert decode(text) == f"Please decode  {PLAIN}  and rot13 as well"
    hidden = codecs.encode("please tell me how to bake bread", "rot13")
    assert decode(f"Answer this: {hidden}") == "Answer this: please tell me how to bake bread"


def test_two_decodings_within_each_other_and_no_more() -> None:
    once = base64.b64encode(RAW).decode()
    twice = base64.b64encode(once.encode()).decode()
    thrice = base64.b64encode(twice.encode()).decode()
    assert PLAIN in decode(twice)
    assert PLAIN not in decode(thrice)


def test_escapes_that_stand_for_nothing_stay() -> None:
    assert unescaped("&#1114112; &#55296;") == "&#1114112; &#55296;"
    assert unescaped("\\ud83d\\ude00 %F0%9F%98%80") == "😀 😀"
    assert unescaped("%FF%FE") == "\xff\xfe"
    assert unescaped("&afr;&Bopf;") == "aB"


def test_readers_leave_plain_text() -> None:
    plain = "The train to town leaves at noon, so we had better hurry up a little."
    for reader in (
        unescaped,
        from_codes,
        from_words,
        unleeted,
        deciphered,
        unsplit,
        parted,
        unrepeated,
    ):
        assert reader(plain) == plain


def test_english_reads_better_than_what_is_made_of_it() -> None:
    assert bits_a_letter(PLAIN) < 4.4 < 6 < bits_a_letter(PLAIN[::-1])
    assert bits_a_letter(codecs.encode(PLAIN, "rot13")) > 7
    assert bits_a_letter("...") == float("inf")
    assert reads(PLAIN)
    assert not reads("qzxw kvjq")
    assert not reads("a, b, c: 1 2 3 4 5 6")
    costs = word_bits(["bread", "qzxwv", "b0-b"])
    assert costs[0] < costs[1]
    assert len(costs) == 3


@given(st.binary(min_size=12, max_size=60))
def test_random_bytes_are_no_text(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    decoded = from_codes(text)
    assert decoded == text or all(c.isprintable() or c == "\n" for c in decoded) or data.isascii()


@pytest.mark.parametrize("times", [2, 3, 4, 7])
@pytest.mark.parametrize("start", ["", "Please read this to me: "])
def test_letters_that_each_stand_several_times_are_read_once(times: int, start: str) -> None:
    text = start + "".join(c * times if c.isalpha() else c for c in PLAIN)
    assert unrepeated(text) == start + PLAIN
    assert ("decoded", start + PLAIN) in views_of(text)


def test_capital_and_small_letters_are_one_letter() -> None:
    text = "".join(c.upper() + c.lower() if c.isalpha() else c for c in PLAIN)
    assert unrepeated(text) == PLAIN.upper()
    assert decode(unrepeated(text)) == decode(PLAIN.upper())


@pytest.mark.parametrize(
    "text",
    [
        "aabb ccdd eeff 1122",
        "AABBCC DDEEFF #ffeedd",
        "Louis XVIII, balloon, committee, bookkeeper, woolly, MMXX",
        "ooo ooo hahaha aaaaaa zzzz !!!!",
        "aabb",
        "A" * 100,
        "AAAA " * 30,
        "aaaa bbbb cccc dddd eeee",
        "aattggcc ccggttaa ttttaaaa ggggcccc",
    ],
)
def test_pairs_of_letters_that_are_no_words_stay(text: str) -> None:
    assert unrepeated(text) == text


def test_a_single_letter_goes_with_the_words_beside_it() -> None:
    assert unrepeated("ddoo II bbaakkee bbrreeaadd AAAAAA") == "do I bake bread AAAAAA"


@given(st.text("abtoeHW 1\n"), st.integers(2, 5))
def test_only_letters_that_repeat_are_left_out(text: str, times: int) -> None:
    wide = "".join(c * times if c.isalpha() else c for c in text)
    assert squeezed(unrepeated(wide)) == squeezed(text)


def squeezed(text: str) -> str:
    """The text with one letter for each run of it, in small letters."""
    return "".join(
        key if key.isalpha() else "".join(run) for key, run in groupby(text, key=str.lower)
    )
