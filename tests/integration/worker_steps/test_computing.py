"""What a step computes, and not again: the real ledger, real audio, an engine that a test scripts."""

import threading
from typing import Any

import numpy as np
import pytest

from demo import SAMPLES
from tests import audio_files, sound
from tests.live_api import live_api
from tests.platform import eventually
from tests.scripted_engine import Script
from tests.worker_site import LONG, SHORT, Site
from transcription.job import Status
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.media.timeline import Hole
from transcription.result_warning import WarningCode
from transcription.spans import Piece, Span
from worker.consumer.span_results import SpanFailed
from worker.pipelines import sounds as sounds_module
from worker.pipelines.transcription import Work


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_worker_that_is_to_send_no_webhooks_takes_none(site: Site, webhooks: bool) -> None:
    assert site.worker._webhook_dispatcher.is_alive() is webhooks


def test_recording_is_decoded_its_language_told_and_its_words_written(site: Site, script: Script) -> None:
    job = site.submit(SHORT)
    done = site.step()
    assert done
    assert str(done).startswith(f"{job.computation}/0 ")
    ended = site.client.get(job)
    assert (ended.status, ended.language) == (Status.COMPLETED, "fr")
    assert site.client.text(job) == " ".join(f"{start:.1f}" for start, _ in script.windows)
    assert (script.detections, set(script.languages)) == (1, {"fr"})
    assert ended.compute_s
    assert ended.compute_s > 0
    assert [track.codec for track in ended.tracks] == ["flac"]
    assert site.step() is None


@pytest.mark.parametrize("exchanged", [False, True])
def test_result_is_cached_unless_the_weights_in_memory_are_not_those_that_the_api_was_told_of(
    site: Site, script: Script, monkeypatch: pytest.MonkeyPatch, exchanged: bool
) -> None:
    job = site.submit(SHORT)
    if exchanged:
        monkeypatch.setattr(site.worker._models, "_disk_revision", lambda _: "other weights")
    site.step()
    assert site.client.status(job) is Status.COMPLETED
    with live_api(site.settings) as api:
        again = api.post("/v1/jobs", files={"file": ("a.wav", SHORT)})
    assert again.status_code == (202 if exchanged else 200)


@pytest.mark.parametrize(("audio", "expected"), [(SHORT, {True}), (LONG, {False})], ids=["short", "long"])
def test_only_a_recording_of_one_window_is_heard_in_its_own_length(
    site: Site, script: Script, audio: bytes, expected: set[bool]
) -> None:
    site.submit(audio, fast_short="true")
    assert site.steps()
    assert set(script.fast_short) == expected


def test_long_recording_is_cut_once_and_every_stretch_of_it_computed_once(site: Site, script: Script) -> None:
    job = site.submit(LONG)
    done: list[float] = []
    script.before = lambda number: done.append(site.client.get(job).progress.audio_seconds_done) if number else None
    assert site.step()
    # The second window begins where the first one has ended, and so far the job has come.
    assert done == [pytest.approx(script.windows[0][1], abs=1.0)]
    script.before = lambda _: None
    kept = list(site.settings.pcm_dir.iterdir())
    assert [path.stem for path in kept] == [job.computation]
    spans = 1 + site.steps()
    assert spans == 2
    assert site.client.status(job) is Status.COMPLETED
    assert script.windows == sorted(script.windows)
    assert len(set(script.windows)) == len(script.windows)
    assert script.detections == 1
    assert set(script.languages) == {"fr"}
    assert not list(site.settings.pcm_dir.iterdir())


@pytest.mark.parametrize("span_s", [20.0])
def test_worker_without_the_decoded_sound_decodes_once_more_and_keeps_it(site: Site, script: Script) -> None:
    job = site.submit(LONG)
    site.step()
    (kept,) = site.settings.pcm_dir.iterdir()
    whole = kept.read_bytes()
    kept.unlink()
    assert site.step()
    assert kept.read_bytes() == whole
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert len(set(script.windows)) == len(script.windows)


def test_what_was_written_before_an_error_is_not_computed_again(site: Site, script: Script) -> None:
    job = site.submit(LONG, language="en")

    def fail(number: int) -> None:
        if number == 1:
            script.before = lambda _: None
            raise RuntimeError("boom")

    script.before = fail
    with pytest.raises(SpanFailed, match="boom"):
        site.steps()
    written = len(script.windows)
    assert written >= 1
    assert site.client.get(job).attempts == 1
    site.steps()
    site.come_back()
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert len(set(script.windows)) == len(script.windows)
    assert site.client.get(job).attempts == 2
    assert site.client.get(job).progress.fraction == 1.0
    assert site.client.text(job) == " ".join(f"{start:.1f}" for start, _ in sorted(script.windows))


def test_what_a_worker_has_measured_of_itself_is_told(site: Site) -> None:
    site.submit(SHORT, language="en")
    site.step()
    (worker,) = eventually(lambda: [one for one in site.client.backlog().workers if one.rate])
    assert worker.rate
    assert worker.rate > 0
    assert worker.id == "w1"
    assert (worker.slots, worker.models) == (4, ("demo",))


def test_speed_of_a_worker_is_that_of_all_its_places_and_changes_slowly(site: Site) -> None:
    for language in ("en", "de"):
        site.submit(SHORT, language=language)
    first, second = site.worker.take(), site.worker.take()
    assert first
    assert second
    together = 2 / site.worker.work(first.id).real_time_factor
    assert site.worker._runner.rate == pytest.approx(together)
    alone = 1 / site.worker.work(second.id).real_time_factor
    rate = site.worker._runner.rate
    assert abs(rate - together) < abs(rate - alone)
    assert min(together, alone) < rate < max(together, alone)


@pytest.mark.parametrize("span_s", [80.0])
def test_part_in_which_the_model_got_no_further_is_told_once(site: Site, script: Script) -> None:
    job = site.submit(LONG, language="en")
    script.skipped = {1: Span(20.0, 21.5)}
    assert site.steps() == 1
    assert len(script.windows) > 2
    (warning,) = site.client.get(job).warnings
    assert (warning.code, warning.start, warning.seconds) == (WarningCode.SKIPPED, 20.0, 1.5)


def test_silence_is_transcribed_only_where_that_was_asked_for(site: Site, script: Script) -> None:
    for vad_filter in ("true", "false"):
        site.submit(SHORT, language="en", vad_filter=vad_filter)
        assert site.step()
    speech, everything = script.windows
    assert everything == (0.0, pytest.approx(SAMPLES["short"].duration_s, abs=0.1))
    assert speech[1] - speech[0] < everything[1] - 0.1


def test_silence_that_no_file_holds_is_no_work() -> None:
    held = sound.recording(np.zeros(5 * RATE, np.float32), holes=[Hole(at=2 * RATE, samples=60 * RATE)])
    spans = [Span(0.0, 1.0), Span(1.0, 63.0), Span(63.0, 65.0), Span(0.0, 65.0)]
    assert [Work(Piece(span, ()), held, "en", whole=False).sound_s for span in spans] == [1.0, 2.0, 2.0, 5.0]


@pytest.mark.parametrize("span_s", [20.0])
def test_spans_of_one_recording_that_begin_together_decode_it_once(
    site: Site, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.submit(LONG, language="en")
    site.step()
    for kept in site.settings.pcm_dir.iterdir():
        kept.unlink()  # as on another host
    decode, touch = site.worker._decoder.decode, sounds_module.touch_and_check
    decoded: list[str] = []
    begun, waited_for = threading.Event(), threading.Event()

    def slowly(*args: Any, **keywords: Any) -> Any:
        decoded.append(threading.current_thread().name)
        begun.set()
        assert waited_for.wait(30)
        return decode(*args, **keywords)

    def touched(held: Any) -> None:
        if threading.current_thread().name == "second":
            waited_for.set()
        touch(held)

    monkeypatch.setattr(site.worker._decoder, "decode", slowly)
    monkeypatch.setattr(sounds_module, "touch_and_check", touched)
    threads = [threading.Thread(target=site.step, name=name) for name in ("first", "second")]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(60)
    assert decoded == ["first"]
    assert len(set(script.windows)) == len(script.windows) == 3


def test_quiet_recording_is_made_louder_only_where_that_was_asked_for(site: Site, script: Script) -> None:
    quiet = audio_files.recording(0.05 * decode(SAMPLES["short"].path, limit_s=60))
    site.submit(quiet, language="en")
    site.step()
    plain, script.loudest = script.loudest, 0.0
    site.submit(quiet, language="en", normalize="true")
    site.step()
    assert plain < 0.06
    assert script.loudest > 2 * plain
