"""Who speaks: voices of espeak-ng, some of which training never hears."""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.training.espeak import Espeak
from demo.training.lexicon import Language, sentence

ENGLISH_ACCENTS = ("en-us", "en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-029")
HELD_OUT_VARIANTS = (
    *("f2", "belinda", "Andrea", "anika", "aunty", "grandma"),
    *("m5", "m6", "edward", "Henrique", "john", "paul", "travis", "sandro"),
)
"""Six women and eight men."""

TRAINED_VARIANTS = (
    *("", "Alex", "Alicia", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Hugo", "Jacky", "Lee", "Marco"),
    *("Mario", "Michael", "Mike", "Mr serious", "Nguyen", "RicishayMax", "RicishayMax2", "Storm", "Tweaky", "adam"),
    *("antonio", "benjamin", "boris", "caleb", "croak", "david", "ed", "f1", "f3", "f4", "f5", "grandpa", "gustave"),
    *("iven", "iven2", "iven3", "iven4", "kaukovalta", "klatt", "klatt2", "klatt3", "klatt4", "linda", "m1", "m2"),
    *("m3", "m4", "m7", "m8", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "pedro", "quincy", "rob"),
    *("robert", "shelby", "steph", "steph2", "steph3", "victor", "zac"),
)


@dataclass(frozen=True)
class Voice:
    """One person: an accent, a variant, and a pitch that is theirs (espeak-ng's 0 to 99)."""

    accent: str
    variant: str
    pitch: int
    pitch_range: int
    language: Language = "en"

    @classmethod
    def drawn(cls, rng: random.Random, variant: str) -> "Voice":
        """A person with *variant*; one in ten speaks German."""
        language: Language = "de" if rng.random() < 0.1 else "en"
        accent = "de" if language == "de" else rng.choice(ENGLISH_ACCENTS)
        return cls(accent, variant, rng.randint(25, 75), rng.randint(30, 70), language)

    def say(self, speaker: Espeak, text: str, rng: random.Random) -> NDArray[np.float32] | None:
        """*text* in this voice, (n,) at 16 kHz; faster or slower each time, the pitch nearly the same."""
        utterance = speaker.say(
            text,
            f"{self.accent}+{self.variant}" if self.variant else self.accent,
            rate_wpm=rng.randint(140, 205),
            pitch=self.pitch + rng.randint(-3, 3),
            pitch_range=self.pitch_range,
        )
        return utterance.audio if utterance else None

    def sentence(self, rng: random.Random) -> str:
        """Something to say in their language."""
        return sentence(rng, self.language, 0.3)
