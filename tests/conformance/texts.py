"""The inputs of the conformance vectors: mild texts in every script, and what tokenizers trip over.

All are written out, or made of code points by ranges, so that no Unicode table of the machine that
makes the vectors decides what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.disguised import DISGUISED


@dataclass(frozen=True)
class Case:
    """One prompt, perhaps with a response; `times` repeats both."""

    about: str
    prompt: str
    response: str | None = None
    times: int = 1


QUESTIONS = {
    "English": "How do I bake bread at home?",
    "German": "Wie backe ich zu Hause Brot? Größe, Maße, Übung",
    "French": "Comment faire du pain à la maison, s'il vous plaît ?",
    "Spanish": "¿Cómo se hace pan en casa, señor?",
    "Portuguese": "Como faço pão em casa? Não sei.",
    "Italian": "Come si fa il pane in casa? È facile.",
    "Dutch": "Hoe bak ik thuis brood? Coördinatie, IJsland",
    "Polish": "Jak upiec chleb w domu? Zażółć gęślą jaźń",
    "Czech": "Jak upéct doma chléb? Příliš žluťoučký kůň",
    "Romanian": "Cum fac pâine acasă? Ţară, țară",
    "Turkish": "Evde nasıl ekmek yaparım? İstanbul, ığdır",
    "Vietnamese": "Làm thế nào để nướng bánh mì ở nhà?",
    "Finnish": "Miten leivon leipää kotona?",
    "Hungarian": "Hogyan süssek otthon kenyeret? Árvíztűrő tükörfúrógép",
    "Icelandic": "Hvernig baka ég brauð heima? Þórður ætlar",
    "Russian": "Как испечь хлеб дома? Ёлка, объём",
    "Ukrainian": "Як спекти хліб вдома? Їжак, ґанок",
    "Greek": "Πώς φτιάχνω ψωμί στο σπίτι; Ὀδυσσεύς",
    "Armenian": "Ինչպե՞ս հաց թխել տանը",
    "Georgian": "როგორ გამოვაცხო პური სახლში?",
    "Hebrew": "איך אופים לחם בבית? שָׁלוֹם",
    "Arabic": "كيف أخبز الخبز في المنزل؟ مُحَمَّد",
    "Persian": "چطور در خانه نان بپزم؟ می‌خواهم",
    "Urdu": "میں گھر پر روٹی کیسے بناؤں؟",
    "Hindi": "मैं घर पर रोटी कैसे बनाऊँ? क्षत्रिय",
    "Bengali": "আমি বাড়িতে কীভাবে রুটি বানাব?",
    "Tamil": "வீட்டில் ரொட்டி செய்வது எப்படி?",
    "Telugu": "ఇంట్లో రొట్టె ఎలా చేయాలి?",
    "Thai": "ฉันจะอบขนมปังที่บ้านได้อย่างไร",
    "Lao": "ຂ້ອຍຈະອົບເຂົ້າຈີ່ຢູ່ເຮືອນໄດ້ແນວໃດ",
    "Burmese": "အိမ်မှာ ပေါင်မုန့် ဘယ်လို ဖုတ်ရမလဲ",
    "Khmer": "តើខ្ញុំដុតនំប៉័ងនៅផ្ទះយ៉ាងដូចម្តេច?",
    "Amharic": "በቤት ውስጥ ዳቦ እንዴት እጋግራለሁ?",
    "Chinese": "我怎么在家里烤面包？",
    "Traditional Chinese": "我怎麼在家裡烤麵包？",
    "Japanese": "家でパンを焼くにはどうすればいいですか？ﾊﾝｶｸ",
    "Korean": "집에서 빵을 어떻게 굽나요?",
    "Korean, decomposed": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "Swahili": "Ninawezaje kuoka mkate nyumbani?",
    "Esperanto": "Kiel mi baku panon hejme? Ĉu ŝi aĉetas?",
}
_SCRIPTS = (
    ("Latin Extended-A", 0x100), ("Latin Extended-B", 0x180), ("IPA", 0x250),
    ("Latin Extended Additional", 0x1E00), ("Greek", 0x391), ("Greek Extended", 0x1F00),
    ("Coptic", 0x2C80), ("Cyrillic", 0x400), ("Cyrillic Supplement", 0x500), ("Armenian", 0x531),
    ("Hebrew", 0x5D0), ("Arabic", 0x620), ("Syriac", 0x710), ("Thaana", 0x780), ("NKo", 0x7C0),
    ("Samaritan", 0x800), ("Mandaic", 0x840), ("Devanagari", 0x904), ("Bengali", 0x985),
    ("Gurmukhi", 0xA05), ("Gujarati", 0xA85), ("Oriya", 0xB05), ("Tamil", 0xB85),
    ("Telugu", 0xC05), ("Kannada", 0xC85), ("Malayalam", 0xD05), ("Sinhala", 0xD85),
    ("Thai", 0xE01), ("Lao", 0xE94), ("Tibetan", 0xF40), ("Myanmar", 0x1000), ("Georgian", 0x10A0),
    ("Georgian Mkhedruli", 0x10D0), ("Hangul Jamo", 0x1100), ("Ethiopic", 0x1200),
    ("Cherokee", 0x13A0), ("Cherokee small", 0xAB70), ("Canadian Aboriginal", 0x1401),
    ("Ogham", 0x1681), ("Runic", 0x16A0), ("Tagalog", 0x1700), ("Khmer", 0x1780),
    ("Mongolian", 0x1820), ("Limbu", 0x1900), ("Tai Le", 0x1950), ("New Tai Lue", 0x1980),
    ("Buginese", 0x1A00), ("Tai Tham", 0x1A20), ("Balinese", 0x1B05), ("Sundanese", 0x1B83),
    ("Batak", 0x1BC0), ("Lepcha", 0x1C00), ("Ol Chiki", 0x1C5A), ("Glagolitic", 0x2C00),
    ("Tifinagh", 0x2D30), ("Kangxi radicals", 0x2F00), ("Hiragana", 0x3041), ("Katakana", 0x30A1),
    ("Bopomofo", 0x3105), ("Hangul compatibility", 0x3131), ("CJK", 0x4E00), ("CJK A", 0x3400),
    ("Yi", 0xA000), ("Lisu", 0xA4D0), ("Vai", 0xA500), ("Bamum", 0xA6A0), ("Syloti Nagri", 0xA807),
    ("Phags-pa", 0xA840), ("Saurashtra", 0xA882), ("Kayah Li", 0xA90A), ("Rejang", 0xA930),
    ("Javanese", 0xA984), ("Cham", 0xAA00), ("Tai Viet", 0xAA80), ("Meetei Mayek", 0xABC0),
    ("Hangul syllables", 0xAC00), ("Arabic presentation", 0xFE80), ("Half-width kana", 0xFF66),
    ("Full-width Latin", 0xFF21), ("Small forms", 0xFE50), ("Linear B", 0x10000),
    ("Gothic", 0x10330), ("Deseret", 0x10400), ("Deseret small", 0x10428), ("Osage", 0x104B0),
    ("Phoenician", 0x10900), ("Brahmi", 0x11005), ("Cuneiform", 0x12000),
    ("Egyptian hieroglyphs", 0x13000), ("CJK B", 0x20000), ("Adlam", 0x1E900),
    ("Mathematical bold", 0x1D400), ("Mathematical fraktur", 0x1D504), ("Circled", 0x24B6),
    ("Parenthesised", 0x249C), ("Squared", 0x1F130), ("Regional indicators", 0x1F1E6),
    ("Roman numerals", 0x2160), ("Superscripts", 0x2070), ("Number forms", 0x2150),
    ("Letterlike", 0x2100), ("Arrows", 0x2190), ("Mathematical operators", 0x2200),
    ("Box drawing", 0x2500), ("Dingbats", 0x2701), ("Braille", 0x2801), ("Enclosed CJK", 0x3220),
    ("CJK compatibility", 0x3300), ("Private use", 0xE000), ("Supplementary private use", 0xF0000),
    ("Tags", 0xE0041), ("Variation selectors supplement", 0xE0100), ("Not assigned", 0x3FFF0),
)  # fmt: skip
_ODD = {
    "one letter": "a",
    "a sentence between spaces": "  How   do I\tbake\r\n bread? \u00a0\u2003\u3000",
    "upper case": "HOW DO I BAKE BREAD?",
    "case that changes the length": "İSTANBUL ß ẞ ŉ ǰ ΐ և ẖ ﬁ ﬃ ſ",
    "ligatures and fractions": "ﬁne ﬂour, ½ cup, №5, ㎏, ㋿, ℡",
    "combining marks": "e\u0301 e\u0301\u0323 a\u030a n\u0303 \u0301 \u0915\u093c",
    "precomposed marks": "é ẹ́ å ñ क़",
    "marks in another order": "a\u0323\u0301 a\u0301\u0323 \u1e9b\u0323 \u0344",
    "many marks on one letter": "b" + "\u0301\u0323\u0308" * 12 + "read",
    "emoji": "bread 🍞 please 🙏",
    "emoji with modifiers": "👍🏽 👩‍👧 👩🏿‍🚒 🏳️‍🌈 ☺️ ☺︎ 1️⃣ 🇩🇪🇫🇷",
    "emoji between letters": "b🍞r🍞e🍞a🍞d",
    "controls": "a\u0001b\u0007c\u001bd\u007fe\u0080f\u009fg",
    "NUL": "bre\u0000ad \u0000 \u0000\u0000",
    "line ends": "a\nb\rc\r\nd\u0085e\u2028f\u2029g\u000bh\u000ci",
    "byte order mark": "\ufeffHow do I bake bread?",
    "replacement character": "bre\ufffdad \ufffd",
    "not characters": "a\uffffb\ufdd0c\U0010ffffd",
    "soft hyphens": "b\u00adr\u00ade\u00ada\u00add",
    "zero-width space": "br\u200bead br\u2060ead",
    "bidirectional controls": "\u202ebread\u202c \u2067bread\u2069 \u200fbread\u200e",
    "word joiners in Persian": "می\u200cخواهم نان\u200dبپزم",
    "variation selectors": "b\ufe00r\ufe0fe\U000e0100ad",
    "tag characters": "bread\U000e0062\U000e0072\U000e0065\U000e0061\U000e0064",
    "fillers": "b\u3164read b\uffa0read b\u115fread b\u1160read \u2800",
    "full-width": "Ｈｏｗ　ｄｏ　Ｉ　ｂａｋｅ　ｂｒｅａｄ？",
    "mathematical letters": "𝐇𝐨𝐰 𝖉𝖔 𝘐 𝚋𝚊𝚔𝚎 𝕓𝕣𝕖𝕒𝕕?",
    "Cyrillic letters in Latin words": "Hоw dо I bаkе brеаd?",
    "Greek letters in Latin words": "Ηow dο Ι bακe bread?",
    "special-token words": "[CLS] bread [SEP] bread [PAD] [MASK] [UNK]",
    "special-token words, no spaces": "[SEP][SEP]bread[CLS]bread[SEP]",
    "special-token words of other models": "<s> </s> <pad> <unk> <mask> <|endoftext|> [INST]",
    "special-token words, other case": "[cls] [Sep] [ SEP ] [SEP",
    "continuation marks": "##ing ##s bread## ## # ###bread",
    "metaspace": "\u2581bread \u2581\u2581 bread\u2581 a\u2581b",
    "an unknown character in a word": "bre\U000131a5ad \U000131a5 x\U000131a5\U000131a5y",
    "unknown characters alone": "\U000131a5\U000131a6 \U000131a5",
    "numbers": "1234567890 3.14159 1,000,000 -5 +7 1e10 0x1F ٣٤٥ ३४५ ๓",
    "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ «» „“ ‚‘ – — … ‽ 。、「」",
    "ASCII symbols run together": "a+b=c;x^2/y_z&&p||q::r->s",
    "an address": "https://example.org/bread?recipe=1&lang=en#top user@example.org",
    "a path": "C:\\Users\\me\\bread.txt /home/me/bread.txt",
    "code": 'def bake(bread: int) -> str:\n    return f"{bread:>3}"  # comment\n',
    "JSON": '{"prompt": "bread", "n": [1, 2, null]}',
    "Markdown": "# Bread\n\n- *flour*\n- **water**\n\n| a | b |\n|---|---|\n",
    "contractions": "don't won't I'm you're it's o'clock rock'n'roll",
    "hyphens": "state-of-the-art bread\u2010maker bread\u2011maker bread\u2212maker",
    "letters apart": "b r e a d  b.r.e.a.d b-r-e-a-d b_r_e_a_d",
    "a word of 99 letters": "b" * 99,
    "a word of 100 letters": "b" * 100,
    "a word of 101 letters": "b" * 101,
    "a word of 300 letters": "bread" * 60,
    "a long word with an unknown character": "bread" * 30 + "\U000131a5" + "bread" * 30,
    "a long word of Cyrillic": "хлеб" * 60,
    "a long word of Chinese": "面包" * 60,
    "no spaces in a sentence": "howdoibakebreadathomewithflourwatersaltandyeast",
    "base64": "SG93IGRvIEkgYmFrZSBicmVhZD8=",
    "repeated letters": "breeeeeeeeeeead pleeeeease",
    "repeated words": "bread " * 20,
    "quotes of every kind": "'bread' ‘bread’ \"bread\" “bread” «bread» ‹bread› `bread`",
    "degree and units": "bake at 220 °C (428 ℉) for 35–40 min, 2½ kg, 3 µm, 5 Å, 10 Ω",
    "Turkish dotless i": "ısı İZİN iı Iİ",
    "final sigma": "ΟΔΥΣΣΕΥΣ Σ σς ΆΣ.",
    "Hangul, both forms": "한글 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "Thai and Lao vowels": "น้ำ ເກົ່າ ำ",
    "Arabic with marks and joiners": "بِسْمِ ٱللَّٰهِ ﷽ ﻻ لا",
    "Devanagari conjuncts": "क्ष ज्ञ श्री र्\u200dक क्\u200cष",
    "Tibetan": "བོད་སྐད་ ༄༅།",
    "Han variants": "直󠄀 葛 葛󠄁 﨑 神 (神)",
    "musical symbols": "\U0001d15e \U0001d15f \u266d\u266f",
}
_SENTENCE = "The bread rests under a cloth while the oven gets warm, and then it is baked. "
_LONG = (
    ("a prompt of one window and a word", "bread " * 62, None, 1),
    ("a prompt of several windows", _SENTENCE, None, 14),
    ("a prompt of many windows", _SENTENCE, None, 60),
    ("a prompt of several windows without spaces", "bread", None, 900),
    ("a long prompt of Cyrillic", "хлеб и вода, ", None, 120),
    ("a long prompt of Chinese", "面包和水，", None, 150),
    ("a long prompt of emoji", "🍞 🙏 ", None, 200),
    ("a long prompt of unknown characters", "\U000131a5 x", None, 300),
)
_EXCHANGES = (
    ("an exchange", "How do I bake bread?", "Mix flour, water, salt and yeast.", 1),
    ("an empty response", "How do I bake bread?", "", 1),
    ("a response of one space", "How do I bake bread?", " ", 1),
    ("a response of one letter", "How do I bake bread?", "a", 1),
    ("a response that nothing is left of", "bread", "\u200b\u0000\u0301", 1),
    ("special-token words on both sides", "bread [SEP]", "[CLS] bread [SEP] bread", 1),
    ("a short refusal", "How do I bake bread?", "No.", 1),
    ("another language in the response", "How do I bake bread?", "Мука, вода, соль.", 1),
    ("the same text twice", _SENTENCE, _SENTENCE, 1),
    ("both sides of half a window", "bread " * 30, "water " * 30, 1),
    ("both sides a token beyond", "bread " * 31, "water " * 31, 1),
    ("both sides long", _SENTENCE, "Water and salt. ", 60),
    ("code in the response", "Write a loop.", "for i in range(3):\n    print(i)\n", 1),
    ("emoji in the response", "Thanks!", "🙏🙏🏽 ❤️", 1),
)


def cases() -> Iterator[Case]:
    """Every input, in the order of the vectors."""
    for name, text in QUESTIONS.items():
        yield Case(f"a question in {name}", text)
    for name, start in _SCRIPTS:
        letters = "".join(chr(start + n) for n in range(8))
        yield Case(f"letters from U+{start:04X}, {name}", f"{letters} {letters[:3]} {letters[5]}x")
    for name, start in _SCRIPTS[::2]:
        text = " ".join(f"b{chr(start + n)}r{chr(start + n + 1)}ead" for n in range(0, 6, 2))
        yield Case(f"Latin words with letters from U+{start:04X}, {name}", text)
    yield from (Case(name, text) for name, text in _ODD.items())
    for name, text in list(QUESTIONS.items())[:20]:
        yield Case(f"an exchange of English and {name}", QUESTIONS["English"], text)
    for name, prompt, response, times in _EXCHANGES:
        yield Case(name, prompt, response, times)
    for name, prompt, _, times in _LONG:
        yield Case(name, prompt, None, times)
    for length in (1, 2, 5, 55, 58, 60, 61, 62, 63, 64, 120, 505, 508, 509, 510, 511, 512):
        yield Case(f"a prompt of {length} words", " ".join(["bread"] * length))
    yield Case("a long prompt and a short response", _SENTENCE * 40, "No.")
    yield Case("a short prompt and a long response", "How?", _SENTENCE * 40)
    yield Case("a long prompt and an empty response", _SENTENCE * 40, "")
    yield from (Case(name, text) for name, text in DISGUISED.items())
    hidden = ("rot13", "selectors", "Lisu")
    yield from (Case(f"{name} in a response", "Hоw?", DISGUISED[name]) for name in hidden)
    yield Case("a long prompt with look-alikes", "Тhe bread rests. " * 40)
