"""What others do on the same card: faster-whisper by itself, and Hugging Face's `generate`."""

from pathlib import Path

from bench.engines.gpu.measurement import measured, tried
from bench.engines.gpu.record import say
from bench.engines.gpu.scale import CLIP_S, CLIPS, COMPUTE_TYPE, DEVICE, FILE_S, SIZES, TINY, model, recordings
from bench.engines.gpu.watch import Watch
from transcription.media.codecs.decode import decode
from transcription.spans import windows
from worker.audio.speech import detect_speech

TOKENS = 40


def peers() -> None:
    """faster-whisper: sequential, and its own batches on one file."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415

    size = SIZES[0]
    whisper = WhisperModel(str(model(size)), device=DEVICE, compute_type=COMPUTE_TYPE)
    few = recordings(CLIPS, CLIP_S)[: 2 if TINY else 10]

    def sequential(path: Path) -> tuple[str, int]:
        segments, _ = whisper.transcribe(
            str(path), language="en", vad_filter=True, condition_on_previous_text=False, word_timestamps=True
        )
        return "".join(segment.text for segment in segments), 1

    with tried("faster-whisper, a first clip", size=size):
        sequential(few[0].path)
    measured("faster-whisper, sequential, words", sequential, few, 1, size=size)
    batched = BatchedInferencePipeline(whisper)
    file = recordings(1, FILE_S, seed=3)
    count = len(windows(detect_speech(decode(file[0].path, limit_s=1e6))))
    for batch in (2,) if TINY else (8, 16, 32):

        def whole(path: Path, batch: int = batch) -> tuple[str, int]:
            segments, _ = batched.transcribe(str(path), language="en", batch_size=batch)
            return "".join(segment.text for segment in segments), count

        measured(f"faster-whisper, its batches of {batch}, one file", whole, file, 1, size=size, batch=batch)


def transformers() -> None:
    """`generate`, greedy, on random weights of large's dimensions: 40 tokens a window, no timestamps."""
    import torch  # noqa: PLC0415
    from transformers import WhisperConfig, WhisperForConditionalGeneration  # noqa: PLC0415

    width, layers, heads = (64, 2, 2) if TINY else (1280, 32, 20)
    config = WhisperConfig(
        vocab_size=51866, num_mel_bins=128, d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
    )  # fmt: skip
    dtype = torch.float32 if TINY else torch.float16
    with torch.device(DEVICE):
        network = WhisperForConditionalGeneration(config).to(dtype).eval()
    how = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "num_beams": 1, "do_sample": False}
    for batch in (2,) if TINY else (16, 64):
        label = f"transformers, greedy, {TOKENS} tokens, batch {batch}"
        features = torch.randn(batch, 128, 3000, device=DEVICE, dtype=dtype)
        with tried(label, size="large"), torch.inference_mode():
            network.generate(features, **how)
            with Watch() as watch:
                network.generate(features, **how)
            say(what="measured", label=label, size="large", batch=batch, **watch.figures(batch))
