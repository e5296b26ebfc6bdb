#!/usr/bin/env bash
# Everything that is checked without a browser: tests/run.sh [thorough]
set -euo pipefail
cd "$(dirname "$0")/.."
export MPLBACKEND=agg PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 TQDM_DISABLE=1
export OMP_WAIT_POLICY=PASSIVE    # three processes on two cores: those that wait must not keep the others waiting
kind=${1:-quick}
slowest=$([ "$kind" = thorough ] && echo 20 || echo 10)
log=$(mktemp)
copy=$(mktemp -d)
trap 'rm -rf "$log" "$copy"' EXIT

echo '== nbdev_export changes nothing'
cp -r adafocus "$copy/before"
nbdev_export
if ! diff -r -x __pycache__ "$copy/before" adafocus; then
    echo 'nbdev_export changes the package: notebooks and adafocus/ are out of step. Edit the notebooks and run nbdev_export.' >&2
    exit 1
fi

echo "== notebooks, $kind"
begin=$SECONDS
flags=$([ "$kind" = thorough ] && echo '--flags slow' || true)
status=0
# shellcheck disable=SC2086
nbdev_test --n_workers 3 --timing $flags >"$log" 2>&1 || status=$?
if [ $status -ne 0 ]; then cat "$log"; exit $status; fi
echo "notebooks: $((SECONDS - begin)) s; the slowest:"
grep -E '\.ipynb: [0-9]+ secs' "$log" | sort -t: -k2 -rn | head -"$slowest"

echo "== tests, $kind"
begin=$SECONDS
marks=$([ "$kind" = thorough ] && echo '' || echo 'not slow and not thorough')
python -m pytest -q -n 3 --dist loadfile -m "$marks" --durations "$slowest" --ignore tests/browser tests
echo "tests: $((SECONDS - begin)) s"
