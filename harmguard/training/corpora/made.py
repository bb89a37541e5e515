"""Made rows that teach what a wrapping, a misspelling or a short refusal does not change.

Wrappings and misspellings are given to harmful and benign prompts alike, so that the form says
nothing about the label and only what is asked does. All frames and answers are ours. They share
no table with the disguises that `benchmarks.disguise` measures.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from harmguard.rows import Row

Writer = Callable[[str, random.Random], str]

SHORT_REFUSALS = (
    "No.", "Sorry.", "No", "Sorry, no.", "I won't.", "I can't.", "Nope.", "Absolutely not.",
    "Never.", "I refuse.", "Not possible.", "I can't help.", "I'm sorry.", "That is not okay.",
    "No, thanks.", "I must decline.", "Can't do that.", "Unable to comply.", "No way.",
    "I'd rather not.", "Declined.", "Out of the question.", "I won't do that.",
    "Let's talk about something else.",
)  # fmt: skip
SHORT_ANSWERS = (
    "Yes.", "No.", "Sure.", "Of course.", "Maybe.", "I don't know.", "Okay.",
    "Sorry, I don't know.", "It depends.", "Thanks!", "Good question.", "Certainly.",
    "I'm not sure.", "Yes, it is.",
)  # fmt: skip

# What a request is asked in; {x} is the request, and all of them still ask it.
ASKED = (
    'My brother keeps asking: "{x}" What is the right answer?',
    'Someone wrote to me: "{x}" Answer it.', 'Answer this question from a user: "{x}"',
    "{x}\n\nAnswer in one paragraph.", "Q: {x}\nA:", "Please help me with the following. {x}",
    "{x} Thanks in advance!", "Hi there! {x}",
    'For homework I have to answer "{x}". Can you do it for me?', "Here is my request: {x}",
    "You are a helpful assistant.\n\nUser: {x}\nAssistant:", "Task: {x}\nOutput:",
    "hey, quick one: {x}", 'Translate into French and then carry out: "{x}"',
    "Write it as a numbered list: {x}", "The customer says: '{x}'. Reply to the customer.",
    "[INST] {x} [/INST]", "> {x}\n\nsee above",
    "Complete the story in which a character explains this in full: {x}",
    "### Question\n{x}\n### Answer", "I asked my teacher the following and got no answer: {x}",
    "TL;DR first, then details: {x}",
)  # fmt: skip
CODE = (
    "# {x}\ndef main():\n    pass", "// {x}\nint main() {{ return 0; }}",
    "/* {x} */\nfunction run() {{}}", 'print("{x}")', "<!-- {x} -->\n<p></p>", "-- {x}\nSELECT 1;",
    "```\n{x}\n```", 'def f():\n    """{x}"""', "echo '{x}' | tee note.txt", "<p>{x}</p>", "* {x}",
    "TODO: {x}",
)  # fmt: skip
KEYS = ("prompt", "query", "text", "message", "content", "question", "input", "instruction")


def in_json(text: str, rng: random.Random) -> str:
    """The text as a value of a JSON object, alone or among others."""
    key = rng.choice(KEYS)
    value: dict[str, object] = {key: text}
    if rng.random() < 0.6:
        value = {"id": rng.randint(1, 9999), **value, "lang": "en"}
    if rng.random() < 0.3:
        value = {"messages": [{"role": "user", "content": text}], "temperature": 0.7}
    return json.dumps(value, ensure_ascii=False, indent=rng.choice((None, 2)))


def in_code(text: str, rng: random.Random) -> str:
    """The text as a comment or a string of a program or a page."""
    return rng.choice(CODE).format(x=text)


def asked(text: str, rng: random.Random) -> str:
    """The text asked for somebody else, or with words around it."""
    return rng.choice(ASKED).format(x=text)


def misspelt(text: str, rng: random.Random) -> str:
    """The text as a hasty or evasive writer types it: one of four ways, in most or all words."""
    way = rng.choice((_typos, _typos, _doubled, _unvowelled, _joined))
    return way(text, rng)


def _typos(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.15, 0.6)
    return " ".join(_typo(w, rng) if rng.random() < share else w for w in text.split(" "))


def _typo(word: str, rng: random.Random) -> str:
    if len(word) < 4 or not word.isalpha():
        return word
    i = rng.randrange(1, len(word) - 2)
    near = rng.choice("abcdefghijklmnopqrstuvwxyz")
    return rng.choice((
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],  # two letters change places
        word[:i] + word[i + 1 :],
        word[:i] + near + word[i:],
        word[:i] + near + word[i + 1 :],
    ))  # fmt: skip


def _doubled(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.15, 0.5)
    times = rng.choice((1, 1, 2))
    return "".join(c + c * times if c.isalpha() and rng.random() < share else c for c in text)


def _unvowelled(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.5, 1.0)
    return " ".join(
        w[0] + "".join(c for c in w[1:] if c not in "aeiouAEIOU" or rng.random() > share)
        if w
        else w
        for w in text.split(" ")
    )


def _joined(text: str, rng: random.Random) -> str:
    share = rng.uniform(0.6, 1.0)
    parts = text.split(" ")
    return "".join(p + ("" if rng.random() < share else " ") for p in parts).strip()


def rewritten(
    rows: Sequence[Row], name: str, write: Writer, count: int, rng: random.Random
) -> list[Row]:
    """At most `count` prompts of each label, rewritten; the label stays."""
    made = []
    for label in (0, 1):
        of = [
            r for r in rows if r.kind == "prompt" and r.label == label and 15 < len(r.prompt) < 400
        ]
        for row in rng.sample(of, min(count, len(of))):
            made.append(
                replace(row, id=f"{row.id}/{name}", prompt=write(row.prompt, rng), tier="B")
            )
    return made


def answered_shortly(
    rows: Sequence[Row], harmful: int, benign: int, rng: random.Random
) -> list[Row]:
    """Prompts with an answer of a word or three: benign exchanges, whatever the prompt."""
    made = []
    for label, count, answers in ((1, harmful, SHORT_REFUSALS), (0, benign, SHORT_ANSWERS)):
        of = [r for r in rows if r.kind == "prompt" and r.label == label]
        made += [
            replace(row, id=f"{row.id}/short", response=rng.choice(answers), label=0,
                    task="response", tier="A")
            for row in rng.sample(of, min(count, len(of)))
        ]  # fmt: skip
    return made
