"""The options of `murmur transcribe` and `murmur watch`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from murmur.cli.common import Url, connect
from murmur.cli.json_output import AsJson
from murmur.cli.recordings.formats import CHOICES, Format, chosen
from murmur.cli.recordings.inputs import sources
from murmur.cli.recordings.transcribe import Plan
from murmur.cli.recordings.transcribe import transcribe as run
from murmur.cli.recordings.watch import Watch
from murmur.client.retry import PATIENCE_S
from murmur.errors import CliError

Formats = Annotated[str, typer.Option("--format", "-f", help=f"Shape of the transcripts: {', '.join(CHOICES)}.")]
Output = Annotated[
    Path | None,
    typer.Option("--output-dir", "--output", "-o", help="Write a file for each recording here; or one file, as x.srt."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Language = Annotated[str | None, typer.Option("--language", "-l", help="ISO 639-1 code [detected].")]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model [the platform's].")]
Task = Annotated[str | None, typer.Option(help="transcribe, or translate (into English).")]
Prompt = Annotated[str | None, typer.Option(help="Text that came before.")]
Hotwords = Annotated[str | None, typer.Option(help="Words and names to listen for.")]
Normalize = Annotated[bool, typer.Option("--normalize", help="Make a very quiet recording louder first.")]
AudioTrack = Annotated[
    str | None, typer.Option("--audio-track", help="Audio track: its number, starting at 1, or its language.")
]
Words = Annotated[bool, typer.Option("--words", help="Add the times of every word (JSON formats).")]
Diarize = Annotated[bool, typer.Option("--diarize", help="Label the speakers.")]
Known = Annotated[
    list[str] | None,
    typer.Option(
        "--known-speaker", metavar="NAME=FILE", help="A speaker's name and 2 to 10 s of the voice; repeatable."
    ),
]
Speakers = Annotated[int | None, typer.Option("--num-speakers", help="How many people speak, if known.")]
Languages = Annotated[
    str | None, typer.Option("--languages", help="Detect the language among these only, for example de,en.")
]
Multilingual = Annotated[
    bool, typer.Option("--multilingual", help="Detect the language for every window; several are spoken.")
]
SplitChannels = Annotated[bool, typer.Option("--split-channels", help="Transcribe each channel by itself.")]
ChannelNames = Annotated[
    str | None, typer.Option("--channel-names", help="Names of the channels, for example agent,customer.")
]
Further = Annotated[
    list[str] | None,
    typer.Option("--option", "-O", metavar="NAME=VALUE", help="Any other option of the API, for example beam_size=1."),
]


def transcribe(  # noqa: PLR0917  typer makes options of them
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Recordings, videos, directories, patterns, URLs; - is stdin.")
    ],
    form: Formats = "text",
    output: Output = None,
    language: Language = None,
    model: Model = None,
    task: Task = None,
    prompt: Prompt = None,
    hotwords: Hotwords = None,
    normalize: Normalize = False,
    words: Words = False,
    diarize: Diarize = False,
    num_speakers: Speakers = None,
    known_speaker: Known = None,
    languages: Languages = None,
    multilingual: Multilingual = False,
    split_channels: SplitChannels = False,
    channel_names: ChannelNames = None,
    audio_track: AudioTrack = None,
    further: Further = None,
    overwrite: Overwrite = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue with the jobs of an interrupted run.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the transcripts; else print the jobs' ids.")] = True,
    live: Annotated[bool, typer.Option("--live", help="Print the text while it is computed (one recording).")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """
    Transcribe recordings: to standard output, or with -o into a file each.

    What was transcribed into a file before, from the same content with the same options, is left alone; a file that
    came of something else is replaced with --overwrite only. Status 1 if a recording failed.
    """
    options = _options(language, model, task, prompt, hotwords, normalize=normalize, words=words, further=further)
    options |= {"diarize": diarize or num_speakers is not None or known_speaker is not None or None}
    options |= {"num_speakers": num_speakers, "known_speakers": _known(known_speaker)}
    options |= {"languages": languages, "multilingual": multilingual or None, "channel_names": channel_names}
    options |= {"channels": "split"} if split_channels or channel_names else {}
    options |= {"audio_track": audio_track} if audio_track else {}
    plan = _plan(form, output, len(files), options)
    found = sources(files)
    if len(found) > 1 and plan.file is not None:
        raise CliError(f"{len(found)} recordings don't fit into one file; give a directory: -o {plan.file.stem}")
    if len(found) > 1 and plan.directory is None and wait and not as_json and plan.formats != (Format.TEXT,):
        raise CliError(f"{len(found)} transcripts as {form} need files of their own: give --output-dir")
    if live and len(found) > 1:
        raise CliError("--live shows one recording")
    changes: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "wait": wait, "live": live, "as_json": as_json}
    plan = Plan(formats=plan.formats, options=options, directory=plan.directory, file=plan.file, **changes)
    with connect(url, patience_s=PATIENCE_S) as client:
        client.health()
        if run(client, found, plan, Console(stderr=True)):
            raise typer.Exit(1)


def watch(  # noqa: PLR0917  typer makes options of them
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to watch.")],
    form: Formats = "text",
    output: Output = None,
    language: Language = None,
    model: Model = None,
    task: Task = None,
    words: Words = False,
    audio_track: AudioTrack = None,
    further: Further = None,
    overwrite: Overwrite = False,
    once: Annotated[bool, typer.Option("--once", help="Exit when all present files are done.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Transcribe new files in a directory, until Ctrl-C; transcripts go beside them, or with -o elsewhere."""
    if not directory.is_dir():
        raise CliError(f"there is no directory {directory}")
    options = _options(language, model, task, None, None, normalize=False, words=words, further=further)
    options |= {"audio_track": audio_track} if audio_track else {}
    target = output or directory
    plan = Plan(
        formats=_formats(form),
        options=options,
        directory=target,
        root=directory,
        overwrite=overwrite,
        resume=True,
        as_json=as_json,
    )
    failed, console = 0, Console(stderr=True)
    with connect(url, patience_s=PATIENCE_S) as client:
        client.health()
        watching = Watch(directory, console, once=once)
        for arrived in watching.arrivals():
            failures = run(client, arrived, plan, console)
            failed += len(failures)
            watching.again(failures)
    if failed:
        raise typer.Exit(1)


def _plan(form: str, output: Path | None, arguments: int, options: dict[str, Any]) -> Plan:
    """Where to, and in which formats; a file's extension says its format where no other was asked for."""
    extension = output.suffix.lstrip(".").lower() if output else ""
    one_file = output is not None and not output.is_dir() and extension in {"txt", "srt", "vtt", "tsv", "json"}
    if output is None or not one_file or arguments > 1:
        return Plan(formats=_formats(form), options=options, directory=output)
    if form == "text" and extension != "txt":
        form = "verbose_json" if extension == "json" else extension
    if form == "all":
        raise CliError(f"all formats don't fit into {output}; give a directory: -o {output.stem}")
    return Plan(formats=_formats(form), options=options, file=output)


def _formats(form: str) -> tuple[Format, ...]:
    try:
        return chosen(form)
    except ValueError as error:
        raise CliError(f"--format {form}: there are {', '.join(CHOICES)}") from error


def _options(
    language: str | None,
    model: str | None,
    task: str | None,
    prompt: str | None,
    hotwords: str | None,
    *,
    normalize: bool,
    words: bool,
    further: list[str] | None,
) -> dict[str, Any]:
    options: dict[str, Any] = {"language": language, "model": model, "task": task, "prompt": prompt}
    options |= {"hotwords": hotwords, "normalize": normalize or None, "word_timestamps": words or None}
    for one in further or ():
        name, is_pair, value = one.partition("=")
        if not is_pair:
            raise CliError(f"--option {one}: give NAME=VALUE")
        options[name.strip().replace("-", "_")] = value
    return options


def _known(pairs: list[str] | None) -> dict[str, str] | None:
    """Known speakers' samples by their names."""
    if pairs is None:
        return None
    known = {}
    for pair in pairs:
        name, is_pair, path = pair.partition("=")
        if not (name and is_pair and Path(path).is_file()):
            raise CliError(f"--known-speaker {pair}: give NAME=FILE, a file that is there")
        known[name] = path
    return known


COMMANDS = {"transcribe": transcribe, "watch": watch}
