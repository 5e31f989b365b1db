"""Running the requests of the seed documents as they stand there, against a platform elsewhere."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import SAMPLES

# What the documents call their recordings, and which of ours takes the place.
FILES = {
    "audio.wav": "short.flac",
    "test_audio.wav": "short.flac",
    "audio.mp3": "speech.mp3",
    "test.mp3": "speech.mp3",
}


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


def recordings(directory: Path) -> Path:
    """A directory with every recording that the documents name."""
    for name, sample in FILES.items():
        shutil.copyfile(SAMPLES["short"].path.with_name(sample), directory / name)
    return directory


def curl(command: str, *, url: str, where: Path) -> Answer:
    """
    Run a document's curl command in a shell, in *where*.

    Args:
        command: As it stands in the document, with `HOST` for its host and port.
        url: Of the platform.
        where: Directory with the recordings.
    """
    said = command.replace("http://HOST", url).replace("curl ", "curl --silent --dump-header headers.txt ", 1)
    done = subprocess.run(["sh", "-c", said], cwd=where, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    # «100 Continue» comes before the answer's own head.
    head = (where / "headers.txt").read_text().strip().split("\r\n\r\n")[-1].splitlines()
    fields = [line.partition(":") for line in head[1:]]
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return Answer(int(head[0].split()[1]), headers, done.stdout)
