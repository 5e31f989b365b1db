"""Channels: how many of a recording are transcribed by themselves."""

from transcription.errors import InvalidOption
from transcription.media.findings import Probe
from transcription.options import Options
from transcription.tracks import choose


def count_channels(found: Probe, options: Options, *, most: int) -> int:
    """
    Of the track that *options* take, how many channels are transcribed apart; 1 where they are taken as one.

    Raises:
        InvalidOption: there is no such track, or it has one channel, more than *most*, or fewer than have names.
    """
    split = options.channels == "split"
    if not found.tracks or not (split or options.audio_track):
        return 1
    # What isn't there is refused at once.
    track = choose(found.tracks, wanted=options.audio_track, language=options.language if split else None)
    if not split:
        return 1
    if track.channels < 2:
        raise InvalidOption("channels: the recording has one channel; there is nothing to split")
    if track.channels > most:
        raise InvalidOption(
            f"channels: the recording has {track.channels}; the limit is {most} (MURMUR_LIMITS__MAX_CHANNELS)"
        )
    if len(options.channel_names) > track.channels:
        raise InvalidOption(f"channel_names: {len(options.channel_names)} names came for {track.channels} channels")
    return track.channels
