#!/bin/sh
# Without Accelerate's launcher: on each of NODES machines  FIRST=host NODES=4 GPUS=8 sh torchrun.sh --data DATA --out RUN
exec torchrun --nnodes "${NODES:-1}" --nproc_per_node "${GPUS:-8}" --rdzv_backend c10d --rdzv_endpoint "${FIRST:-localhost}:29500" --rdzv_id adafocus \
    -m adafocus.train --mixed-precision bf16 "$@"
