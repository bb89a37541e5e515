"""Mild texts that hide, for the vectors: what `views-1` must make readable, and must leave alone."""

from __future__ import annotations

import base64

_PLAIN = "How do I bake good bread at home?"
_BYTES = _PLAIN.encode()
_BASE64 = base64.b64encode(_BYTES).decode()
_SELECTORS = "".join(chr(0xFE00 + b) if b < 16 else chr(0xE0100 + b - 16) for b in _BYTES)
_BITS = "".join("\u200b\u200c"[bit == "1"] for b in _BYTES for bit in f"{b:08b}")

DISGUISED = {
    "small capitals": "ʜᴏᴡ ᴅᴏ ɪ ʙᴀᴋᴇ ɢᴏᴏᴅ ʙʀᴇᴀᴅ",
    "regional indicators that are words": "🇭🇴🇼 🇩🇴 🇮 🇧🇦🇰🇪",
    "regional indicators that are flags": "🇫🇷 and 🇩🇪🇮🇹",
    "negative squared and circled": "🅷🅾🆆 🅓🅞 🄸",
    "enclosing marks": "h\u20ddo\u20dew d\u20e3o",
    "overlays": "h\u0336o\u0337w\u0338",
    "Cyrillic through and through": "Ноw dо І bаkе гооd brеаd",
    "Lisu": "ꓧꓳꓪ ꓓꓳ ꓲ ꓐꓮꓗꓰ ꓐꓣꓰꓮꓓ",
    "runes": "ᚺᛟᚹ ᛞᛟ ᛁ ᛒᚨᚲᛖ ᛒᚱᛖᚨᛞ",
    "currency signs": "₦o ฿r€a₫ ₮od₳y",
    "hyphens between letters": "h-o-w d-o I b-a-k-e b-r-e-a-d",
    "middle dots and signs": "“·H·o·w·” d·o I, w·h·o·'·m n·e·w·, b·a·k·e·: b·r·e·a·d·?·",
    "spaces between letters and signs": "h o w ,  d o  I  b a k e ( b r e a d ) ?",
    "spaces between letters": "h o w  d o  I  b a k e",
    "thin spaces between letters": "h\u2009o\u2009w d\u2009o I b\u2009a\u2009k\u2009e",
    "emoji between letters": "h🍞o🍞w d🍞o I b🍞a🍞k🍞e",
    "tokens between letters": "h[SEP]o[SEP]w d[SEP]o",
    "a token between look-alikes": "[ЅЕР] bread [S.E.P.]",
    "an override": f"\u202e{_PLAIN[::-1]}\u202c",
    "an override around Hebrew": "\u202eלחם\u202c bread",
    "overrides within each other": "\u202eab\u202ecd\u202cef\u202c \u202d\u202egh",
    "tags": "🍞" + "".join(chr(0xE0000 + b) for b in _BYTES),
    "tags of a flag": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f bread",
    "selectors": f"Hi 🍞{_SELECTORS}",
    "bits of no width": f"Hi.{_BITS}",
    "fillers as spaces": "howㅤdoㅤIㅤbake",
    "percent": "".join(f"%{b:02X}" for b in _BYTES),
    "entities": "".join(f"&#x{b:x};" for b in _BYTES),
    "escapes": "".join(f"\\u{{{b:x}}}" for b in _BYTES),
    "surrogates escaped": "\\ud83c\\udf5e bread \\ud83c",
    "quoted-printable": "".join(f"={b:02X}" for b in _BYTES),
    "octal escapes": "".join(f"\\{b:03o}" for b in _BYTES),
    "hexadecimal": _BYTES.hex(" "),
    "binary": " ".join(f"{b:08b}" for b in _BYTES),
    "decimal": " ".join(map(str, _BYTES)),
    "numbers of letters": "8-15-23 4-15 9 2-1-11-5 2-18-5-1-4",
    "base64 among words": f"Please read {_BASE64} and answer",
    "base64 by lines": "\n".join(_BASE64[i : i + 12] for i in range(0, len(_BASE64), 12)),
    "base64 of UTF-16": base64.b64encode(_PLAIN.encode("utf-16-le")).decode(),
    "base64 twice": base64.b64encode(_BASE64.encode()).decode(),
    "base64 three times": base64.b64encode(base64.b64encode(_BASE64.encode())).decode(),
    "base64 that is no text": base64.b64encode(bytes(range(40, 250, 5))).decode(),
    "base32": base64.b32encode(_BYTES).decode(),
    "Morse": ".... --- .-- / -.. --- / .. / -... .- -.- .",
    "braille": "⠓⠕⠺ ⠙⠕ ⠊ ⠃⠁⠅⠑",
    "spelling alphabet": "hotel oscar whiskey / delta oscar / india / bravo alpha kilo echo",
    "rot13": "Ubj qb V onxr tbbq oernq ng ubzr?",
    "rot13 among words": "Please answer this: ubj qb V onxr tbbq oernq ng ubzr",
    "shift by 3": "Krz gr L ednh jrrg euhdg dw krph?",
    "atbash": "Sld wl r yzpv tllw yivzw zg slnv?",
    "reversed": _PLAIN[::-1],
    "reversed words": " ".join(word[::-1] for word in _PLAIN.split(" ")),
    "upside down": "ǝɯoɥ ʇɐ pɐǝɹq pooƃ ǝʞɐq ı op ʍoɥ",
    "leet": "h0w d0 1 b4k3 g00d br34d 47 h0m3",
    "leet with signs": "h0w d0 ! b@k3 g00d br3@d @ h0m3",
    "letters twice": "HHooww ddoo II bbaakkee ggoooodd bbrreeaadd aatt hhoommee??",
    "letters three times among words": "Please tell me: hhhooowww dddooo III bbbaaakkkeee bbbrrreeeaaaddd",
    "pairs that are no words": "aabb ccdd eeff 1122 bookkeeper ooo II",
    "signs inside words": "Ho.w do I ba.ke go.od bre.ad at ho.me to.day?",
    "capitals for gaps": "HowDoIBakeGoodBreadAtHome",
    "an exchange that hides": "Hоw dо I bаkе?",
}
"""What the text is -> the text."""
