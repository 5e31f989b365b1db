"""Languages by the codes, names and tags that clients and files have for them."""

import pytest

from transcription.languages import LANGUAGES, code_of


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("de", "de"), (" DE ", "de"), ("German", "de"), ("deu", "de"), ("ger", "de"), ("de-CH", "de"),
        ("en_US", "en"), ("zh_Hant", "zh"), ("zh-Hant-TW", "zh"), ("zh-yue", "yue"), ("cmn", "zh"), ("iw", "he"),
        ("nb", "no"), ("nb-NO", "no"), ("Haitian  Creole", "ht"), ("fil", "tl"), ("jv", "jw"), ("yue", "yue"),
        ("english-us", None), ("de-", None), ("de-" + "a" * 9, None), ("de-" + "-".join(["ab"] * 20), None),
        ("xx", None), ("", None),
    ],
)  # fmt: skip
def test_language_is_known_by_every_common_word_for_it(word: str, code: str | None) -> None:
    assert code_of(word) == code


def test_every_code_and_name_leads_to_its_language() -> None:
    assert len(LANGUAGES) >= 100
    for code, name in LANGUAGES.items():
        assert code_of(code) == code_of(name) == code
