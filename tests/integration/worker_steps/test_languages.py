"""In which language a step's windows are transcribed: named, detected, changing."""

from contextlib import suppress

import pytest

from tests.scripted_engine import Script
from tests.worker_site import LONG, SHORT, Site
from transcription.job import Status
from transcription.spans import Piece, Span
from worker.consumer.span_results import GivenUp, SpanFailed


def test_language_is_told_among_those_that_the_client_named(site: Site, script: Script) -> None:
    site.submit(SHORT, languages="de,fr")
    site.steps()
    assert script.asked_among == [("de", "fr")]


def test_speech_without_a_language_fails_the_job_and_is_never_taken_for_silence(site: Site, script: Script) -> None:
    script.detected = ""
    job = site.submit(SHORT)
    with pytest.raises(SpanFailed, match="no language"):
        site.step()
    site.come_back()
    with pytest.raises(SpanFailed):
        site.step()
    failed = site.client.get(job)
    assert failed.status is Status.FAILED
    assert failed.failure
    assert failed.failure.code == "engine_failed"


def test_span_that_was_cut_without_a_language_is_told_one_before_it_is_written(site: Site, script: Script) -> None:
    job = site.submit(SHORT)
    taken = site.worker.take()
    assert taken
    claim = site.worker._taken[taken.id][0].claim
    site.worker._spans.prepared(claim, [Piece(Span(0, 11), (Span(0.5, 10.5),))], language=None, probability=None)
    site.worker._spans.release(claim)
    with suppress(GivenUp):
        site.worker.work(taken.id)
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert site.client.text(job) == "0.5"
    assert script.languages == ["fr"]


def test_window_s_language_is_what_the_rest_begins_with_after_an_error(site: Site, script: Script) -> None:
    job = site.submit(LONG, multilingual="true")
    script.spoken = "de"

    def fail(number: int) -> None:
        if number == 1:
            script.before = lambda _: None
            raise RuntimeError("boom")

    script.before = fail
    with pytest.raises(SpanFailed, match="boom"):
        site.steps()
    assert script.languages == ["fr"]
    site.steps()
    site.come_back()
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert script.languages[-1] == "de"
    ended = site.client.get(job)
    found = site.client.ask(lambda jobs: jobs.transcript(ended))
    assert found.language == "de"  # most is said in it, though it was begun in another
    assert {segment.language for segment in found.segments} == {"de"}


def test_language_that_the_client_named_is_not_detected(site: Site, script: Script) -> None:
    job = site.submit(SHORT, language="de")
    site.step()
    assert (script.detections, script.languages) == (0, ["de"])
    assert site.client.get(job).language == "de"
