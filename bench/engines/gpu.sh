#!/usr/bin/env bash
# One card and ten minutes: what a GPU does with Whisper, ours beside others. Results go to $OUT (or .gpu/out) as they
# come; the table is made from whatever is there. Needs Python 3.12 with torch, numpy, onnxruntime and tokenizers, and no
# network: the rest comes in .gpu/wheels.tar.xz, which bench/engines/gpu_pack.sh writes. With GPU_BENCH=tiny it runs on a CPU.
set -uo pipefail
cd "$(dirname "$0")/../.."
export OUT=${OUT:-$PWD/.gpu/out}; mkdir -p "$OUT"
python=${PYTHON:-python3}
wheels=.gpu/wheels.tar.xz
if [ -f "$wheels" ] && [ "${GPU_BENCH:-}" != tiny ]; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$version" != 3.12 ]; then
    found=$(command -v python3.12) || { echo "gpu.sh: $wheels is for Python 3.12 and this is $version: pack it for $version" >&2; exit 2; }
    python=$found
  fi
  site=$(mktemp -d)/site; mkdir -p "$site"; tar -C "$site" -xJf "$wheels"
  export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH}
  "$python" -c 'import torch, numpy, onnxruntime, tokenizers' || { echo "gpu.sh: $python lacks one of torch, numpy, onnxruntime, tokenizers" >&2; exit 2; }
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
{ nvidia-smi || echo "no nvidia-smi"; "$python" -V; "$python" -m pip list 2>/dev/null | grep -Ei '^(torch|triton|numpy|transformers|flash|onnx)'; command -v gcc cc; nproc; } > "$OUT/machine.txt" 2>&1
until=$(( $(date +%s) + ${GPU_SECONDS:-560} ))
"$python" -m bench.engines.gpu prepare 2>>"$OUT/errors.txt"
for row in ${GPU_ROWS:-check kernels torch lab ct2 transformers peers sizes platform}; do
  left=$(( until - $(date +%s) ))
  [ "$left" -gt 15 ] || { echo "gpu.sh: no time left for $row and what follows" | tee -a "$OUT/errors.txt"; break; }
  echo "== $row ($left s left)"
  most=${GPU_ROW_SECONDS:-200}; [ "$left" -lt "$most" ] && most=$left
  timeout -k 5 "$most" "$python" -m bench.engines.gpu "$row" 2>"$OUT/.row" || echo "gpu.sh: $row ended with $?" | tee -a "$OUT/errors.txt"
  { echo "== $row"; tail -30 "$OUT/.row"; } >> "$OUT/errors.txt"; rm -f "$OUT/.row"
done
"$python" -m bench.engines.gpu table | tee "$OUT/table.md"
