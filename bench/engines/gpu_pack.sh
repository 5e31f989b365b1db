#!/usr/bin/env bash
# Packs what a GPU machine without a network lacks: the wheels of requirements/local.txt and a few more for Python 3.12,
# without torch, numpy, onnxruntime, tokenizers and huggingface-hub, which it must have (transformers there wants its own
# hub); stripped, into .gpu/wheels.tar.xz (53 MB).
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf .gpu/wheels .gpu/site && mkdir -p .gpu/wheels .gpu/site
python=${PYTHON:-.venv/bin/python}
"$python" - <<'PY' > .gpu/wheels.txt
import re
from packaging.requirements import Requirement
there = {"python_version": "3.12", "python_full_version": "3.12.3", "sys_platform": "linux", "platform_system": "Linux",
         "platform_machine": "x86_64", "implementation_name": "cpython", "platform_python_implementation": "CPython"}
without = {"torch", "numpy", "onnxruntime", "tokenizers", "huggingface-hub", "hf-xet", "setuptools", "sympy", "mpmath", "networkx",
           "openvino", "openvino-telemetry"}
for line in open("requirements/local.txt"):
    if re.match(r"[A-Za-z0-9]", line):
        wanted = Requirement(line.rstrip().rstrip("\\"))
        if wanted.name not in without and (wanted.marker is None or wanted.marker.evaluate(there)):
            print(f"{wanted.name}{wanted.specifier}")
PY
printf '%s\n' safetensors nvidia-ml-py >> .gpu/wheels.txt
[ -z "${GPU_TRANSFORMERS:-}" ] || printf '%s\n' transformers regex >> .gpu/wheels.txt
"$python" -m pip download -q --disable-pip-version-check --no-deps --dest .gpu/wheels --python-version 3.12 \
  --implementation cp --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
  --platform manylinux2014_x86_64 --only-binary :all: -r .gpu/wheels.txt
for wheel in .gpu/wheels/*.whl; do "$python" -m zipfile -e "$wheel" .gpu/site; done
find .gpu/site -name '*.so*' -type f -exec sh -c 'strip --strip-unneeded "$1" 2>/dev/null || true' _ {} \;
find .gpu/site -path '*/_binaries/*' -type f -exec chmod +x {} + # which a wheel says and zipfile forgets
find .gpu/site -type d \( -name tests -o -name test -o -name __pycache__ \) -prune -exec rm -rf {} +
tar -C .gpu/site -cf - . | xz -T0 -6 > .gpu/new.tar.xz
mv .gpu/new.tar.xz .gpu/wheels.tar.xz; rm -rf .gpu/wheels .gpu/site
ls -l .gpu/wheels.tar.xz
