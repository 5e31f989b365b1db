#!/usr/bin/env bash
# One card and ten minutes: what a GPU does with Whisper, ours beside others. Results go to $OUT (or .gpu/out) as they
# come, and the table is made anew after each row, so that an end at any moment leaves what was measured until then.
#
# Needs Python 3.12 with torch, numpy, onnxruntime, tokenizers and huggingface-hub, and no network: the rest comes in
# .gpu/wheels.tar.xz, which bench/engines/gpu_pack.sh writes. With GPU_BENCH=tiny it runs on a CPU, with what is installed.
#   GPU_ROWS      which rows, in this order           GPU_SIZES    models' dimensions, the first for most rows
#   GPU_SECONDS   for everything (560)                GPU_CLIPS    recordings of 10 s (768)
#   GPU_ROW_SECONDS  for a row at most (200)          GPU_TYPE     float16, bfloat16, float32
set -uo pipefail
cd "$(dirname "$0")/../.."
export OUT=${OUT:-$PWD/.gpu/out}; mkdir -p "$OUT"
python=${PYTHON:-python3}
wheels=.gpu/wheels.tar.xz
complain() { echo "gpu.sh: $*" | tee -a "$OUT/errors.txt" >&2; }
left() { local s=$(( ${GPU_SECONDS:-560} - SECONDS )); echo $(( s > 1 ? s : 1 )); } # of the whole; 0 is no limit to timeout

if [ -f "$wheels" ] && [ "${GPU_BENCH:-}" != tiny ]; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$version" != 3.12 ]; then
    found=$(command -v python3.12) || { complain "$wheels is for Python 3.12 and this is $version: pack it for $version"; exit 2; }
    python=$found
  fi
  site=$(mktemp -d)/site; mkdir -p "$site"; tar -C "$site" -xJf "$wheels" || { complain "$wheels can't be unpacked"; exit 2; }
  export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH}
  # CTranslate2 looks for CUDA 12's libraries by name; CUDA 13's serve it as well.
  links=$(mktemp -d)
  "$python" - "$links" <<'PY'
import glob, os, sys, sysconfig
roots = [sysconfig.get_paths()["purelib"] + "/nvidia", *sys.path, "/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib", "/usr/lib/x86_64-linux-gnu"]
for name in ("libcublas", "libcublasLt"):
    found = [f for r in roots if os.path.isdir(r) for pattern in (f"{r}/{name}.so.1[23]", f"{r}/*/lib/{name}.so.1[23]", f"{r}/nvidia/*/lib/{name}.so.1[23]") for f in glob.glob(pattern)]
    for f in found[:1]:
        for to in {os.path.basename(f), f"{name}.so.12"}:
            os.symlink(f, f"{sys.argv[1]}/{to}")
        print("gpu.sh:", name, "is", f)
PY
  export LD_LIBRARY_PATH=$links${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
else
  export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
fi
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONUNBUFFERED=1
missing=$("$python" - <<'PY'
import importlib.util
print(*[name for name in ("torch", "numpy", "onnxruntime", "tokenizers", "huggingface_hub", "ctranslate2", "faster_whisper", "pydantic", "psutil", "av") if importlib.util.find_spec(name) is None])
PY
)
[ -z "$missing" ] || complain "$python lacks $missing; rows that need it fail"
{ timeout 20 nvidia-smi || echo "no nvidia-smi"; "$python" -V; git rev-parse HEAD 2>/dev/null; timeout 20 "$python" -m pip list 2>/dev/null | grep -Ei '^(torch|triton|numpy|transformers|flash|onnx|ctranslate2)'; command -v gcc cc; nproc; } > "$OUT/machine.txt" 2>&1

# row NAME SECONDS: measure it, keep the end of what it complained of, and make the table of all that is there.
row() {
  timeout -k 5 "$2" "$python" -m bench.engines.gpu "$1" 2>"$OUT/row.txt"
  local status=$?
  [ "$status" = 0 ] || complain "$1 ended with $status$([ "$status" = 124 ] && echo ": its $2 s were over")"
  [ ! -s "$OUT/row.txt" ] || { echo "== $1"; tail -30 "$OUT/row.txt"; } >> "$OUT/errors.txt"
  rm -f "$OUT/row.txt"
  "$python" -m bench.engines.gpu.table > "$OUT/table.new" && mv "$OUT/table.new" "$OUT/table.md"
  return "$status"
}

if row prepare "$(left)"; then
  for name in ${GPU_ROWS:-check torch bare_loop ct2 transformers platform two_workers long peers sizes kernels}; do
    [ "$(left)" -gt 15 ] || { complain "no time left for $name and what follows"; break; }
    most=${GPU_ROW_SECONDS:-200}; [ "$(left)" -lt "$most" ] && most=$(left)
    echo "== $name ($(left) s left)"
    row "$name" "$most"
  done
else
  complain "without models and recordings there is nothing to measure"
fi
cat "$OUT/table.md"
