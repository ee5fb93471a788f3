#!/usr/bin/env bash
# Makes a CUDA toolkit to build with, out of PyPI wheels alone: no GPU, no driver, no system CUDA.
#
#   eval "$(bash tests/cuda/toolchain.sh DIR)" && cargo build --release --features cuda
#
#   DIR               becomes the CUDA_HOME; a finished one is left as it is. 680 MB to download, 1.1 GB on disk
#   CUDA_COMPUTE_CAP  the GPU's compute capability without the dot: 80 A100, 89 Ada, 90 H100 and H200 (default)
#
# Needs python3 with pip, gcc and g++ (15 or older). Prints the exports of the build on stdout, all else on stderr.
set -euo pipefail

home=${1:?usage: bash tests/cuda/toolchain.sh DIR}

# 13.0.2 holds nvcc 13.0.88. Its PTX (ISA 9.0) is what a driver of the 580 series loads; that of a newer nvcc it refuses.
version=13.0.2
# What a finished DIR says. Raise the last number when a step below changes.
stamp="$version r1"

mkdir -p "$home"
home=$(cd "$home" && pwd)

unpack_wheels() {
  # crt and nvvm by name: the nvcc wheel asks for them without a version, and pip would take the newest, whose compiler
  # passes belong to another CUDA than nvcc's.
  python3 -m pip install --quiet --no-compile --no-warn-script-location --root-user-action=ignore --target "$1" \
    "cuda-toolkit[nvcc,crt,nvvm,cudart,cccl,nvrtc,cublas,curand]==$version"
  mv "$1"/nvidia/cu13/* "$home"/
  # Variants nothing here links to, a third of the size.
  rm -f "$home"/lib/*.alt.so.* "$home"/lib/libnvblas.so.*
  ln -s lib "$home/lib64"
  # The wheels hold lib*.so.MAJOR; a linker looks for lib*.so.
  local so
  for so in "$home"/lib/lib*.so.*; do
    ln -sf "$(basename "$so")" "${so%%.so.*}.so"
  done
}

# libcuda belongs to the driver and is in no wheel. To link, a library of its name is enough, with every function of
# cuda.h answering 100, CUDA_ERROR_NO_DEVICE. On a machine with a GPU it must never be found at run time.
make_driver_stub() {
  mkdir -p "$home/lib/stubs"
  {
    grep -ohE '\bcu[A-Z][A-Za-z0-9_]*' "$home/include/cuda.h"
    printf '%s\n' cuProfilerInitialize cuProfilerStart cuProfilerStop
  } | sort -u | sed 's/.*/int &(void) { return 100; }/' > "$1/libcuda.c"
  gcc -w -shared -fPIC -O1 -Wl,-soname,libcuda.so.1 -o "$home/lib/stubs/libcuda.so.1" "$1/libcuda.c"
  ln -sf libcuda.so.1 "$home/lib/stubs/libcuda.so"
}

try_compiler() {
  echo '__global__ void scale(float *x) { x[threadIdx.x] *= 2.f; }' > "$1/try.cu"
  "$home/bin/nvcc" -arch=sm_90 -c "$1/try.cu" -o "$1/try.o"
  "$home/bin/nvcc" --version | tail -2
}

make_toolkit() {
  if [ ! -e "$home/.cuda-toolchain" ] && [ -n "$(ls -A "$home")" ]; then
    echo "$home is not empty and was not made by this script: name an empty or a new folder"
    exit 1
  fi
  echo unfinished > "$home/.cuda-toolchain"
  local tmp=$home/.tmp
  rm -rf "$tmp" "$home"/{bin,include,lib,lib64,nvvm}
  mkdir -p "$tmp"
  unpack_wheels "$tmp"
  make_driver_stub "$tmp"
  try_compiler "$tmp"
  rm -rf "$tmp"
  echo "$stamp" > "$home/.cuda-toolchain"
}

[ "$(cat "$home/.cuda-toolchain" 2>/dev/null)" = "$stamp" ] || make_toolkit >&2

cat <<EXPORTS
export CUDA_HOME='$home'
export CUDA_PATH='$home'
export PATH='$home/bin':"\$PATH"
export CUDA_COMPUTE_CAP='${CUDA_COMPUTE_CAP:-90}'
export CUDAFORGE_THREADS='${CUDAFORGE_THREADS:-$(nproc)}'
export LIBRARY_PATH='$home/lib:$home/lib/stubs'"\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
EXPORTS
