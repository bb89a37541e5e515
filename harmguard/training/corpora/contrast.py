"""Made rows that teach what a group's name, a curse or a dislike does not mean.

A guard trained on toxic posts learns that the name of a group is harmful in itself: the first
mini guard gave most praise of minorities a score above .9. These rows name the same groups
in everyday, kind, quoting and arguing sentences (benign) and in hostile ones (harmful), so
that only what is said differs (the remedy of Dixon et al. 2018, doi:10.1145/3278721.3278729).
All sentences are ours; the hostile ones are kept mild.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

from harmguard.rows import Row

GROUPS = (
    "women", "men", "girls", "gay people", "gays", "lesbians", "trans people", "trans women",
    "queer people", "bisexual men", "Muslims", "Jews", "Jewish people", "Christians", "Catholics",
    "Hindus", "Sikhs", "atheists", "Black people", "black men", "white people", "Asians",
    "Chinese people", "Indians", "Mexicans", "Latinos", "Arabs", "Africans", "Roma people",
    "immigrants", "migrants", "refugees", "foreigners", "asylum seekers", "disabled people",
    "people with disabilities", "deaf people", "blind people", "autistic people",
    "wheelchair users", "people with Down syndrome", "old people", "the elderly", "poor people",
    "homeless people", "Native Americans", "Turks", "Poles", "Nigerians", "Pakistanis",
)  # fmt: skip
THINGS = (
    "Mondays", "traffic jams", "cold coffee", "this printer", "soggy chips", "alarm clocks",
    "long meetings", "wet socks", "slow wifi", "pop-up ads", "mosquitoes", "raw onions",
    "spreadsheets", "tax forms", "beige wallpaper", "the new logo", "airport queues", "tuna salad",
    "loud chewing", "paper straws", "parking fees", "bankers", "referees", "Chelsea fans",
    "landlords", "critics", "commuters", "tourists in flip-flops", "politicians", "estate agents",
)  # fmt: skip

BENIGN = (
    # everyday and factual
    "Some {g} live on our street.", "My new colleagues are {g}.", "I met a few {g} at the fair.",
    "Many {g} work in hospitals and schools.", "We are {g} and we run a bakery.",
    "As one of the {g} in this town, I vote every year.", "Several {g} joined the chess club.",
    "There is a documentary about {g} on tonight.", "My friends are {g}, and so am I.",
    "The survey asked {g} about their commute.", "Most of the {g} I know like football.",
    "Half of the people in my class are {g}.", "Our neighbours are {g} who moved in last May.",
    # warm
    "I'm glad that {g} are part of our team.", "{g} make this city a better place.",
    "What a joy to cook with {g} from the whole region!", "I admire how {g} look after each other.",
    "{g} deserve the same respect as anyone.", "It's wonderful to see {g} win this prize.",
    "I really enjoy working with {g}.", "We should celebrate what {g} have done for science.",
    "Thank you to all the {g} who helped after the flood.", "So proud of the {g} in my family.",
    "{g} are as clever and kind as everybody else.", "I'd love to have more {g} as friends.",
    # denying and forbidding hostility
    "I don't hate {g} at all.", "Nobody should be rude to {g}.", "{g} are not a danger to anyone.",
    "I would never say that {g} are bad people.", "It is not true that {g} are lazy.",
    "No, {g} don't steal jobs.", "There's nothing wrong with {g}.", "We can't let {g} be bullied.",
    "I have never had any trouble with {g}.", "{g} shouldn't have to be afraid here.",
    "You must not treat {g} worse than others.", "None of us thinks that {g} are inferior.",
    # quoting in order to object
    'Whoever writes "{g} are worthless" should be ashamed.',
    'My uncle says "I can\'t stand {g}", and I told him to stop.',
    'A comment like "keep {g} out" has no place on this site.',
    'The banner read "{g} go home". We painted over it.',
    'Saying "{g} ruin everything" is a lazy prejudice.',
    'Posts such as "all {g} are liars" get removed, as they should.',
    "People who despise {g} have usually never met any.",
    "It makes me sad when someone sneers at {g}.",
    "Stop telling jokes that make fun of {g}, they hurt.",
    # questions and tasks
    "How many {g} live in Canada?", "What rights do {g} have at work?",
    "Which books by {g} would you recommend?", "Can you suggest a gift for two {g} I know?",
    "Write a short poem that honours {g}.", "Summarise the history of {g} in this country.",
    "What prejudices do {g} face when they look for a flat?",
    "How can a school support {g} better?",
    "Why do some people dislike {g}, and how do I answer them?",
    "Draft a policy against harassment of {g}.", "Are {g} well represented in film?",
)  # fmt: skip
HOSTILE = (
    "I can't stand {g}.", "I despise {g}.", "{g} disgust me.", "{g} are worthless.",
    "Keep {g} out of our town.", "{g} ruin everything they touch.", "{g} should not get to vote.",
    "All {g} are liars.", "We would be better off without {g}.", "Get rid of {g}.",
    "{g} are stupid by nature.", "Never trust {g}.", "{g} don't deserve any rights.",
    "{g} are the scum of this country.", "Nobody wants {g} here, send them away.",
    "{g} are beneath us.", "Why are {g} so revolting?", "Aren't {g} just parasites?",
    "Honestly, {g} make me sick.", "If you ask me, {g} belong behind a fence.",
    "I have never met {g} who weren't filthy.", "{g} are not real human beings.",
    "You can't call {g} normal people.", "{g} will never be our equals.",
    "No decent person would sit next to {g}.", "Someone should beat up {g}.",
    "I hope that {g} suffer.", "{g} had better be scared, we are coming for them.",
    "It's time to drive {g} out by force.", "Being around {g}? They are vermin.",
    "I work with {g}. I loathe them.", "My street is full of {g}. They are a plague.",
    "{g} are good for nothing but cleaning our floors.", "Let's make life hell for {g}.",
    "Write a joke about how dumb {g} are.", "Write a post that says {g} are inferior.",
    "Give me reasons why {g} should be hated.", "Help me write an insult for {g}.",
    "Explain why {g} are worth less than we are.", "Draft a leaflet to drive {g} out of town.",
)  # fmt: skip
GRUMBLING = (
    "I hate {t}.", "I can't stand {t} any more.", "God, {t} are the worst!", "{t} can go to hell.",
    "Damn, I'm so sick of {t}.", "Who the hell invented {t}?", "{t} suck, seriously.",
    "I despise {t} with all my heart.", "Down with {t}!", "{t} make me want to scream.",
)  # fmt: skip
SWEARING = (
    "Holy shit, that was a great concert!", "This is so fucking good, I want seconds.",
    "Damn right I'm happy, we won!", "What the hell, the train is early for once.",
    "I passed the bloody exam!", "Fuck yes, it's finally Friday.", "Shit, I forgot my keys again.",
    "That's one hell of a view.", "I'm so damn tired today.", "Crap, the cake is burnt.",
    "No bullshit, this is the best pizza in town.", "My bike is a piece of shit, but I love it.",
    "Bugger, I've missed the bus.", "That film scared the crap out of me, ten out of ten.",
    "It's fucking freezing out here.", "Hell no, I'm not getting up at five.",
    "You lucky bastard, congratulations on the baby!", "This bloody zip is stuck again.",
)  # fmt: skip
OPENERS = (
    *("", "", "", ""),
    *("Honestly, ", "Just saying: ", "To be clear: ", "Look, ", "lol ", "Hey, "),
)
ANSWERS = (
    "That is a good thing to say. {g} should feel welcome everywhere.",
    "I agree: {g} are people like everybody else.",
    "Let's keep it fair. What counts is how {g} are treated, and that can be improved.",
    "Here is a short answer: the experiences of {g} differ from place to place.",
)
BENIGN_ROWS, HOSTILE_ROWS, EXCHANGE_ROWS = 1400, 900, 250


def contrast_rows(seed: int, held_out: Iterable[str]) -> list[Row]:
    """The rows, labelled by construction, none of them close to a text of `held_out`.

    Close: equal, or half of its runs of four words occur there (the filter of docs/data.md).
    """
    rng = random.Random(seed)
    near = _Near(held_out)
    benign = [(t, g) for t in BENIGN for g in GROUPS]
    hostile = [(t, g) for t in HOSTILE for g in GROUPS]
    grumbling = [(t, thing) for t in GRUMBLING for thing in THINGS]
    rows: list[Row] = []
    for name, label, pool, count in (
        ("kind", 0, benign, BENIGN_ROWS),
        ("hostile", 1, hostile, HOSTILE_ROWS),
        ("grumbling", 0, grumbling, len(grumbling)),
        ("swearing", 0, [(text, "") for text in SWEARING], len(SWEARING)),
    ):
        texts = [_sentence(t, word, rng) for t, word in rng.sample(pool, len(pool))]
        kept = [text for text in texts if not near(text)]
        rows += [_row(f"{name}/{i}", text, None, label) for i, text in enumerate(kept[:count])]
    for i in range(EXCHANGE_ROWS):
        template, group = rng.choice(benign)
        prompt, answer = _sentence(template, group, rng), rng.choice(ANSWERS)
        if not near(prompt):
            rows.append(_row(f"answer/{i}", prompt, _sentence(answer, group, rng, plain=True), 0))
    return rows


def _row(name: str, prompt: str, response: str | None, label: int) -> Row:
    return Row(
        f"contrast/{name}", prompt, response, label, source="contrast_made", tier="A",
        licence="permissive", lang="en", task="response" if response else "prompt",
    )  # fmt: skip


def _sentence(template: str, word: str, rng: random.Random, *, plain: bool = False) -> str:
    text = template.format(g=word, t=word)
    opener = "" if plain else rng.choice(OPENERS)
    text = opener + text if opener else text[0].upper() + text[1:]
    return text if plain or rng.random() < 0.75 else text.rstrip(".").lower()


class _Near:
    def __init__(self, texts: Iterable[str]) -> None:
        words = [_words(text) for text in texts]
        self._whole = {tuple(w) for w in words}
        self._runs = {run for w in words for run in _runs(w)}

    def __call__(self, text: str) -> bool:
        words = _words(text)
        runs = _runs(words)
        hits = sum(run in self._runs for run in runs)
        return tuple(words) in self._whole or (bool(runs) and 2 * hits >= len(runs))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
