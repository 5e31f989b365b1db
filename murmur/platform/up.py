"""`murmur up`: the platform on this machine, in the foreground."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from murmur.client.client import Client
from murmur.client.errors import ApiError
from murmur.platform import allocator
from murmur.platform.data_dir import claimed
from murmur.platform.environment import absolute, exported
from murmur.platform.local import ROOT, LocalPlatform, PlatformConfig
from murmur.platform.preflight import check_port, model_name
from murmur.platform.terminal import Terminal
from transcription.models import CHECKPOINTS
from transcription.settings import Settings
from transcription.storage import model_hub

READY_S = 120.0
POLL_INTERVAL_S = 0.1
NO_HUB = """\
The hub that models come from can't be reached, and none has been fetched.
The built-in demo model runs instead. It understands only a toy vocabulary,
spoken by espeak-ng: whatever else you send it comes back as nonsense.
For real speech go online and start again, or name a directory: --model PATH"""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_S = 1.0


def up(settings: Settings, layout: PlatformConfig, terminal: Terminal) -> None:
    """
    Run the platform until it is told to stop.

    Raises:
        CliError: it can't start, or a part of it can't live.
    """
    with contextlib.suppress(KeyboardInterrupt), running(settings, layout, terminal) as platform:
        platform.until_ready(READY_S)
        terminal.panel(banner(platform))
        while True:
            platform.restart_exited()
            time.sleep(POLL_INTERVAL_S)


@contextmanager
def running(settings: Settings, layout: PlatformConfig, terminal: Terminal) -> Iterator[LocalPlatform]:
    """
    Start the platform's processes, and stop them in order at the block's end.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; everything has then been stopped. The next one, while that goes
            on, kills what is left.
        CliError: something is wrong beforehand.
    """
    settings = resolved(settings)
    check_port(layout.host, layout.port)
    with claimed(settings.data_dir) as lock:
        settings = with_model(settings, terminal)
        platform = LocalPlatform(settings, layout, sink=terminal.line, say=terminal.say, lock=lock)
        signals = Signals(platform.supervisor.kill)
        try:
            platform.start()
            yield platform
        except KeyboardInterrupt:
            signals.about_to_end()
            terminal.say("stopping; Ctrl-C again kills everything")
            raise
        finally:
            signals.about_to_end()
            platform.stop()
            signals.restore()


class Signals:
    """
    What the signals that end a program do: the first interrupts it, every other one calls *kill* and is the end.

    Python loses what a handler raises while an object is destroyed or a weak reference called back. So the program is
    interrupted again, every second, until it says that it is about to end.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self._received = self._about_to_end = False
        self._kill = kill
        self._before = {number: signal.signal(number, self._receive) for number in ENDING}
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._interrupt)

    def about_to_end(self) -> None:
        """Interrupt no more; whatever signal comes now is the end."""
        self._received = self._about_to_end = True
        signal.setitimer(signal.ITIMER_REAL, 0)

    def restore(self) -> None:
        """Do again what was done before."""
        self.about_to_end()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._received:
            self._kill()
            os._exit(128 + number)
        self._received = True
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
        raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        if not self._about_to_end:
            raise KeyboardInterrupt


def resolved(settings: Settings) -> Settings:
    """The settings with absolute paths, since children run elsewhere, and log lines that people can read. CliError."""
    changes: dict[str, object] = {
        "data_dir": absolute(settings.data_dir),
        "model": model_name(settings.model, engine=settings.worker.engine),
    }
    if "log_format" not in settings.model_fields_set:
        changes["log_format"] = "text"
    return settings.model_copy(update=changes)


def with_model(settings: Settings, terminal: Terminal) -> Settings:
    """The settings with the model that will be served: `auto` decided, a published one fetched."""
    model = model_hub.choose(settings)
    if settings.model == "auto" and model == "demo":
        terminal.panel(NO_HUB, title="NO REAL MODEL", style="bold yellow")
    if model in CHECKPOINTS and not model_hub.downloaded(settings.model_dir, model):
        terminal.say(f"the model {model} isn't in {settings.model_dir} yet: fetching it, this happens once")
        download(model, settings)
    return settings.model_copy(update={"model": model})


def download(name: str, settings: Settings) -> None:
    """
    Fetch a published model in a process of its own, which takes the ML libraries' memory away with it.

    Raises:
        SystemExit: it can't be fetched; that process has said why.
    """
    argv = [sys.executable, "-m", "murmur", "models", "download", name]
    env = os.environ | exported(settings)
    done = subprocess.run(argv, check=False, cwd=ROOT, env=env)  # noqa: S603  our own program
    if done.returncode:
        sys.exit(done.returncode)


def banner(platform: LocalPlatform) -> str:
    """What somebody who has just started the platform wants to know."""
    settings = platform.settings
    workers = f"{platform.layout.workers} worker{'s' if platform.layout.workers > 1 else ''}"
    lines = [
        f"API      {platform.url}",
        f"docs     {platform.url}/docs",
        f"model    {settings.model} on {device(platform)}, {workers}",
        f"data     {settings.data_dir}",
        f"memory   {allocator.describe(os.environ | allocator.tunables(os.environ))}",
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


def device(platform: LocalPlatform) -> str:
    """What the workers compute on, in their own words."""
    with contextlib.suppress(ApiError, KeyError), Client(platform.url, timeout_s=2.0, patience_s=0) as client:
        kinds = {f"{worker['device']} ({worker['compute_type']})" for worker in client.workers()}
        return ", ".join(sorted(kinds))
    return platform.settings.device
