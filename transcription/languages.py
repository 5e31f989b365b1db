"""The languages that Whisper knows: ISO 639-1 code (or Whisper's own where there is none) to English name."""

LANGUAGES: dict[str, str] = {
    "af": "afrikaans",
    "am": "amharic",
    "ar": "arabic",
    "as": "assamese",
    "az": "azerbaijani",
    "ba": "bashkir",
    "be": "belarusian",
    "bg": "bulgarian",
    "bn": "bengali",
    "bo": "tibetan",
    "br": "breton",
    "bs": "bosnian",
    "ca": "catalan",
    "cs": "czech",
    "cy": "welsh",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fo": "faroese",
    "fr": "french",
    "gl": "galician",
    "gu": "gujarati",
    "ha": "hausa",
    "haw": "hawaiian",
    "he": "hebrew",
    "hi": "hindi",
    "hr": "croatian",
    "ht": "haitian creole",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "is": "icelandic",
    "it": "italian",
    "ja": "japanese",
    "jw": "javanese",
    "ka": "georgian",
    "kk": "kazakh",
    "km": "khmer",
    "kn": "kannada",
    "ko": "korean",
    "la": "latin",
    "lb": "luxembourgish",
    "ln": "lingala",
    "lo": "lao",
    "lt": "lithuanian",
    "lv": "latvian",
    "mg": "malagasy",
    "mi": "maori",
    "mk": "macedonian",
    "ml": "malayalam",
    "mn": "mongolian",
    "mr": "marathi",
    "ms": "malay",
    "mt": "maltese",
    "my": "myanmar",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "nynorsk",
    "no": "norwegian",
    "oc": "occitan",
    "pa": "punjabi",
    "pl": "polish",
    "ps": "pashto",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sa": "sanskrit",
    "sd": "sindhi",
    "si": "sinhala",
    "sk": "slovak",
    "sl": "slovenian",
    "sn": "shona",
    "so": "somali",
    "sq": "albanian",
    "sr": "serbian",
    "su": "sundanese",
    "sv": "swedish",
    "sw": "swahili",
    "ta": "tamil",
    "te": "telugu",
    "tg": "tajik",
    "th": "thai",
    "tk": "turkmen",
    "tl": "tagalog",
    "tr": "turkish",
    "tt": "tatar",
    "uk": "ukrainian",
    "ur": "urdu",
    "uz": "uzbek",
    "vi": "vietnamese",
    "yi": "yiddish",
    "yo": "yoruba",
    "yue": "cantonese",
    "zh": "chinese",
}

# ISO 639-2 and 639-3, terminological and bibliographic, as media files and subtitle clients write them.
_THREE_LETTERS = {
    "af": "afr", "am": "amh", "ar": "ara arb", "as": "asm", "az": "aze azj", "ba": "bak", "be": "bel", "bg": "bul",
    "bn": "ben", "bo": "bod tib", "br": "bre", "bs": "bos", "ca": "cat", "cs": "ces cze", "cy": "cym wel",
    "da": "dan", "de": "deu ger", "el": "ell gre", "en": "eng", "es": "spa", "et": "est ekk", "eu": "eus baq",
    "fa": "fas per pes", "fi": "fin", "fo": "fao", "fr": "fra fre", "gl": "glg", "gu": "guj", "ha": "hau",
    "haw": "haw", "he": "heb", "hi": "hin", "hr": "hrv scr", "ht": "hat", "hu": "hun", "hy": "hye arm", "id": "ind",
    "is": "isl ice", "it": "ita", "ja": "jpn", "jw": "jav", "ka": "kat geo", "kk": "kaz", "km": "khm", "kn": "kan",
    "ko": "kor", "la": "lat", "lb": "ltz", "ln": "lin", "lo": "lao", "lt": "lit", "lv": "lav lvs",
    "mg": "mlg plt", "mi": "mri mao", "mk": "mkd mac", "ml": "mal", "mn": "mon khk", "mr": "mar",
    "ms": "msa may zsm", "mt": "mlt", "my": "mya bur", "ne": "nep npi", "nl": "nld dut", "nn": "nno",
    "no": "nor nob", "oc": "oci", "pa": "pan", "pl": "pol", "ps": "pus", "pt": "por", "ro": "ron rum", "ru": "rus",
    "sa": "san", "sd": "snd", "si": "sin", "sk": "slk slo", "sl": "slv", "sn": "sna", "so": "som",
    "sq": "sqi alb", "sr": "srp scc", "su": "sun", "sv": "swe", "sw": "swa swh", "ta": "tam", "te": "tel",
    "tg": "tgk", "th": "tha", "tk": "tuk", "tl": "tgl fil", "tr": "tur", "tt": "tat", "uk": "ukr", "ur": "urd",
    "uz": "uzb uzn", "vi": "vie", "yi": "yid ydd", "yo": "yor", "yue": "yue", "zh": "zho chi cmn",
}  # fmt: skip

# Other codes and names for the same: Norwegian is written in two ways, and some codes were given anew.
_OTHERS = {
    "nb": "no", "jv": "jw", "iw": "he", "in": "id", "ji": "yi", "mo": "ro", "sh": "sr", "fil": "tl",
    "bokmal": "no", "bokmål": "no", "norwegian bokmal": "no", "norwegian bokmål": "no", "norwegian nynorsk": "nn",
    "burmese": "my", "valencian": "ca", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "pushto": "ps",
    "panjabi": "pa", "moldavian": "ro", "moldovan": "ro", "sinhalese": "si", "castilian": "es", "mandarin": "zh",
    "farsi": "fa", "filipino": "tl",
}  # fmt: skip

_CODES = {
    **{name: code for code, name in LANGUAGES.items()},
    **{three: code for code, names in _THREE_LETTERS.items() for three in names.split()},
    **_OTHERS,
    **{code: code for code in LANGUAGES},
}


def code_of(word: str) -> str | None:
    """
    Find the language that *word* means, in any case.

    Args:
        word: An ISO 639 code of two or three letters, an English name, or a tag as `en-US` or `zh_Hant`.

    Returns:
        Whisper's code, None for a language that it doesn't know.
    """
    plain = " ".join(word.strip().lower().split())
    if plain in _CODES:
        return _CODES[plain]
    tag, *rest = plain.replace("_", "-").split("-")
    if tag == "zh" and "yue" in rest:
        return "yue"
    known = rest and len(plain) <= 35 and all(part.isalnum() and 1 <= len(part) <= 8 for part in rest)
    return _CODES.get(tag) if known and len(tag) <= 3 else None
