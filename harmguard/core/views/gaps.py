"""Words without gaps between them, with signs inside, or with each letter several times over.

They are put right where that reads.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby, pairwise
from math import gcd

from harmguard.core.views.reading import STEP, bits_a_letter, codes, word_bits
from harmguard.core.views.tables import trigram_costs

SPLIT_ENOUGH = 24.0
"""Bits that a text's words must gain without the signs that stand in them."""
REPEATED_ENOUGH = 24.0
"""Bits that a text's words must gain with one letter for each that stands several times over."""
REPEATED_READS = 5.5
"""Bits a letter below which what is left reads like words."""
RUN = 16
"""Letters in a row, at least, that may be words without gaps: few English words are longer."""
PARTED_READS = 4.6
"""Bits a letter below which parted words read like words."""
PARTED_GAIN = 0.5
"""Bits a letter that parting must gain."""

_SPLIT = re.compile(
    r"(?<![A-Za-z])[A-Za-z]+(?:(?:<[^<> \t\n]{0,24}>|[^A-Za-z0-9 \t\n'\u2019]){1,3}[A-Za-z]+)+"
)
_SOME_SPLIT = re.compile("[a-z][^A-Za-z0-9 \t\n'\u2019,][a-z]")
_NO_LETTERS = re.compile("<[^<> \t\n]{0,24}>|[^A-Za-z]+")
_RUN = re.compile(f"(?<![A-Za-z0-9_./@:-])[A-Za-z']{{{RUN},}}(?![A-Za-z0-9_/@:-])")


def unsplit(text: str) -> str:
    """Words without the signs inside them, in a text where that makes words of pieces."""
    if not _SOME_SPLIT.search(text):
        return text
    found = list(_SPLIT.finditer(text))
    if not found:
        return text
    whole = [_NO_LETTERS.sub("", one.group()) for one in found]
    gain = word_bits([_NO_LETTERS.sub(" ", one.group()) for one in found]) - word_bits(whole)
    if float(gain[gain > 0].sum()) < SPLIT_ENOUGH:
        return text
    parts: list[str] = []
    last = 0
    for one, word, value in zip(found, whole, gain.tolist(), strict=True):
        if value > 0:
            parts += [text[last : one.start()], word]
            last = one.end()
    return "".join([*parts, text[last:]])


def unrepeated(text: str) -> str:
    """Words in which each letter stands several times over ("bbrreeaadd") with one of each.

    They are put right in a text where that makes words of them; in a word of ten letters that is
    written twice, each run of a letter has an even length.
    """
    if not _REPEATED.search(text):
        return text
    found = [(one, one.group(), _once(one.group())) for one in _WORD.finditer(text)]
    # A single letter, however often, is no proof; it may stand among words that are.
    proof = [(whole, word) for _, whole, word in found if 1 < len(word) < len(whole)]
    if not proof:
        return text
    words = [word for _, word in proof]
    costs = float(word_bits(words).sum())
    gain = float(word_bits([whole for whole, _ in proof]).sum()) - costs
    if gain < REPEATED_ENOUGH or costs >= REPEATED_READS * sum(map(len, words)):
        return text
    times = {len(whole) // len(word) for whole, word in proof}
    parts: list[str] = []
    last = 0
    for one, whole, word in found:
        if len(whole) // len(word) in times:
            parts += [text[last : one.start()], word]
            last = one.end()
    return "".join([*parts, text[last:]])


_WORD = re.compile("(?<![A-Za-z0-9_#])[A-Za-z]+(?![A-Za-z0-9_])")
_REPEATED = re.compile(r"([A-Za-z])\1([A-Za-z])\2", re.IGNORECASE | re.ASCII)


def _once(word: str) -> str:
    """Every n-th letter, if all runs of a letter in the word are a multiple of n long."""
    runs = [len([*run]) for _, run in groupby(word, key=str.lower)]
    return word[:: gcd(*runs)]


def parted(text: str) -> str:
    """Long runs of letters as the words that they most likely are, if they read like words."""
    return _RUN.sub(_part, text)


@cache
def _costs() -> list[int]:
    return [int(cost) for cost in trigram_costs()]


_HUMP = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
FEWEST_HUMPS = 3
"""Capitals inside a run from which they are taken for the gaps."""


def _part(found: re.Match[str]) -> str:
    """The cheapest way to put gaps into a run: the best path through two states a letter."""
    run = found.group()
    humps = _HUMP.sub(" ", run)
    if humps.count(" ") >= FEWEST_HUMPS and bits_a_letter(humps) < PARTED_READS:
        return humps
    costs = _costs()
    letters = [int(code) for code in codes(run)[1:-1]]
    # `inside`: no gap before the letter; `first`: the letter begins a word.
    inside, first = _IMPOSSIBLE, costs[letters[0]]
    # For each later letter and both cases: did the one before it begin its word?
    back: list[tuple[bool, bool]] = []
    two = 0
    for last, code in pairwise(letters):
        in_word, at_start = two + last * 27, last * 27
        go_on = inside + costs[in_word + code], first + costs[at_start + code]
        part = inside + costs[in_word], first + costs[at_start]
        back.append((go_on[1] < go_on[0], part[1] < part[0]))
        inside, first = min(go_on), min(part) + costs[code]
        two = last * 729
    inside, first = inside + costs[two + letters[-1] * 27], first + costs[letters[-1] * 27]
    total = min(inside, first) * STEP
    plain = float(word_bits([run])[0])
    if total >= PARTED_READS * len(letters) or plain - total <= PARTED_GAIN * len(letters):
        return run
    return _with_gaps(run, back, first < inside)


_IMPOSSIBLE = 1 << 30


def _with_gaps(run: str, back: list[tuple[bool, bool]], begins: bool) -> str:
    """Follow the best path from the last letter back to the first."""
    out: list[str] = []
    for place in range(len(run) - 1, 0, -1):
        out.append(run[place])
        if begins:
            out.append(" ")
        begins = back[place - 1][begins]
    return "".join(reversed([*out, run[0]]))
