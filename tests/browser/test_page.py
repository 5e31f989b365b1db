"""The page as a person uses it, in a real browser, on the live platform."""

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Request, expect

from demo import DIALOGUE, SAMPLES
from tests.browser.faked_platform import FakedPlatform
from tests.live_api import live_api
from tests.platform import TestPlatform, eventually, running_platform
from tests.secured_api import settings_for

LONG = SAMPLES["long"]


def send(page: Page, url: str, *recordings: Path | str | dict) -> None:
    page.goto(url)
    page.set_input_files("#picker", recordings[0] if len(recordings) == 1 else list(recordings))


def fresh(name: str, seed: int) -> dict:
    """The long recording with other bytes in its last frames' padding, so that it is computed anew."""
    recording = LONG.path.read_bytes()
    return {"name": name, "mimeType": "audio/flac", "buffer": recording + seed.to_bytes(8, "big")}


def test_a_recording_is_sent_read_heard_edited_and_taken_along(platform: TestPlatform, page: Page) -> None:
    send(page, platform.url, LONG.path)
    expect(page.get_by_role("heading", level=1)).to_have_text(LONG.path.name)
    assert re.search(r"#/jobs/[0-9a-f]{32}$", page.url)
    expect(page.get_by_role("button", name="Download")).to_be_visible()
    assert " ".join(page.locator(".segment .text").all_inner_texts()).split() == LONG.transcript.split()

    # A click on a word plays from there, and words light up as they are spoken.
    word = page.locator(".segment").nth(4).locator(".word").nth(1)
    start = float(word.get_attribute("data-start") or "nan")
    word.click()
    expect(page.locator(".word.now")).to_have_count(1)
    lit = page.locator(".word.now").inner_text()
    expect(page.locator(".word.now")).not_to_have_text(lit)
    assert page.evaluate("document.querySelector('audio').currentTime") >= start
    page.locator("h1").click()
    page.keyboard.press("Space")
    assert page.evaluate("document.querySelector('audio').paused")

    page.get_by_role("button", name="Edit the segment at 0:01").click()
    page.locator("textarea:visible").fill("The meeting really starts at ten.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".segment").nth(1).locator(".text")).to_have_text("The meeting really starts at ten.")
    files = {name: download(page, name) for name in ("text", "srt", "vtt", "json")}
    for text in files.values():
        assert "really starts at ten." in text
        assert "o'clock" not in text
    assert files["srt"].startswith("1\n00:00:00,")
    assert files["vtt"].startswith("WEBVTT\n")
    data = json.loads(files["json"])
    words = data["segments"][1]["words"]
    assert [word["word"].strip() for word in words] == ["The", "meeting", "really", "starts", "at", "ten."]
    assert all(word["start"] <= word["end"] for word in words)
    assert [word["start"] for word in words] == sorted(word["start"] for word in words)

    page.reload()
    expect(page.locator(".segment").nth(1).locator(".text")).to_have_text("The meeting really starts at ten.")
    expect(page.locator("audio")).to_be_visible()  # the browser kept the recording


def download(page: Page, form: str) -> str:
    page.get_by_label("Format").select_option(form)
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download").click()
    return Path(coming.value.path()).read_text(encoding="utf-8")


def test_untouched_downloads_are_what_the_api_writes(platform: TestPlatform, page: Page) -> None:
    send(page, platform.url, SAMPLES["short"].path)
    expect(page.get_by_role("button", name="Download")).to_be_visible()
    job = page.url.rpartition("/")[2]
    for form in ("text", "srt", "vtt"):
        answer = httpx.get(f"{platform.url}/v1/jobs/{job}/result", params={"format": form})
        assert download(page, form) == answer.text


def test_who_speaks_is_shown_in_colours_and_taken_along(platform: TestPlatform, page: Page) -> None:
    page.goto(platform.url)
    page.get_by_text("More options").click()
    page.get_by_label("Say who speaks").check()
    page.set_input_files("#picker", DIALOGUE.path)
    expect(page.get_by_role("button", name="Download")).to_be_visible()
    expect(page.locator(".segment .speaker").first).to_have_text("A")
    names = page.locator(".segment .speaker")
    assert set(names.all_inner_texts()) == {"A", "B"}
    colours = names.evaluate_all("all => [...new Set(all.map((one) => getComputedStyle(one).color))]")
    assert len(colours) == 2
    job = page.url.rpartition("/")[2]
    for form in ("text", "srt", "vtt"):
        answer = httpx.get(f"{platform.url}/v1/jobs/{job}/result", params={"format": form})
        assert download(page, form) == answer.text
        assert "<v B>" in answer.text if form == "vtt" else "B: " in answer.text


def test_segments_appear_while_the_recording_is_computed_and_a_reload_goes_on(tmp_path: Path, page: Page) -> None:
    with running_platform(tmp_path) as slow:
        os.killpg(slow.pids()["w1"], signal.SIGSTOP)
        send(page, slow.url, fresh("slow.flac", 1))
        expect(page.locator(".status.queued")).to_contain_text("queue")
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("slow.flac")
        expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible()
        came: list[float] = []
        page.expose_function("cameLive", lambda: came.append(time.monotonic()))
        page.evaluate(
            "new MutationObserver(() => document.querySelector('.fresh') && cameLive())"
            ".observe(document.querySelector('.segments'), {childList: true})"
        )
        os.killpg(slow.pids()["w1"], signal.SIGCONT)
        eventually(lambda: page.get_by_role("button", name="Download").is_visible(), 60, every_s=0.2)
        assert came, "no segment was shown before the transcript was whole"
        assert " ".join(page.locator(".segment .text").all_inner_texts()).split() == LONG.transcript.split()


def test_the_page_goes_on_by_itself_when_the_api_was_killed_and_came_back(tmp_path: Path, page: Page) -> None:
    with running_platform(tmp_path) as mortal:
        os.killpg(mortal.pids()["w1"], signal.SIGSTOP)
        send(page, mortal.url, fresh("api-killed.flac", 2))
        expect(page.get_by_role("heading", level=1)).to_have_text("api-killed.flac")
        process = mortal.supervisor.process("api")
        assert process is not None
        process.kill()
        expect(page.locator("#connection")).to_contain_text("can't be reached")
        os.killpg(mortal.pids()["w1"], signal.SIGCONT)
        eventually(
            lambda: mortal.restart_exited() or page.get_by_role("button", name="Download").is_visible(), 90, every_s=0.2
        )
        expect(page.locator("#connection")).to_be_hidden()
        assert " ".join(page.locator(".segment .text").all_inner_texts()).split() == LONG.transcript.split()


def test_several_files_become_jobs_that_can_be_searched_and_deleted(platform: TestPlatform, page: Page) -> None:
    send(page, platform.url, fresh("first talk.flac", 3), fresh("second talk.flac", 4))
    rows = page.locator(".jobs li")
    expect(rows.filter(has_text="first talk.flac")).to_contain_text("Done")
    expect(rows.filter(has_text="second talk.flac")).to_contain_text("Done")
    page.get_by_label("Search jobs by name").fill("second")
    expect(rows).to_have_count(1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete second talk.flac").click()
    expect(rows).to_have_count(0)
    page.reload()
    expect(rows.filter(has_text="first talk.flac")).to_be_visible()
    expect(rows.filter(has_text="second talk.flac")).to_have_count(0)


def test_an_upload_shows_how_far_it_is_and_can_be_given_up(platform: TestPlatform, page: Page, tmp_path: Path) -> None:
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 30_000}
    page.goto(platform.url)
    expect(page.get_by_text("No jobs yet.").or_(page.locator(".jobs li").first)).to_be_visible()
    network = page.context.new_cdp_session(page)
    network.send("Network.emulateNetworkConditions", slow)
    longer_than_any_test = tmp_path / "never sent.flac"
    longer_than_any_test.write_bytes(bytes(5_000_000))
    page.set_input_files("#picker", [longer_than_any_test])
    expect(page.locator(".upload .said")).to_have_text(re.compile(r"^[1-9]\d? %$"))
    page.get_by_role("button", name="Cancel the upload of never sent.flac").click()
    expect(page.locator(".upload")).to_contain_text("Canceled.")
    with platform.client() as client:
        assert not [job for job in client.jobs().jobs if job.audio.filename == longer_than_any_test.name]


def test_a_file_that_is_no_recording_is_refused_in_words_that_help(platform: TestPlatform, page: Page) -> None:
    send(page, platform.url, {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"dear all\n" * 99})
    expect(page.locator(".upload.bad")).to_contain_text("Choose an audio or video file")
    expect(page.get_by_role("button", name="Send letter.txt again")).to_be_visible()


def test_the_microphone_makes_a_job(platform: TestPlatform, page: Page) -> None:
    page.goto(platform.url)
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_role("button", name=re.compile("Stop 0:0[1-9]"))).to_be_visible()
    page.get_by_role("button", name=re.compile("Stop")).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^Recording .*\.webm$"))
    expect(page.locator(".status.completed")).to_be_visible()


def test_where_keys_are_on_the_page_asks_for_one(redis_url: str, tmp_path: Path, page: Page) -> None:
    with live_api(settings_for(redis_url, tmp_path)) as locked:
        page.goto(str(locked.base_url))
        dialog = page.get_by_role("dialog", name="API key")
        expect(dialog).to_be_visible()
        dialog.get_by_label("Key", exact=True).fill("mur_wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("doesn't know the key")


def test_the_fleet_shows_workers_and_queue(platform: TestPlatform, page: Page) -> None:
    page.goto(f"{platform.url}/#/fleet")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("faster_whisper")
    expect(page.locator(".tiles")).to_contain_text("From the cache")


# Contrast is a theme's, and what overlaps a width's: every pair of them shows no more.
@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1200, "dark")])
def test_no_view_has_a_fault_that_axe_knows(
    platform: TestPlatform, page: Page, width: int, theme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 800})
    send(page, platform.url, LONG.path)
    expect(page.get_by_role("button", name="Download")).to_be_visible()
    page.locator(".edit").nth(2).focus()
    page.keyboard.press("Enter")
    check(page)
    page.goto(f"{platform.url}/#/")
    expect(page.locator(".jobs li").first).to_be_visible()
    page.get_by_text("More options").click()
    check(page)
    page.get_by_role("button", name="API key").click()
    check(page)
    page.keyboard.press("Escape")
    page.goto(f"{platform.url}/#/fleet")
    expect(page.locator("tbody tr").first).to_be_visible()
    check(page)


def check(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert not found, json.dumps([(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found], indent=1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"


def test_everything_can_be_reached_by_keyboard(platform: TestPlatform, page: Page) -> None:
    page.goto(platform.url)
    expect(page.get_by_role("combobox", name="Language")).to_be_visible()
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("(document.activeElement.ariaLabel || document.activeElement.textContent).trim()"))
    assert {"Skip to the content", "Fleet", "API key", "Choose recordings", "Record", "More options"} <= reached


def test_the_page_asks_nothing_of_anybody_else(platform: TestPlatform, page: Page) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    send(page, platform.url, SAMPLES["short"].path)
    expect(page.get_by_role("button", name="Download")).to_be_visible()
    assert asked
    assert not [url for url in asked if not url.startswith((platform.url, "blob:"))]
    policy = httpx.get(platform.url, headers={"Accept": "text/html"}).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_programs_get_addresses_where_browsers_get_the_page(platform: TestPlatform) -> None:
    found = httpx.get(platform.url)
    assert found.headers["content-type"] == "application/json"
    for name in ("jobs", "models", "health", "docs", "openapi"):
        assert httpx.get(platform.url + found.json()[name]).status_code == 200
    page = httpx.get(platform.url, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "Accept" in page.headers["vary"]


JOB = {
    "id": "j1", "status": "completed", "model": "base", "language": "en", "cached": False, "compute_s": 2.0,
    "progress": {"fraction": 1.0}, "warnings": [],
    "audio": {"filename": "talk.mp3", "duration_s": 20.0},
}  # fmt: skip
NO_SOUND = {"code": "corrupt_audio", "message": "no sound in it"}


@pytest.fixture
def faked(page: Page) -> FakedPlatform:
    return FakedPlatform(page)


@pytest.mark.parametrize(
    ("job", "said", "cancellable"),
    [
        (JOB | {"status": "failed", "error": NO_SOUND}, "No sound in it. Check that the recording plays", False),
        (JOB | {"status": "expired"}, "isn't kept any more. Send the recording again.", False),
        (JOB | {"status": "canceled"}, "Canceled", False),
        (JOB | {"status": "completed", "cached": True}, "Done at once: this recording was known", False),
        (JOB | {"status": "completed"}, "Done in 2 s of computing", False),
        (JOB | {"status": "queued", "queue": {"position": 3, "eta_s": 75}}, "Number 3 in the queue, starts in", True),
        (JOB | {"status": "processing", "progress": {"fraction": 0.42}}, "Transcribing, 42 %", True),
        (None, "There is no such job. It may have been deleted", False),
    ],
    ids=lambda value: value and value["status"] if isinstance(value, dict) else "",
)
def test_a_job_says_how_it_is_and_can_be_canceled_while_that_makes_sense(
    faked: FakedPlatform, page: Page, job: dict[str, Any] | None, said: str, *, cancellable: bool
) -> None:
    faked.job, faked.result = job, {"segments": [], "language": "en"}
    faked.open()
    expect(page.locator("p.status")).to_contain_text(said)
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_visible(visible=cancellable)


def spoken(start: float, text: str, **more: Any) -> dict[str, Any]:
    """A segment of a second."""
    return {"start": start, "end": start + 1.0, "text": f" {text}", **more}


def test_live_segments_stand_in_the_order_of_time_and_what_is_lacking_is_said_once(
    faked: FakedPlatform, page: Page
) -> None:
    jobs = [JOB | {"status": "queued", "queue": {"position": 1}}, JOB | {"status": "processing"}]
    faked.job = lambda: jobs.pop(0) if len(jobs) > 1 else jobs[0]
    damaged = {"code": "damaged", "message": "part of it is lost"}
    faked.events = [
        ("status", {"status": "processing"}), ("segment", spoken(9.0, "third")), ("segment", spoken(1.0, "first")),
        ("warning", damaged), ("segment", spoken(5.0, "second")), ("warning", damaged),
    ]  # fmt: skip
    faked.open()
    expect(page.locator(".segments.live .text")).to_have_text(["first", "second", "third"])
    expect(page.locator(".notes li")).to_have_text(["part of it is lost"])
    assert "GET /v1/jobs/j1/result" not in faked.asked
    # Whoever looks again sees the end.
    jobs[:] = [JOB | {"warnings": [damaged]}]
    faked.result = {"segments": [spoken(1.0, "first"), spoken(5.0, "second")], "warnings": [damaged]}
    page.reload()
    expect(page.locator(".segments:not(.live) .text")).to_have_text(["first", "second"])
    expect(page.locator(".notes li")).to_have_text(["part of it is lost"])


def test_where_a_job_waits_is_asked_again(faked: FakedPlatform, page: Page) -> None:
    places = [4, 4, 2]
    faked.job = lambda: JOB | {
        "status": "queued", "queue": {"position": places.pop(0) if len(places) > 1 else places[0]},
    }  # fmt: skip
    faked.open()
    expect(page.locator("p.status")).to_have_text("Number 2 in the queue")


def test_older_jobs_that_are_shown_move_and_go_like_the_newest(faked: FakedPlatform, page: Page) -> None:
    def job(number: int, status: str = "completed") -> dict[str, Any]:
        named = {"filename": f"talk {number}.mp3", "duration_s": 20.0}
        return JOB | {"id": f"j{number}", "status": status, "created_at": f"{3000 - number}-01-01", "audio": named}

    faked.jobs = [job(number, "processing" if number == 60 else "completed") for number in range(120)]
    page.clock.install()
    faked.open("#/")
    rows, more = page.locator(".jobs li"), page.get_by_role("button", name="Show older jobs")
    expect(rows).to_have_count(50)
    for shown in (100, 120):
        more.click()
        expect(rows).to_have_count(shown)
    expect(more).to_be_hidden()
    expect(rows.nth(60)).to_contain_text("Transcribing")
    faked.jobs[60] = job(60)
    del faked.jobs[110]
    page.clock.run_for(2_000)
    expect(rows).to_have_count(119)
    expect(rows.nth(60)).to_contain_text("Done")
    expect(more).to_be_hidden()
    # Nothing moves any more: nothing is asked.
    looks = faked.asked.count("GET /v1/jobs")
    page.clock.run_for(10_000)
    page.evaluate("fetch('/v1/jobs/j1/result').then((answer) => answer.text())")
    assert faked.asked.count("GET /v1/jobs") == looks


def test_texts_are_mended_and_given_up_and_belong_to_their_job_until_it_is_deleted(
    faked: FakedPlatform, page: Page
) -> None:
    word = {"word": " seven", "start": 5.0, "end": 6.0, "probability": 0.2}
    first, second = spoken(1.0, "one", speaker="A"), spoken(5.0, "seven", speaker="B", words=[word])
    faked.job, faked.result = JOB, {"segments": [first, second], "language": "en"}
    faked.open()
    expect(page.locator(".segment")).to_have_count(2)
    assert page.locator(".segment").evaluate_all("all => all.map((one) => one.dataset.speaker)") == ["0", "1"]
    expect(page.locator(".word.unsure")).to_have_attribute("title", "20 % sure")
    page.get_by_label("Mark unsure words").uncheck()
    expect(page.locator(".segments.no-doubts")).to_have_count(1)

    def mended(text: str, key: str) -> None:
        page.get_by_role("button", name="Edit the segment at 0:01").click()
        page.locator("textarea").fill(text)
        page.keyboard.press(key)

    mended("two", "Escape")
    expect(page.locator(".segment .text")).to_have_text(["one", "seven"])
    mended("two", "Control+Enter")
    expect(page.locator(".segment .text")).to_have_text(["two", "seven"])
    assert page.evaluate("localStorage.getItem('murmur.edits.j1')") == '{"0":"two"}'
    page.reload()
    expect(page.locator(".segment.edited .text")).to_have_text(["two"])
    mended("one", "Control+Enter")
    expect(page.locator(".segment.edited")).to_have_count(0)
    assert page.evaluate("localStorage.getItem('murmur.edits.j1')") is None
    mended("three", "Control+Enter")
    page.get_by_label("Format").select_option("srt")
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download").click()
    assert coming.value.suggested_filename == "talk.srt"
    assert "three" in Path(coming.value.path()).read_text()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete").click()
    assert not [one for one in faked.asked if one.startswith("DELETE")]
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/#/")
    assert "DELETE /v1/jobs/j1" in faked.asked
    assert page.evaluate("localStorage.getItem('murmur.edits.j1')") is None


def timed(text: str, *ends: float, at: float = 1.0) -> dict[str, Any]:
    """A segment whose words, divided by ``|``, end so many seconds after *at*."""
    words = [
        {"word": word, "start": at + start, "end": at + end, "probability": 0.9}
        for word, start, end in zip(text.split("|"), (0.0, *ends), ends, strict=False)
    ]
    return {"start": at, "end": at + ends[-1], "text": text.replace("|", ""), "words": words}


@pytest.mark.parametrize(
    ("segment", "mended", "words"),
    [
        (timed(" thank| you| all.", 1, 2, 4), "thank him all.", [(" thank", 1), (" him", 2), (" all.", 3)]),
        (timed(" thank| you| all.", 1, 2, 4), "thank you al", [(" thank", 1), (" you", 2), (" al", 3)]),
        (timed(" thank| you| all.", 1, 2, 4), "you all.", [(" you", 2), (" all.", 3)]),
        (timed("你|好|吗？|很|好。", 1, 2, 3, 4, 5), "你好吗？很坏。",
         [("你", 1), ("好", 2), ("吗？", 3), ("很", 4), ("坏。", 5)]),
        (timed("你好|吗？|很好|啊。", 2, 3, 4, 5), "您好吗？很好啊。",
         [("您", 1), ("好", 2), ("吗？", 3), ("很好", 4), ("啊。", 5)]),
        (timed("我|用| i|Phone|。", 1, 2, 3, 4, 5), "你用 iPhone。",
         [("你", 1), ("用", 2), (" i", 3), ("Phone", 4), ("。", 5)]),
        (timed("ที่|นี่|ดี", 1, 2, 3), "ที่โน่นดี", [("ที่", 1), ("โ", 2), ("น่", 2.25), ("น", 2.75), ("ดี", 3)]),
    ],
)  # fmt: skip
def test_words_that_an_edit_leaves_alone_keep_their_times_with_and_without_spaces(
    faked: FakedPlatform, page: Page, segment: dict[str, Any], mended: str, words: list[tuple[str, float]]
) -> None:
    faked.open("#/")
    script = "async ([segment, text]) => (await import('/web/formats.js')).retimed(segment, text)"
    found = page.evaluate(script, [segment, mended])
    assert [(word["word"], word["start"]) for word in found["words"]] == words
    assert found["text"] == "".join(word for word, _ in words)
    assert found["text"].strip() == mended


def test_an_edit_puts_a_space_before_a_text_that_had_one_alone(faked: FakedPlatform, page: Page) -> None:
    faked.open("#/")
    script = "async ([text, other]) => (await import('/web/formats.js')).retimed({ text }, other).text"
    assert page.evaluate(script, [" seven", "eight"]) == " eight"
    assert page.evaluate(script, ["七。", "八。"]) == "八。"


def test_deleted_text_is_in_no_file(faked: FakedPlatform, page: Page) -> None:
    deleted, kept = timed(" thanks| all", 1, 2) | {"speaker": "A"}, spoken(5.0, "seven", speaker="B")
    faked.job, faked.result = JOB, {"segments": [deleted, kept], "language": "en"}
    faked.open()
    page.get_by_role("button", name="Edit the segment at 0:01").click()
    page.locator("textarea").fill("")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".segment .text")).to_have_text(["", "seven"])
    assert download(page, "text") == "B: seven\n"
    assert download(page, "srt") == "1\n00:00:05,000 --> 00:00:06,000\nB: seven\n"
    assert download(page, "vtt") == "WEBVTT\n\n00:00:05.000 --> 00:00:06.000\n<v B>seven\n"
    assert [one["text"] for one in json.loads(download(page, "json"))["segments"]] == [" seven"]


def test_a_recording_in_which_nobody_speaks_is_said_to_be_one(faked: FakedPlatform, page: Page) -> None:
    faked.job, faked.result = JOB, {"segments": [], "language": "en"}
    faked.open()
    expect(page.locator(".transcript")).to_contain_text("No speech was found in this recording.")
