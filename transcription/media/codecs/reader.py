"""Reader: all that can be had of one audio track of a file, block by block, and what is wrong with it."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from transcription.errors import CorruptAudio, InvalidOption, NoAudioStream, NoSamples, TooLong, UnsupportedMedia
from transcription.media.audio import RATE, Pcm
from transcription.media.codecs.channels import Run, shape_of
from transcription.media.codecs.claims import cut_short
from transcription.media.codecs.frames import Frames, Placed
from transcription.media.codecs.opened import PartFile, open_first, open_part, said, tracks_of
from transcription.media.codecs.sameness import Sameness
from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.mpeg_audio import behind_tags
from transcription.media.containers.part import Part
from transcription.media.containers.parts import is_padding, next_start, part_at, resumed
from transcription.media.timeline import WRITTEN_S, Hole, Placer
from transcription.result_warning import ResultWarning, WarningCode, WarningList
from transcription.tracks import MOST_NAMED, Track, choose

MOST_PARTS = 1000
"""Containers in a file, one after the other, that are opened."""

MOST_FAULTS = 16
"""Of them, those that can't be read before the rest is left alone."""

SAME_PLACE_S = 2.0
"""Errors within so much sound are told as one."""

_WITHOUT_PAUSES = {"flac", "tta", "wv", "caf", "ape", "tak"}
"""Containers in which a gap of the stamps is no pause, but a loss."""

MOST_EMPTY = 4
"""Tracks without any sound that others are taken for."""

LEAST_TRAILING = 16
"""Bytes that may follow a container's end without a word."""

_ZEROS = np.zeros(round(WRITTEN_S * RATE / 2), np.int16)


class Reader:
    """
    Decodes an open file; good for one pass over `blocks`, after which the rest is known.

    Args:
        descriptor: The file.
        limit_s: Longest sound to take, in seconds.
        track: `audio_track` as the client gave it.
        language: The language that was asked for.
        channel: The channel to take, from 1 on; None: all of them, as one.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        limit_s: float,
        track: str | None,
        language: str | None,
        channel: int | None = None,
    ) -> None:
        self.holes: list[Hole] = []
        self.warnings = WarningList()
        self.tracks: tuple[Track, ...] = ()
        self._descriptor = descriptor
        self._limit_s = limit_s
        self._wanted = track
        self._language = language
        self._channel = channel
        self._sameness = None if channel is None else Sameness(channel)
        self._file = Bytes(descriptor)
        self._place = Placer(limit_s=limit_s)
        self._run: Run | None = None
        self._run_at = 0.0
        self._held = 0
        self._hidden = 0
        self._heard_s = 0.0
        self._claims_sound = False
        self._fault: str | None = None
        self._break: str | None = None
        self._unbroken = False
        self._read_to = 0
        self._damage: ResultWarning | None = None
        self._empty: set[int] = set()
        self._others = 0

    def report(self) -> dict[str, Any]:
        """What there is to know besides the samples, as JSON."""
        return {
            "holes": [[hole.at, hole.samples] for hole in self.holes],
            "warnings": [warning.shape() for warning in self.warnings],
            "tracks": [asdict(track) for track in self.tracks],
            "same_as": self._sameness.same_as if self._sameness else None,
        }

    def blocks(self) -> Iterator[Pcm]:
        """
        Yield the sound as s16 mono at 16 kHz.

        Raises:
            UnsupportedMedia, NoAudioStream, CorruptAudio, NoSamples, TooLong, InvalidOption: see `Decoder.decode`.
        """
        for block in self._sound():
            self._held += block.size
            if self._held > self._limit_s * RATE:
                raise _too_long(self._limit_s)
            yield block
        if not self._held:
            if self._fault or (self._claims_sound and not self._heard_s):
                raise CorruptAudio(f"no sound could be decoded: {self._fault or 'the stream holds no frame'}")
            raise NoSamples("the audio stream holds no samples")

    def _sound(self) -> Iterator[Pcm]:
        """The parts of the file, one after the other."""
        first, container = open_first(self._file, self._descriptor)
        part = first.part
        if part.start and not behind_tags(self._file, 0):
            self._trailing(0, part.start)
        yield from self._part(part, (first, container))
        parts, faults, size = 1, 0, self._file.size
        end = max(part.end, self._read_to)
        while end < size:
            at = next_start(self._file, end)
            if at > end:
                self._trailing(end, at - end)
            if at >= size or parts >= MOST_PARTS or faults >= MOST_FAULTS:
                end = at
                break
            part = part_at(self._file, at)
            try:
                yield from self._part(part)
            except (UnsupportedMedia, NoAudioStream) as error:
                faults += 1
                if not isinstance(error, NoAudioStream):
                    self._trailing(at, part.end - at)
            parts += 1
            end = max(part.end, self._read_to)
        if end < size:
            self._trailing(end, size - end)
        yield from self._flushed()

    def _part(self, part: Part, opened: tuple[PartFile, InputContainer] | None = None) -> Iterator[Pcm]:
        """One container, taken up again behind its holes, and another track of it where the chosen one is empty."""
        origin: float | None = None
        self._place.begin()
        for _ in range(MOST_PARTS):
            file, container = opened or self._opened(part)
            opened = None
            with container:
                track = self._chosen(container)
                stream = container.streams.audio[track.number - 1]
                self._claims_sound = self._claims_sound or bool(stream.duration)
                frames = Frames(container, stream, file, origin=origin)
                self._unbroken = bool(part.broken) or container.format.name in _WITHOUT_PAUSES
                began = self._place.end
                for placed in frames:
                    yield from self._placed(placed)
                origin = frames.origin
                self._fault = frames.fault or self._fault
                if self._is_empty(track):
                    continue
                self._report_other_tracks()
                following = self._further(part, frames)
                if following is None:
                    self._check_end(container, track, frames, part, began)
                    return
                lost = frames.fault or "bytes were left out"
                yield from self._behind(following, lost, (self._place.end - began) / max(1, part.end - part.start))
            part = following
            self._read_to = part.end

    def _further(self, part: Part, frames: Frames) -> Part | None:
        """What a demuxer left of *part*."""
        read_to = part.start + frames.read_to
        early = part.end < self._file.size or read_to + LEAST_TRAILING < part.end
        return resumed(self._file, part, max(read_to, part.start + 1)) if early else None

    def _behind(self, part: Part, lost: str, seconds_a_byte: float) -> Iterator[Pcm]:
        """Before *part* something is *lost*; where only bytes tell how much, put so much silence there."""
        if not part.behind:
            self._break = lost
            return
        yield from self._flushed()
        missing = min(part.behind * seconds_a_byte, self._limit_s)
        self._begin_damage(lost, missing)
        self._place.end += missing
        self._place.begin()
        yield from self._silence()

    def _opened(self, part: Part) -> tuple[PartFile, InputContainer]:
        file = PartFile(self._descriptor, part)
        try:
            return file, open_part(file)
        except (av.FFmpegError, ValueError) as error:
            what = said(error)
            raise UnsupportedMedia(f"the file is no audio or video that can be read here: {what}") from None

    def _chosen(self, container: InputContainer) -> Track:
        every = tracks_of(container)
        if not every:
            raise NoAudioStream("the file has no audio stream that can be decoded, only video or data")
        tracks = [track for track in every if track.number not in self._empty] or every
        try:
            track = choose(tracks, wanted=self._wanted, language=self._language)
        except InvalidOption:
            if not self.tracks:
                raise
            track = choose(tracks, wanted=None, language=self._language)
        if not self.tracks:
            self._others = len(every) - 1
            self.tracks = tuple(replace(one, taken=one is track) for one in every[:MOST_NAMED])
        return track

    def _is_empty(self, track: Track) -> bool:
        """Whether nothing came of *track*, which nobody asked for, while there are others."""
        others = self._wanted is None and len(self._empty) < MOST_EMPTY and self._others > len(self._empty)
        if self._heard_s or not others:
            return False
        self._empty.add(track.number)
        self.tracks = ()
        return True

    def _report_other_tracks(self) -> None:
        if self._others and self._wanted is None:
            taken = next((one.described for one in self.tracks if one.taken), "")
            others = ", ".join(one.described for one in self.tracks if not one.taken)
            what = f"track {taken} of {self._others + 1} was taken (audio_track); the others: {others}"
            self._warn(WarningCode.OTHER_TRACKS, what, count=self._others, start=None)
        self._others = 0

    def _placed(self, placed: Placed) -> Iterator[Pcm]:
        frame = placed.frame
        gap = self._place.gap(placed.time)
        if gap and self._unbroken and not placed.lost:
            placed = replace(placed, lost="packets are missing")
        self._note_damage(placed, gap or 0.0)
        if gap is None:
            self._warn(WarningCode.DISCONTINUITY, "the time stamps jump; the sound goes on without silence here")
        silence = (gap or 0.0) + (placed.lost_s or 0.0)
        if placed.lost_s:
            self._place.shift(placed.lost_s)
        if silence:
            yield from self._flushed()
            self._place.end += silence
            yield from self._silence()
        shape = shape_of(frame)
        if self._run is None or self._run.shape != shape:
            yield from self._flushed()
            self._run = Run(frame, channel=self._channel, sameness=self._sameness)
            self._run_at = self._place.end
        seconds = frame.samples / frame.sample_rate
        self._heard_s += seconds
        if self._heard_s > self._limit_s + 1:
            raise _too_long(self._limit_s)
        self._place.end += seconds
        yield from self._run.feed(frame)

    def _silence(self) -> Iterator[Pcm]:
        """Hold as much silence as leads to where the sound goes on; most of a long one as a hole."""
        samples = round(self._place.end * RATE) - self._held - self._hidden
        if samples <= 2 * _ZEROS.size:
            if samples > 0:
                yield np.zeros(samples, np.int16)
            return
        yield _ZEROS
        self.holes.append(Hole(self._held, samples - 2 * _ZEROS.size))
        self._hidden += samples - 2 * _ZEROS.size
        yield _ZEROS

    def _flushed(self) -> Iterator[Pcm]:
        """End the run."""
        run, self._run = self._run, None
        if run is None:
            return
        yield from run.end()
        if run.cancelled:
            self.warnings.add(
                ResultWarning(
                    code=WarningCode.CHANNELS_CANCEL,
                    message="the channels cancel each other out; the loudest one was used",
                    start=self._run_at,
                    seconds=run.cancelled / run.shape[2],
                )
            )

    def _note_damage(self, placed: Placed, gap: float) -> None:
        """Join what was lost at one place: its silence may come some frames after its error."""
        damage, missing = self._damage, gap + (placed.lost_s or 0.0)
        if damage is not None and damage.start is not None:
            near = self._place.end - damage.start - (damage.seconds or 0.0) < SAME_PLACE_S and not self._break
            if near and (placed.lost or gap):
                self._damage = replace(damage, seconds=(damage.seconds or 0.0) + missing or None)
                return
            if not near:
                self._end_damage()
        lost, self._break = placed.lost or self._break, None
        if lost:
            self._begin_damage(lost, missing)
            if placed.lost_s is None:
                what = "nobody can say how much is missing here; what follows may be early"
                self._warn(WarningCode.LENGTH_UNKNOWN, what)

    def _begin_damage(self, lost: str, missing: float) -> None:
        self._end_damage()
        what = f"part of the recording can't be decoded ({lost})"
        seconds = missing or None
        self._damage = ResultWarning(code=WarningCode.DAMAGED, message=what, start=self._place.end, seconds=seconds)

    def _end_damage(self) -> None:
        if self._damage is not None:
            self.warnings.add(self._damage)
            self._damage = None

    def _check_end(self, container: InputContainer, track: Track, frames: Frames, part: Part, began: float) -> None:
        self._end_damage()
        heard = self._place.end - began
        missing = cut_short(container, track, part, self._file, heard_s=heard, seen_s=frames.seen_to)
        if missing is None and not frames.fault:
            return
        if missing is None and part.end < self._file.size:
            self._warn(WarningCode.DAMAGED, f"the end can't be decoded ({frames.fault})")
            return
        what = f"the recording is cut off ({frames.fault or 'its file says that it goes on'})"
        self._warn(WarningCode.TRUNCATED, what, seconds=missing or None)

    def _trailing(self, at: int, count: int) -> None:
        if count < LEAST_TRAILING or (is_padding(self._file.get(at, 65_536)) and count <= 1 << 20):
            return
        what = f"{count} bytes at byte {at} aren't a recording that can be read"
        self._warn(WarningCode.TRAILING_DATA, what, bytes=count)

    def _warn(self, code: WarningCode, message: str, **what: Any) -> None:
        where = {"start": self._place.end, **what}
        self.warnings.add(ResultWarning(code=code, message=message, **where))


def _too_long(limit_s: float) -> TooLong:
    return TooLong(f"the recording is longer than {limit_s:g} s, the limit (MURMUR_LIMITS__MAX_DURATION_S)")
