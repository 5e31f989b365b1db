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


def test_webhooks_are_verified(node: str) -> None:
    secret, other = "whsec_" + "MDEy" * 8, "whsec_" + "QUFB" * 8
    now, body = int(time.time()), '{"type":"job.completed"}'
    headers = {"webhook-id": "m", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = signatures([other, secret], "m", now, body.encode())
    old = {**headers, "webhook-timestamp": str(now - 900)}
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
