"""
Gets every model that is served onto this disk: `python -m worker.download_models`.

Compose runs it before the workers, so that a model that can't be had stops `docker compose up` and not every job.
"""

import sys

import structlog

from transcription.errors import ModelUnavailable
from transcription.observability.logs import configure
from transcription.settings import Settings
from worker.diarizers.choice import ChosenDiarizer, is_path
from worker.engines import choice, faster_whisper
from worker.model_cache import locate

log = structlog.get_logger()


def main() -> int:
    """Exit status 1 when a model can't be had; the log says which, and what to do."""
    settings = Settings()
    configure(level=settings.log_level, style=settings.log_format, service="models")
    return int(not fetch(settings))


def fetch(settings: Settings) -> bool:
    """Get every served model, and what tells speakers apart; False if one can't be had."""
    there = _fetch_diarizer(settings)
    engine = choice.choose(settings).engine
    if engine not in (faster_whisper.NAME, choice.TORCH):  # these two read the same files
        log.info("the engine gets its models itself", engine=engine)
        return there
    for name in sorted(settings.served):
        log.info("looking for the model; fetching it can take minutes", model=name)
        try:
            log.info("the model is there", model=name, directory=str(locate(name, settings)))
        except ModelUnavailable as error:
            log.critical("the model can't be had", model=name, error=error.message)
            there = False
    return there


def _fetch_diarizer(settings: Settings) -> bool:
    """Get the published network that the settings name, if they name one; pyannote gets its own when it is loaded."""
    _, _, source = settings.worker.diarizer.rpartition(":")
    if is_path(source):  # it may lie where only workers look
        return True
    try:
        ChosenDiarizer(settings)
    except ModelUnavailable as error:
        log.critical("the speaker network can't be had", network=settings.worker.diarizer, error=error.message)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
