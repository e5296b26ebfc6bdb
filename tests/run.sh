#!/usr/bin/env bash
# Notebooks and package in step, every notebook runs, every test passes.
set -euo pipefail
cd "$(dirname "$0")/.."
export MPLBACKEND=agg PYTHONUNBUFFERED=1

echo '== nbdev_export changes nothing'
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r adafocus "$copy/before"
nbdev_export
if ! diff -r -x __pycache__ "$copy/before" adafocus; then
    echo 'nbdev_export changes the package: notebooks and adafocus/ are out of step. Edit the notebooks and run nbdev_export.' >&2
    exit 1
fi

echo '== notebooks'
OMP_NUM_THREADS=1 nbdev_test --n_workers 2 --timing

echo '== tests'
python -m pytest -q --durations 5 --ignore tests/browser tests
