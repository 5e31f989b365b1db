"""The closed vocabulary, and a grammar that makes sentences of it."""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Literal

Language = Literal["en", "de"]
Grammar = Mapping[str, Sequence[str]]

MEANINGLESS_SHARE = 0.35
"""Share of English sentences that are words in random order, so that the model listens instead of guessing."""

_SMALL = """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen""".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

ENGLISH_LISTS: Grammar = {
    "digit": ["zero", *_SMALL[:9]],
    "unit": _SMALL[:9],
    "hour": _SMALL[:12],
    "small": ["zero", *_SMALL],
    "tens": _TENS,
    "nato": """Alpha Bravo Charlie Delta Echo Foxtrot Golf Hotel India Juliet Kilo Lima Mike November Oscar Papa Quebec
    Romeo Sierra Tango Uniform Victor Whiskey Yankee Zulu""".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": """January February March April May June July August September October November December""".split(),
    "colour": "red green blue yellow black white orange purple brown pink".split(),
    "name": "Anna Peter Maria Thomas Julia David Sarah Daniel".split(),
    "size": "big small old new long short".split(),
    "quality": """big small old new long short good bad hot cold fast slow happy quiet loud early late""".split(),
    "ordinal": "first second third last next".split(),
    "vehicle": "train bus car plane ship".split(),
    "place": """station airport city house office school garden river mountain street room hospital market""".split(),
    "furniture": "door window table chair".split(),
    "thing": """door window table chair book letter paper phone computer machine report project file music song story
    picture bottle key clock camera""".split(),
    "food": "water coffee tea bread milk apple orange fish cheese sugar".split(),
    "animal": "dog cat horse bird fish".split(),
    "person": "doctor teacher friend mother father brother sister woman man".split(),
    "time": "today tomorrow yesterday now again".split(),
    "part": "morning evening afternoon night".split(),
    "weather": "rain sun wind snow weather".split(),
    "speech": "audio speaker meeting model transcript recording language text word sentence".split(),
}
_ENGLISH_REST = """the a is are was will can has have and or but not with near under over after before in on at from to
of I you we they he she my your this that it very here there please thank hello welcome yes no what where when who how
hundred thousand o'clock number minutes hours week month year day time people leaves arrives opens closes starts stops
needs wants likes open close start stop need want like go come call called send sent meet make work play speak listen
hear find show bring take said works""".split()
ENGLISH_WORDS = sorted({word for words in ENGLISH_LISTS.values() for word in words} | set(_ENGLISH_REST))

ENGLISH_RULES: Grammar = {
    "sentence": [
        "the {colour} {vehicle} {departs} {when}.",
        "{subject} {wish} {object}.",
        "{subject} {delivered} {object} {when}.",
        "{we} {have} {food} and {food}.",
        "the {animal} is {where} the {spot}.",
        "{ask} {is} the {quality} {topic}?",
        "{can} {you} {handle} {object}?",
        "{digit:3-7}.",
        "{nato:2-6}.",
        "the number is {number}.",
        "{number} {counted} {when}.",
        "please {command} {object}.",
        "the {place} is {degree}{quality} {when}.",
        "{greeting} {name}.",
        "thank you {thanked}.",
        "the {speech} {happens} {when}.",
        "{he} {state} {described}.",
        "{we} {act} {location} {when}.",
        "{subject} and {subject} are {location}.",
        "the {weather} was {quality} {when}.",
        "{answer} {you} {can} {do} {aim}.",
        "{subject} said {said} {addressed}.",
        "a {period} of {weather} {joined} {weather}.",
        "room {number} is {room}.",
    ],
    "subject": ["the {person}", "{name}", "my {person}", "your {person}", "the {quality} {person}"],
    "object": [
        "the {thing}",
        "the {colour} {thing}",
        "a {size} {thing}",
        "this {thing}",
        "that {thing}",
        "the {ordinal} {speech}",
    ],
    "when": [
        "on {day}",
        "in {month}",
        "at {hour}",
        "{time}",
        "at {hour} o'clock",
        "in the {part}",
        "after {number} minutes",
        "before {hour} on {day}",
        "{day} {part}",
    ],
    "location": [f"{word} the {{site}}" for word in ("at", "near", "in", "from")],
    "site": ["{place}", "{quality} {place}"],
    # Weighted by repetition: nearly half of all numbers are below twenty.
    "number": ["{small}"] * 6 + ["{tens}"] * 2 + ["{tens} {unit}"] * 3 + ["{unit} hundred", "{hour} thousand"],
    "departs": ["leaves", "arrives", "stops", "starts"],
    "wish": ["needs", "wants", "likes"],
    "delivered": ["called", "sent"],
    "we": ["I", "you", "we", "they"],
    "you": ["I", "you", "we", "they"],
    "have": ["need", "want", "like", "have"],
    "where": ["under", "near", "in", "on"],
    "spot": ["{place}", "{place}", "{place}", "{furniture}"],
    "ask": ["what", "where", "when", "who", "how"],
    "is": ["is", "was"],
    "topic": ["{thing}", "{thing}", "{place}", "{speech}"],
    "can": ["can", "will"],
    "handle": ["open", "close", "find", "show", "bring", "take", "send"],
    "counted": ["people", "minutes", "hours"],
    "command": ["open", "close", "start", "stop", "find", "bring", "show", "send"],
    "degree": ["", "not ", "very "],
    "greeting": ["hello", "welcome"],
    "thanked": ["{name}", "very good", "people"],
    "happens": ["starts", "stops", "opens", "closes", "works"],
    "he": ["he", "she", "it"],
    "state": ["is", "was", "has", "will", "can"],
    "described": ["here", "not here", "there", "very {quality}", "a {quality} {thing}"],
    "act": ["meet", "work", "play", "speak", "go", "come"],
    "answer": ["yes", "no"],
    "do": ["hear", "listen", "speak", "work", "make", "go"],
    "aim": ["{time}", "to the {place}", "with {name}"],
    "said": ["hello", "yes", "no", "thank you"],
    "addressed": ["to {name}", "again", "{when}"],
    "period": ["day", "week", "month", "year", "time"],
    "joined": ["and", "or", "but not"],
    "room": ["open", "over there", "near the {place}"],
    # Words that sound like another word, or are reduced, when nothing around them helps.
    "any": [word for word in ENGLISH_WORDS if word not in {"to", "a", "of", "there"}],
    "meaningless": ["{any:1-9}."],
    "word": ENGLISH_WORDS,
    "isolated": ["{word}.", "{word}.", "{word} {word}."],
}

GERMAN_LISTS: Grammar = {
    "number": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split(),
    "hour": "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split(),
    "day": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag".split(),
    "colour": "rote grüne blaue weiße schwarze gelbe".split(),
    "masculine": "Zug Bus Hund Mann Tisch Wagen Garten Brief".split(),
    "feminine": "Katze Frau Stadt Schule Blume Straße".split(),
    "quality": "groß klein alt neu schnell langsam gut kalt".split(),
    "food": "Wasser Kaffee Brot Milch".split(),
}
_GERMAN_REST = """der die das ist nicht und um am ich wir sie heute morgen jetzt hier kommt geht fährt haben brauchen
möchten Uhr wo wann was bitte danke ja nein guten Tag Abend im Haus sehr mit""".split()
GERMAN_WORDS = sorted({word for words in GERMAN_LISTS.values() for word in words} | set(_GERMAN_REST))

GERMAN_RULES: Grammar = {
    "sentence": [
        "der {colour} {masculine} fährt um {hour}.",
        "die {colour} {feminine} ist {degree}{quality}.",
        "wir {have} {food} und {food}.",
        "{ask} ist {noun}?",
        "guten {occasion}.",
        "der {masculine} {moves} am {day} um {hour} Uhr.",
        "{number:3-6}.",
        "{answer} {walker} {walks} {when}.",
        "{word:2-6}.",
    ],
    "degree": ["", "nicht ", "sehr "],
    "have": ["brauchen", "möchten", "haben"],
    "ask": ["wo", "was", "wann"],
    "noun": ["der {masculine}", "die {feminine}", "das Haus"],
    "occasion": ["Tag", "Abend", "morgen"],
    "moves": ["kommt", "geht", "fährt"],
    "answer": ["ja", "nein", "bitte", "danke"],
    "walker": ["ich", "die {feminine}", "der {masculine}"],
    "walks": ["kommt", "geht"],
    "when": ["heute", "morgen", "jetzt", "am {day}"],
    "word": GERMAN_WORDS,
}

GRAMMARS: Mapping[Language, Grammar] = {
    "en": {**ENGLISH_LISTS, **ENGLISH_RULES},
    "de": {**GERMAN_LISTS, **GERMAN_RULES},
}
WORDS = ENGLISH_WORDS + GERMAN_WORDS

_PLACEHOLDER = re.compile(r"\{(\w+)(?::(\d+)-(\d+))?\}")


def sentence(rng: random.Random, language: Language = "en", meaningless_share: float = MEANINGLESS_SHARE) -> str:
    """Make a sentence, capitalised and punctuated; *meaningless_share* counts for English alone."""
    rule = "meaningless" if language == "en" and rng.random() < meaningless_share else "sentence"
    return capitalise(expand(rng, GRAMMARS[language], rule))


def isolated_words(rng: random.Random) -> str:
    """One or two English words by themselves, of all that there are."""
    return capitalise(expand(rng, GRAMMARS["en"], "isolated"))


def expand(rng: random.Random, grammar: Grammar, rule: str) -> str:
    """Choose an alternative of *rule* and fill its placeholders: `{rule}`, or `{rule:2-6}` for two to six of them."""

    def fill(match: re.Match[str]) -> str:
        name, low, high = match.groups()
        count = rng.randint(int(low), int(high)) if low else 1
        return " ".join(expand(rng, grammar, name) for _ in range(count))

    return _PLACEHOLDER.sub(fill, rng.choice(grammar[rule]))


def capitalise(text: str) -> str:
    """Raise the first letter and leave the rest, unlike `str.capitalize`."""
    return text[0].upper() + text[1:]
