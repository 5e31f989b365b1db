"""The client for browsers and Node, in Node, on the live platform."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from demo import SAMPLES
from tests.platform import TestPlatform, running_platform
from transcription.webhook import signatures

CLIENT = Path(__file__).parents[2] / "clients" / "js" / "murmur.js"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Node: apt-get install nodejs")
        pytest.skip("Node isn't installed")
    return found


def begun(node: str, script: str, *arguments: str) -> subprocess.Popen[str]:
    """A script that has the client's names, `argv`, and prints JSON."""
    head = f"""
        import {{ readFileSync }} from "node:fs";
        import * as client from {json.dumps(str(CLIENT))};
        const {{ Murmur, ApiError, JobEnded, Unreachable, verifyWebhook }} = client;
        const argv = process.argv.slice(1);
        const print = (value) => console.log(JSON.stringify(value));
    """
    argv = [node, "--input-type=module", "-e", head + script, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(node: str, script: str, *arguments: str) -> list[object]:
    """What the script printed."""
    return ended(begun(node, script, *arguments))


def ended(process: subprocess.Popen[str]) -> list[object]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_one_call_transcribes(node: str, platform: TestPlatform) -> None:
    sample = SAMPLES["short"]
    script = """
        const murmur = new Murmur({ url: argv[0] });
        const audio = new Blob([readFileSync(argv[1])]);
        print(await murmur.transcribe(audio, { language: "en", word_timestamps: true }, { filename: "short.flac" }));
        print(await murmur.transcribe(audio, { language: "en" }, { format: "srt" }));
        print((await murmur.jobs({ limit: 1 })).jobs.length);
        print((await murmur.languages()).length > 90 && (await murmur.models()).some((model) => model.default));
    """
    whole, srt, jobs, more = run(node, script, platform.url, str(sample.path))
    assert whole["text"].split() == sample.transcript.split()
    assert whole["segments"][0]["words"]
    assert str(srt).startswith("1\n00:00:00,")
    assert jobs == 1
    assert more is True


def test_refusals_have_codes_and_ended_jobs_are_told_apart(node: str, platform: TestPlatform) -> None:
    script = """
        const murmur = new Murmur({ url: argv[0] });
        for (const act of [() => murmur.job("nope"), () => murmur.submit(new Blob(["dear all"]))])
          await act().catch((error) => print([error instanceof ApiError, error.code, error.status]));
    """
    assert run(node, script, platform.url) == [
        [True, "job_not_found", 404],
        [True, "unsupported_media", 415],
    ]


def test_a_stream_and_a_wait_ride_out_a_killed_api(node: str, tmp_path: Path) -> None:
    sample = SAMPLES["long"]
    script = """
        const murmur = new Murmur({ url: argv[0], patience: 90 });
        const job = await murmur.submit(new Blob([readFileSync(argv[1])]), { language: "en" });
        print(job.id);
        const types = [], texts = [];
        const waited = murmur.wait(job.id);
        for await (const event of murmur.stream(job.id)) {
          types.push(event.type);
          if (event.type === "segment") texts.push(event.data.text);
        }
        print([types.at(-1), texts.join("").trim(), (await waited).status]);
    """
    with running_platform(tmp_path) as mortal:
        os.killpg(mortal.pids()["w1"], signal.SIGSTOP)
        process = begun(node, script, mortal.url, str(sample.path))
        assert process.stdout is not None
        assert len(json.loads(process.stdout.readline())) == 32
        api = mortal.supervisor.process("api")
        assert api is not None
        api.kill()
        os.killpg(mortal.pids()["w1"], signal.SIGCONT)
        deadline = time.monotonic() + 90
        while process.poll() is None and time.monotonic() < deadline:
            mortal.restart_exited()
            time.sleep(0.1)
        ((last, text, status),) = ended(process)
    assert (last, status) == ("done", "completed")
    assert text.split() == sample.transcript.split()


def test_a_platform_that_stays_away_is_unreachable_after_the_patience(node: str) -> None:
    script = """
        const murmur = new Murmur({ url: "http://127.0.0.1:9", patience: 1 });
        await murmur.jobs().catch((error) => print(error instanceof Unreachable));
    """
    assert run(node, script) == [True]


FAKE = """
    const asked = [], rests = [];
    // Answers each request with the next of `answers`, the last one for ever; an Error is thrown.
    const faked = (answers, how = {}) => new Murmur({
      url: "http://murmur/base//", ...how, onRetry: (rest) => rests.push(rest),
      fetch: async (url, init) => {
        const form = init.body instanceof FormData;
        const body = form ? [...init.body].map(([name, one]) => [name, one.name ?? one]) : init.body;
        if (asked.length > 50) {
          print("asked for ever");
          process.exit();
        }
        asked.push([`${init.method ?? "GET"} ${url.replace("http://murmur/base", "")}`, body ?? null, init.headers]);
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        if (answer instanceof Error) throw answer;
        return answer();
      },
    });
    const json = (status, body, headers) => () => new Response(JSON.stringify(body), { status, headers });
    const queued = { id: "j1", status: "queued" };
    const code = (error) => print([error.name, error.code ?? null, error.message]);
"""


def faked(node: str, script: str) -> list[object]:
    """What the script printed, whose client asks nobody."""
    return run(node, FAKE + script)


def test_every_call_asks_for_what_its_name_says(node: str) -> None:
    script = """
        const murmur = faked([json(200, { ...queued, data: [], languages: [] })], { key: "mur_x" });
        await murmur.job("a/b", { wait: 5 });
        await murmur.cancel("j1");
        await murmur.remove("j1");
        await murmur.jobs({ status: "failed", limit: 2, cursor: "" });
        await murmur.result("j1", "json", { partial: true });
        await murmur.models();
        await murmur.languages();
        await murmur.stats();
        await murmur.submit(new URL("https://a/b.mp3"), { language: "de", model: null });
        print(asked.map(([what, body]) => [what, body]));
        print([...new Set(asked.map(([, , headers]) => headers.Authorization))]);
    """
    asked, keys = faked(node, script)
    assert asked == [
        ["GET /v1/jobs/a%2Fb?wait=5", None],
        ["POST /v1/jobs/j1/cancel", None],
        ["DELETE /v1/jobs/j1", None],
        ["GET /v1/jobs?status=failed&limit=2", None],
        ["GET /v1/jobs/j1/result?format=json&partial=true", None],
        ["GET /v1/models", None],
        ["GET /v1/languages", None],
        ["GET /stats", None],
        ["POST /v1/jobs", '{"language":"de","url":"https://a/b.mp3"}'],
    ]
    assert keys == ["Bearer mur_x"]


def test_every_try_of_a_submit_is_the_same_and_comes_when_the_platform_says(node: str) -> None:
    script = """
        const murmur = faked([json(503, {}, { "retry-after": "0.02" }), json(429, {}), json(202, queued)]);
        const options = { languages: ["de", "en"], diarize: true, known_speakers: { Anna: "data:x" }, prompt: null };
        await murmur.submit(new Uint8Array([1, 2]), options, { filename: "call.wav" });
        await murmur.submit(new File(["x"], "talk.mp3"), {}, { idempotencyKey: "mine" });
        print(asked.map(([, body]) => body));
        print(asked.map(([, , headers]) => headers["Idempotency-Key"]));
        print(rests);
    """
    bodies, keys, rests = faked(node, script)
    first = [
        ["languages", "de"], ["languages", "en"], ["diarize", "true"], ["known_speakers", '{"Anna":"data:x"}'],
        ["file", "call.wav"],
    ]  # fmt: skip
    assert bodies == [first, first, first, [["file", "talk.mp3"]]]
    assert len(keys[0]) == 32
    assert keys == [keys[0]] * 3 + ["mine"]
    assert rests[0] == 0.02
    assert 0.75 <= rests[1] <= 1.25, "the second pause is twice the first"


def test_refusals_are_told_at_once_and_whole_and_busy_platforms_for_as_long_as_the_patience(node: str) -> None:
    script = """
        const wrong = { code: "invalid_option", detail: "beam_size: 0" };
        await faked([json(422, wrong, { "x-request-id": "r1" })]).job("j1").catch((error) => {
          code(error);
          print([error.status, error.requestId, error.retryAfter]);
        });
        await faked([json(400, { error: { code: "model_not_found", message: "no such" } })]).job("j1").catch(code);
        await faked([() => new Response("<h1>", { status: 500 })]).job("j1").catch(code);
        const full = json(503, { code: "queue_full" }, { "retry-after": "0.2" });
        await faked([full], { patience: 0.1 }).job("j1").catch((error) => {
          code(error);
          print(error.retryAfter);
        });
        print([asked.length, rests.length]);
        await faked([new TypeError("refused")], { patience: 0 }).job("j1").catch(code);
        const ended = { ...queued, status: "failed", error: { message: "no sound" } };
        await faked([json(200, queued), json(200, ended)]).wait("j1").catch(code);
        await faked([json(200, { ...queued, status: "canceled" })]).wait("j1").catch(code);
        print((await faked([json(200, queued), json(200, { ...queued, status: "completed" })]).wait("j1")).status);
        print(await faked([() => new Response("1\\n")]).result("j1", "srt"));
        const page = () => new Response("<h1>", { headers: { "content-type": "text/html" } });
        await faked([page]).job("j1").catch(code);
        await faked([page]).result("j1").catch(code);
    """
    page = ["ApiError", "unexpected_answer", "the answer isn't a platform's (text/html)"]
    assert faked(node, script) == [
        ["ApiError", "invalid_option", "beam_size: 0"],
        [422, "r1", None],
        ["ApiError", "model_not_found", "no such"],
        ["ApiError", "http_500", "status 500"],
        ["ApiError", "queue_full", "status 503"],
        0.2,
        [4, 0],
        ["Unreachable", None, "no answer from the platform: refused"],
        ["JobEnded", None, "no sound"],
        ["JobEnded", None, "job j1 is canceled"],
        "completed",
        "1\n",
        page,
        page,
    ]


def test_a_stream_is_taken_up_after_its_last_whole_event_and_ends_with_the_job(node: str) -> None:
    script = r"""
        const text = (words) => [...new TextEncoder().encode(words)].map((one) => Uint8Array.of(one));
        const sent = (words) => () => new Response(new ReadableStream({
          start(to) {
            for (const one of text(words)) to.enqueue(one);
            to.close();
          },
        }));
        const broken = sent(': hi\n\nid: 1\nevent: segment\ndata: {"text": "ü"}\n\nid: 2\nev');
        const last = sent('id: 2\nevent: error\ndata: {"code": "boom"}\n\nid: 3\nevent: x\ndata: {}\n\n');
        const murmur = faked([broken, json(503, {}, { "retry-after": "0" }), last]);
        for await (const event of murmur.stream("j1")) print(event);
        print(asked.map(([what, , headers]) => [what, headers["Last-Event-ID"] ?? null]));
        const over = faked([() => new Response(null, { status: 204 })], { patience: 1 });
        for await (const event of over.stream("j1", { after: "9" })) print(event);
        print(asked.at(-1)[2]["Last-Event-ID"]);
        await faked([json(404, { code: "job_not_found" })]).stream("j1").next().catch(code);
    """
    events = "GET /v1/jobs/j1/events"
    assert faked(node, script) == [
        {"id": "1", "type": "segment", "data": {"text": "ü"}},
        {"id": "2", "type": "failed", "data": {"code": "boom"}},
        [[events, None], [events, "1"], [events, "1"]],
        "9",
        ["ApiError", "job_not_found", "status 404"],
    ]


def test_patience_is_counted_from_the_first_failure_without_what_lasts_long(node: str) -> None:
    script = """
        let clock = 0;
        performance.now = () => clock * 1000;
        const after = (seconds, answer) => () => {
          clock += seconds;
          return answer();
        };
        const busy = json(503, {}, { "retry-after": "0.001" });
        print((await faked([after(70, busy), after(70, busy), json(202, queued)]).submit(new Uint8Array(1))).id);
        const broken = () => new Response(new ReadableStream({
          pull(to) {
            clock += 300;
            to.error(new TypeError("broken"));
          },
        }));
        for await (const event of faked([broken, () => new Response(null, { status: 204 })]).stream("j1")) print(event);
        const begun = asked.length;
        await faked([after(10, busy)]).job("j1").catch(code);
        print(asked.length - begun);
    """
    assert faked(node, script) == ["j1", ["ApiError", "http_503", "status 503"], 7]


def test_who_gives_up_waits_for_nothing_more(node: str) -> None:
    script = """
        const giving = new AbortController();
        const murmur = faked([json(503, {}, { "retry-after": "50" })]);
        const waiting = murmur.job("j1", { signal: giving.signal }).catch((error) => print(error.name));
        setTimeout(() => giving.abort(), 10);
        await waiting;
        await murmur.job("j1", { signal: giving.signal }).catch((error) => print(error.name));
        print(asked.length);
    """
    began = time.monotonic()
    assert faked(node, script) == ["AbortError", "ApiError", 2]
    assert time.monotonic() - began < 40, "it waited the whole pause out"


def test_webhooks_are_verified(node: str) -> None:
    secret, other = "whsec_" + "MDEy" * 8, "whsec_" + "QUFB" * 8
    now, body = int(time.time()), '{"type":"job.completed"}'
    headers = {"webhook-id": "m", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = signatures([other, secret], "m", now, body.encode())
    old = {**headers, "webhook-timestamp": str(now - 900)}
    old["webhook-signature"] = signatures([secret], "m", now - 900, body.encode())
    script = """
        const [body, headers, old, secret] = argv.map((one, index) => (index % 3 ? JSON.parse(one) : one));
        print(await verifyWebhook(body, headers, secret));
        print(await verifyWebhook(body, new Headers(headers), secret));
        print(await verifyWebhook(body + " ", headers, secret));
        print(await verifyWebhook(body, headers, "whsec_AAAA"));
        print(await verifyWebhook(body, old, secret));
    """
    got = run(node, script, body, json.dumps(headers), json.dumps(old), secret)
    assert got == [True, True, False, False, False]


BROWSER = """
    const sent = [];
    // What a browser does, as far as it is asked: it tells of progress, and answers with the next of `answers`.
    globalThis.XMLHttpRequest = class {
      upload = {};
      headers = {};
      open(method, url) {
        sent.push([method, url]);
      }
      setRequestHeader(name, value) {
        this.headers[name] = value;
      }
      getResponseHeader(name) {
        return this.known[name] ?? null;
      }
      abort() {
        this.onabort();
      }
      send(body) {
        sent.push([this.headers["Idempotency-Key"], this.headers.Authorization, body.get("file").name]);
        this.upload.onprogress({ loaded: 1, total: 3 });
        const answer = answers.shift();
        if (!answer) return; // it takes long
        [this.status, this.responseText, this.known] = answer;
        setTimeout(() => (this.status ? this.onload() : this.onerror()), 0);
      }
    };
    const told = [];
    const how = { onProgress: (...seen) => told.push(seen), filename: "call.wav", idempotencyKey: "mine" };
"""


def test_an_upload_that_is_watched_is_tried_again_refused_and_accepted_like_any_other(node: str) -> None:
    script = """
        const answers = [[0], [503, "{}", { "retry-after": "0.02" }], [202, '{"id": "j1"}', {}]];
        const murmur = faked([], { key: "mur_x" });
        print(await murmur.submit(new Uint8Array(3), {}, how));
        print([sent, told]);
        print([rests[0] < 1, rests[1]]);
        answers.push([422, '{"code": "empty_audio", "detail": "no"}', { "x-request-id": "r1" }]);
        await murmur.submit(new Uint8Array(3), {}, how).catch((error) => {
          code(error);
          print([error.status, error.requestId, error.retryAfter]);
        });
        print(asked.length);
    """
    one_try = [["POST", "http://murmur/base/v1/jobs"], ["mine", "Bearer mur_x", "call.wav"]]
    assert faked(node, BROWSER + script) == [
        {"id": "j1"},
        [one_try * 3, [[1, 3]] * 3],
        [True, 0.02],
        ["ApiError", "empty_audio", "no"],
        [422, "r1", None],
        0,
    ]


def test_an_upload_that_is_watched_ends_when_it_is_given_up_and_is_not_begun_after_that(node: str) -> None:
    script = """
        const answers = [];
        const giving = new AbortController();
        const waiting = faked([]).submit(new Uint8Array(3), {}, { ...how, signal: giving.signal });
        setTimeout(() => giving.abort(), 10);
        await waiting.catch((error) => print(error.name));
        const begun = sent.length;
        await faked([]).submit(new Uint8Array(3), {}, { ...how, signal: giving.signal })
          .catch((error) => print(error.name));
        print(sent.length - begun);
    """
    assert faked(node, BROWSER + script) == ["AbortError", "AbortError", 0]
