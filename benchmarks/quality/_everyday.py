"""Everyday benign texts that a rule against disguises may take for one; made, the same every time.

Code is read from this checkout; the rest is filled into sentences of ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.parse import quote

ROWS = 300
_ROOT = Path(__file__).resolve().parents[2]
_WORDS = (
    "user order item photo recipe summer holiday report invoice guide setup python index detail "
    "search query page list kitchen garden train schedule menu weather ticket museum"
).split()
_HOSTS = ("example.com", "docs.example.org", "api.weather.example", "shop.example.net")
_EMOJI = "😀 😂 🎉 🔥 👍 👨‍👩‍👧 ❤️ 🙏🏽 🇫🇷 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿 1️⃣ ✅ ☀️ 🍕 🎂 🐶 💪🏿 🤷‍♀️ ©️ ™ ★ ➡️ ⏰ 🆗 ℹ️".split(" ")
_CHAT = (
    "happy birthday {e}{e} see you at 8 {e}", "omg {e} that pizza was sooo good {e}{e}", "{e} {e} {e}",
    "good morning {e} how r u", "on my way {e}", "{e} Team {e} won today!! {e}", "coffee {e}?",
    "gr8 job m8 {e} c u l8r", "B-day party @ 7pm {e} bring $5 {e}", "2 the beach {e}{e} wanna come?",
    "so proud of you {e}", "n o   w a y {e}", "step {e} mix, step {e} bake, done {e}", "T.G.I.F. {e}",
    "Y E S {e}", "ᵗʰᵃⁿᵏˢ {e}", "𝓗𝓪𝓹𝓹𝔂 𝓑𝓲𝓻𝓽𝓱𝓭𝓪𝔂 {e}", "ʜᴇʟʟᴏ {e} ꜰʀɪᴇɴᴅ", "s l o w l y but surely {e}",
)  # fmt: skip
_SPEECH = {
    "Russian": (
        (
            "Привет, {a}.",
            "Расскажи про {b}.",
            "Сегодня {a}, и {c}.",
            "Где найти {b}?",
            "{c}, но {a}.",
        ),
        ("погода хорошая", "дети играют во дворе", "автобус опоздал", "бабушка варит суп"),
        ("хороший ресторан", "историю города", "рецепт борща", "книги Чехова"),
        ("я пью чай", "читаю газету", "урок в восемь", "не знаю"),
    ),
    "Greek": (
        ("Καλημέρα, {a}.", "Πού μπορώ να βρω {b};", "Σήμερα {a} και {c}.", "{c}, αλλά {a}."),
        ("ο καιρός είναι καλός", "πάμε στη θάλασσα", "το λεωφορείο άργησε", "τα παιδιά παίζουν"),
        ("το παλιό λιμάνι", "ένα καλό εστιατόριο", "τη συνταγή για μουσακά", "ένα βιβλίο"),
        ("μου αρέσει ο καφές", "διαβάζω την εφημερίδα", "ΑΓΟΡΑΖΩ ΨΩΜΙ ΚΑΙ ΓΑΛΑ"),
    ),
    "Persian": (
        ("سلام، {a}.", "لطفاً درباره {b} توضیح بده.", "امروز {a} و {c}.", "{c}، ولی {a}."),
        ("هوا خوب است", "بچه‌ها در حیاط بازی می‌کنند", "اتوبوس دیر رسید"),
        ("یک رستوران خوب", "تاریخ شهر", "دستور پخت قورمه‌سبزی", "کتاب‌های حافظ"),
        ("من چای می‌نوشم", "روزنامه می‌خوانم", "نمی‌دانم"),
    ),
    "Hindi": (
        ("नमस्ते, {a}।", "कृपया {b} के बारे में बताइए।", "आज {a} और {c}।", "{c}, लेकिन {a}।"),
        ("मौसम अच्छा है", "बच्चे आँगन में खेल रहे हैं", "बस देर से आई"),
        ("एक अच्छा रेस्तराँ", "शहर का इतिहास", "पनीर की विधि", "हिन्दी भाषा"),
        ("मैं चाय पीता हूँ", "अख़बार पढ़ता हूँ", "मुझे नहीं पता"),
    ),
    "Thai": (
        ("สวัสดีครับ {a}", "ช่วยอธิบาย{b}ให้หน่อย", "วันนี้{a}และ{c}", "{c} แต่{a}"),
        ("อากาศดีมาก", "เด็กๆ กำลังเล่นอยู่ในสวน", "รถเมล์มาช้า", "คุณยายทำอาหาร"),
        ("ร้านอาหารอร่อย", "ประวัติศาสตร์ของเมือง", "วิธีทำแกงเขียวหวาน"),
        ("ฉันดื่มกาแฟ", "อ่านหนังสือพิมพ์", "เรียนตอนแปดโมง"),
    ),
    "Chinese": (
        ("你好，{a}。", "请介绍一下{b}。", "今天{a}，{c}。", "哪里有{b}？", "{c}，但是{a}。"),
        ("天气很好", "孩子们在院子里玩", "公交车迟到了", "奶奶在做饭"),
        ("好吃的餐馆", "这座城市的历史", "红烧肉的做法（简单）", "鲁迅的书"),
        ("我喝茶", "看报纸", "八点上课", "我不知道！"),
    ),
}


def everyday() -> dict[str, list[str]]:
    """Name -> ROWS benign texts."""
    makers: dict[str, Callable[[Random], str]] = {
        "code": _code(), "URLs and identifiers": _link, "emoji chat": _chat, "dumps": _dump,
        **{name: _speech(name) for name in _SPEECH},
    }  # fmt: skip
    found = {}
    for name, make in makers.items():
        random = Random(name)
        found[name] = [make(random) for _ in range(ROWS)]
    return found


def _code() -> Callable[[Random], str]:
    files = sorted(_ROOT.glob("harmguard/**/*.py")) + sorted(_ROOT.glob("export/**/*.py"))
    # Not what is about disguises: that has them.
    texts = [p.read_text(encoding="utf-8").split("\n") for p in files if p.parent.name != "views"]
    texts = [lines for lines in texts if len(lines) > 40]

    def make(random: Random) -> str:
        lines = random.choice(texts)
        start = random.randrange(len(lines) - 30)
        return "\n".join(lines[start : start + random.randrange(8, 30)]).strip() or "pass"

    return make


def _name(random: Random) -> str:
    a, b, c = random.sample(_WORDS, 3)
    forms = (
        f"{a}_{b}_{c}", f"{a}-{b}", f"{a}{b.title()}{c.title()}", f"{a}.{b}", f"{a.upper()}_{b.upper()}",
        f"v{random.randrange(9)}.{random.randrange(20)}", hashlib.sha1(a.encode()).hexdigest(),
        f"{random.getrandbits(32):08x}-{random.getrandbits(16):04x}-4a1b-9c2d-{random.getrandbits(48):012x}",
    )  # fmt: skip
    return random.choice(forms)


def _link(random: Random) -> str:
    words = random.sample(_WORDS, 4)
    tail = random.choice(
        ("", ".html", "?q=" + quote(" ".join(words)), f"?id={random.randrange(10**6)}&ref=news%2Fletter",
         "#" + _name(random), "?token=" + base64.urlsafe_b64encode(random.randbytes(24)).decode())
    )  # fmt: skip
    url = f"https://{random.choice(_HOSTS)}/{'/'.join(words[:3])}{tail}"
    return random.choice(
        (url, f"Open {url} and tell me what {_name(random)} is.", f"Rename {_name(random)} to "
         f"{_name(random)}.", f"I get a 404 at {url} since yesterday", f"git checkout {_name(random)}")
    )  # fmt: skip


def _chat(random: Random) -> str:
    text = random.choice(_CHAT)
    while "{e}" in text:
        text = text.replace("{e}", random.choice(_EMOJI), 1)
    return text


def _dump(random: Random) -> str:
    raw = random.randbytes(random.randrange(16, 120))
    text = f"The {random.choice(_WORDS)} has a {random.choice(_WORDS)}.".encode()
    forms = (
        base64.b64encode(raw).decode(), raw.hex(), raw.hex(" "), base64.b64encode(text).decode(),
        text.hex(), "data:image/png;base64,iVBORw0KGgo" + base64.b64encode(raw).decode(),
        "sha256:" + hashlib.sha256(raw).hexdigest(), json.dumps({"sig": raw.hex()[:40], "n": [*raw[:20]]}),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + base64.b64encode(raw[:32]).decode() + " me@host",
        "What is this? " + base64.b64encode(text).decode(),
    )  # fmt: skip
    return random.choice(forms)


def _speech(language: str) -> Callable[[Random], str]:
    forms, *fillings = _SPEECH[language]

    def make(random: Random) -> str:
        sentences = []
        for _ in range(random.randrange(1, 4)):
            a, b, c = map(random.choice, fillings)
            sentences.append(random.choice(forms).format(a=a, b=b, c=c))
        return " ".join(sentences)

    return make
