#!/usr/bin/env bash
# Type-checks the `cuda` feature on a machine with neither a GPU nor a CUDA toolkit:
#
#   bash tests/cuda/check.sh [more arguments of cargo check]
#
# Two build scripts ask for nvcc: cudarc's, for its version, and cudaforge (candle's kernels), to compile .cu files. A
# stand-in answers the first and writes empty files for the second, which is enough for rustc to see every line of ours.
# What it makes must never be linked: it has a target folder of its own, because cargo would take the empty PTX for a
# finished build. The real build is in docs/guide/cuda.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}/cuda-check
mkdir -p "$target/bin"
target=$(cd "$target" && pwd)

cat > "$target/bin/nvcc.new" <<'NVCC'
#!/usr/bin/env bash
# Stand-in for nvcc, written by tests/cuda/check.sh: names a version, writes empty outputs.
out='' dir=. ptx='' src=''
while [ $# -gt 0 ]; do
  case $1 in
    --version)
      printf 'nvcc: stand-in for type checks\n-\n-\nCuda compilation tools, release 13.0, V13.0.88\n'
      exit 0 ;;
    -o | --output-file) out=$2; shift ;;
    --output-directory) dir=$2; shift ;;
    --ptx | -ptx) ptx=1 ;;
    *.cu) src=$1 ;;
  esac
  shift
done
[ -z "$ptx" ] || out=${out:-$dir/$(basename "${src%.cu}").ptx}
: > "${out:?the stand-in nvcc was asked for something it does not know}"
NVCC
chmod +x "$target/bin/nvcc.new"
# Left alone when nothing changed: a newer nvcc would have every kernel "compiled" again.
if cmp -s "$target/bin/nvcc.new" "$target/bin/nvcc"; then rm "$target/bin/nvcc.new"; else mv "$target/bin/nvcc.new" "$target/bin/nvcc"; fi

unset CUDA_HOME CUDA_PATH CUDA_ROOT CUDA_TOOLKIT_ROOT_DIR
export PATH="$target/bin:$PATH" NVCC="$target/bin/nvcc"
export CUDA_COMPUTE_CAP=90   # mandatory where there is no GPU to ask

printf '\n== cargo check --features cuda (stand-in nvcc)\n'
cargo check --locked --features cuda --target-dir "$target" "$@"
