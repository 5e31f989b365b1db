"""
Takes the pictures of Flower in docs/celery.md: `python -m tests.browser.flower_pictures docs/images`.

A real platform with two workers and the demo model, some jobs of each kind, the Flower that compose starts, and the
Chromium of this machine.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bench.speech.corpus import clips
from demo import SAMPLES
from murmur.client.client import Client
from tests.browser.conftest import NAMES
from tests.integration.test_flower import LIST, flower
from tests.platform import eventually, running_platform

WIDTH, HEIGHT, SCALE = 1900, 620, 0.65
TASKS = 8


def work(client: Client, directory: Path) -> str:
    """Hand in jobs of both classes, cancel one in the middle, and leave one in work; that one's id."""
    short = [clip.path for clip in clips(directory / "short", 5, 8.0, seed=21)]
    long = [clip.path for clip in clips(directory / "long", 3, 300.0, seed=22)]
    done = [
        client.submit(path, language="en", priority="batch" if n % 3 == 2 else "interactive")
        for n, path in enumerate(short)
    ]
    done.append(client.submit(SAMPLES["long"].path))
    for job in done:
        client.wait(job.id, seconds=120)
    canceled = client.submit(long[0], language="en", priority="batch")
    eventually(lambda: client.job(canceled.id).status == "processing", within_s=60)
    client.cancel(canceled.id)
    client.wait(client.submit(long[1], language="en", priority="batch").id, seconds=300)
    running = client.submit(long[2], language="en", priority="batch")
    eventually(lambda: client.job(running.id).status == "processing", within_s=60)
    return running.id


def take(page: Page, url: str, shown: str, path: Path, *, height: int = HEIGHT) -> None:
    """Take one picture when *shown* is there."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(url, wait_until="networkidle")
    try:
        page.get_by_text(shown).locator("visible=true").first.wait_for(timeout=20_000)
    finally:
        page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size >> 10} KB")


def main() -> None:
    """Run everything, and write three pictures."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, NAMES)))
    with (
        tempfile.TemporaryDirectory() as folder,
        running_platform(Path(folder) / "data", workers=2) as platform,
        flower(platform.redis_url) as http,
        platform.client() as client,
        sync_playwright() as playwright,
    ):
        running = work(client, Path(folder))
        eventually(lambda: http.get(LIST).json()["recordsTotal"] >= TASKS, within_s=60, every_s=0.2)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(device_scale_factor=SCALE)
        base = str(http.base_url).rstrip("/")
        take(page, f"{base}/tasks", "murmur.transcribe.batch", target / "flower-tasks.png", height=800)
        take(page, f"{base}/task/{running}-0", "Keyword arguments", target / "flower-task.png", height=900)
        take(page, f"{base}/workers", "w1@", target / "flower-workers.png")
        browser.close()


if __name__ == "__main__":
    main()
