"""The ids of Whisper's multilingual vocabulary (51,865 of them), as far as the demo model gives them a meaning."""

END_OF_TEXT = 50257
START_OF_TRANSCRIPT = 50258
FIRST_LANGUAGE = 50259
ENGLISH = 50259
GERMAN = 50261
TRANSLATE = 50358
TRANSCRIBE = 50359
START_OF_PREVIOUS = 50361
NO_SPEECH = 50362
NO_TIMESTAMPS = 50363
FIRST_TIMESTAMP = 50364

TEXT_IDS = END_OF_TEXT
TIMESTAMPS = 1501
VOCABULARY_SIZE = FIRST_TIMESTAMP + TIMESTAMPS

LANGUAGES = tuple(
    # A hundred quoted codes would be harder to compare with the published list.
    """en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la
    mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg
    sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su""".split()  # noqa: SIM905
)

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)

TIMESTAMP_TOKENS = tuple(f"<|{step * 0.02:.2f}|>" for step in range(TIMESTAMPS))

TRAINED_SPECIALS = (
    END_OF_TEXT,
    START_OF_TRANSCRIPT,
    ENGLISH,
    GERMAN,
    TRANSLATE,
    TRANSCRIBE,
    START_OF_PREVIOUS,
    NO_SPEECH,
    NO_TIMESTAMPS,
)
"""The special ids that have an embedding of their own; all others share the one of the unused text ids."""
