"""Clients that come without pause while something is done to the stack: their answers, and their jobs' ends."""

import itertools
import threading
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Self

import httpx
import numpy as np

from demo import SAMPLES
from murmur.client.events import EventParser
from tests.platform import eventually
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode

PAUSE_S = 0.03
SUBMIT_EVERY_S = 0.5
UPLOAD_S = 6.0
"""How long a slow upload takes."""
PATIENCE_S = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got: its status (0 where the connection failed), when, and after how long."""

    kind: str
    status: int
    at: float
    took_s: float
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was a success."""
        return 200 <= self.status < 300


_FIRST = itertools.count(int(time.time()) % 100_000)


def recordings(sample: str) -> Iterator[bytes]:
    """WAV files that sound like *sample* and are different bytes each: no cache knows them, not even another run's."""
    samples = (decode(SAMPLES[sample].path, limit_s=1000) * 32767).astype(np.int16)
    for number in _FIRST:
        changed = samples.copy()
        changed[number % len(changed)] ^= 1 + number // len(changed)
        file = BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(RATE)
            wav.writeframes(changed.tobytes())
        yield file.getvalue()


class Load:
    """
    Eight clients, one thread each: three look at jobs, one waits for their end, one lists, one submits, one sends
    slowly, one follows events.

    They repeat nothing: a request that fails is counted as one. Only the follower comes back when its stream ends,
    after a second and with `Last-Event-ID`, as every client of event streams does.
    """

    def __init__(self, url: str) -> None:
        self.answers: list[Answer] = []
        self.accepted: dict[str, str] = {}
        """The sample of each job that was accepted."""
        self.resumed = 0
        self.events_doubled = 0
        self._url = url
        self._over = threading.Event()
        looks = [("look", self._look, PAUSE_S)] * 3
        self._threads = [
            threading.Thread(target=self._come, args=client, daemon=True)
            for client in [
                *looks,
                ("list", self._list, PAUSE_S),
                ("wait", self._wait, PAUSE_S),
                ("submit", self._submitter(), SUBMIT_EVERY_S),
                ("upload", self._uploader(), PAUSE_S),
                ("follow", self._follower(), 1.0),
            ]
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        kinds = {"look", "list", "wait", "submit", "upload", "follow"}
        eventually(lambda: {answer.kind for answer in self.answers} >= kinds, within_s=60)
        self.answers.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S + UPLOAD_S)

    def goes_on(self, requests: int) -> None:
        """Wait for so many more answers."""
        before = len(self.answers)
        eventually(lambda: len(self.answers) >= before + requests, within_s=240, every_s=0.2)

    def lost(self, within_s: float = 180) -> list[str]:
        """Accepted jobs that didn't complete with their words."""
        left, wrong = dict(self.accepted), []
        with httpx.Client(base_url=self._url, timeout=PATIENCE_S) as http:

            def settle() -> bool:
                for job in list(left):
                    status = http.get(f"/v1/jobs/{job}").raise_for_status().json()["status"]
                    if status in {"queued", "processing"}:
                        return False
                    sample = left.pop(job)
                    said = http.get(f"/v1/jobs/{job}/result", params={"format": "text"}).text
                    if " ".join(said.split()) != SAMPLES[sample].transcript:
                        wrong.append(f"{job}: {status}, {said!r}")
                return True

            try:
                eventually(settle, within_s=within_s, every_s=1)
            except AssertionError:
                wrong += list(left)
        return wrong

    def _come(self, kind: str, visit: Callable[[httpx.Client], httpx.Response], pause_s: float) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_S) as http:
            while not self._over.wait(pause_s):
                self._ask(kind, http, visit)

    def _ask(self, kind: str, http: httpx.Client, visit: Callable[[httpx.Client], httpx.Response]) -> None:
        began = time.monotonic()
        try:
            answer = visit(http)
            status, detail = answer.status_code, "" if answer.is_success else answer.text[:300]
        except httpx.TransportError as error:
            status, detail = 0, repr(error)
        ended = time.monotonic()
        self.answers.append(Answer(kind, status, ended, ended - began, detail))

    def _look(self, http: httpx.Client) -> httpx.Response:
        jobs = list(self.accepted)[-20:]
        return http.get(f"/v1/jobs/{jobs[int(time.monotonic() * 100) % len(jobs)]}" if jobs else "/health/live")

    def _list(self, http: httpx.Client) -> httpx.Response:
        return http.get("/v1/jobs?limit=5")

    def _wait(self, http: httpx.Client) -> httpx.Response:
        # The long recording, which waits behind all others, or what came last.
        jobs = [job for job, sample in list(self.accepted.items()) if sample == "long"] or list(self.accepted)
        return http.get(f"/v1/jobs/{jobs[-1]}?wait=10" if jobs else "/health/live")

    def _submitter(self) -> Callable[[httpx.Client], httpx.Response]:
        made = recordings("short")

        def submit(http: httpx.Client) -> httpx.Response:
            return self._accepted("short", http.post("/v1/jobs", files={"file": ("short.wav", next(made))}))

        return submit

    def _uploader(self) -> Callable[[httpx.Client], httpx.Response]:
        made = recordings("german")

        def upload(http: httpx.Client) -> httpx.Response:
            body = httpx.Request("POST", self._url, files={"file": ("slow.wav", next(made))})
            whole = body.read()

            def slowly() -> Iterator[bytes]:
                step = len(whole) // 20
                for start in range(0, len(whole), step):
                    yield whole[start : start + step]
                    time.sleep(UPLOAD_S / 20)

            headers = {"Content-Type": body.headers["Content-Type"], "Content-Length": str(len(whole))}
            return self._accepted("german", http.post("/v1/jobs", content=slowly(), headers=headers))

        return upload

    def _accepted(self, sample: str, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            self.accepted[answer.json()["id"]] = sample
        return answer

    def _follower(self) -> Callable[[httpx.Client], httpx.Response]:
        """A long recording that waits behind all others, then the next: nearly always a stream is open."""
        made, state = recordings("long"), {"job": "", "after": ""}
        seen: set[str] = set()

        def follow(http: httpx.Client) -> httpx.Response:
            if not state["job"]:
                sent = {"files": {"file": ("long.wav", next(made))}, "data": {"priority": "batch"}}
                answer = self._accepted("long", http.post("/v1/jobs", **sent))
                if answer.is_success:
                    state.update(job=answer.json()["id"], after="")
                    seen.clear()
                return answer
            headers = {"Last-Event-ID": state["after"]} if state["after"] else {}
            with http.stream("GET", f"/v1/jobs/{state['job']}/events", headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                elif answer.status_code == httpx.codes.NO_CONTENT or self._read(answer, state, seen):
                    state["job"] = ""
                elif not self._over.is_set():
                    self.resumed += 1
                return answer

        return follow

    def _read(self, answer: httpx.Response, state: dict[str, str], seen: set[str]) -> bool:
        """Read a stream to its end, and say whether that was the job's."""
        parser = EventParser()
        try:
            for text in answer.iter_text():
                if self._over.is_set():
                    return False
                for event in parser.feed(text):
                    self.events_doubled += event.id in seen
                    seen.add(event.id)
                    state["after"] = event.id
                    if event.type in {"done", "failed"}:
                        return True
        except httpx.TransportError:
            pass
        return False
