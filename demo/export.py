"""The shipped weights, turned into the directories that engines load."""

from pathlib import Path

from demo.directory import publish
from demo.names import REVISION, Size

LAYOUT = 2
"""Raise it when the same weights are to be written differently: exports made before are then made anew."""


def export_ct2(dest: Path, size: Size | None = None) -> Path:
    """
    Put the demo model into *dest* as a CTranslate2 directory (int8) for faster-whisper, unless it is there already.

    Safe to call from several processes at once; nobody sees a half-written model.

    Args:
        dest: The directory to make. Its parents are created.
        size: A real Whisper size to widen the model to: the same transcripts at that size's cost in memory and
            time. `None` for the demo model itself (10 MB).

    Returns:
        *dest*.

    Raises:
        FileExistsError: *dest* holds something else.
        ImportError: ctranslate2 isn't installed.
    """

    def write(directory: Path) -> None:
        # NumPy, for those who write a model: whoever only asks for its revision needn't wait for that.
        from demo.ct2 import write_ct2  # noqa: PLC0415
        from demo.weights import read_weights  # noqa: PLC0415
        from demo.widen import widen  # noqa: PLC0415

        weights = read_weights()
        write_ct2(weights if size is None else widen(weights, size), directory)

    return publish(dest, _stamp("ctranslate2", size), write)


def export_mlx(dest: Path) -> Path:
    """
    Put the demo model into *dest* as an MLX directory (float16, 16 MB) for mlx-whisper, unless it is there already.

    Can't be widened: mlx-whisper derives the encoder's positions from the width, and the widened model needs the
    demo's own, repeated.

    Args:
        dest: The directory to make. Its parents are created.

    Returns:
        *dest*.

    Raises:
        FileExistsError: *dest* holds something else.
    """

    def write(directory: Path) -> None:
        from demo.mlx import write_mlx  # noqa: PLC0415
        from demo.weights import read_weights  # noqa: PLC0415

        write_mlx(read_weights(), directory)

    return publish(dest, _stamp("mlx", None), write)


def _stamp(form: str, size: Size | None) -> dict[str, object]:
    return {"format": form, "layout": LAYOUT, "revision": REVISION, "size": size}
