#!/usr/bin/env bash
# Everything that waits for a GPU, on one GPU, in less than 8 minutes, with random weights.
#
#     benchmarks/gpu.sh OUT [--dry-run]
#
# Needs the package with its `benchmark` extra. Each benchmark leaves its JSON object and its log in
# OUT; one that fails or is late does not keep the others from running.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${1:?usage: benchmarks/gpu.sh OUT [--dry-run]}
dry=${2:-}
failed=0

run() {  # NAME SECONDS COMMAND...
    local name=$1 seconds=$2
    shift 2
    if [ "$dry" = --dry-run ]; then
        echo "timeout $seconds python benchmarks/$* --out $out/$name.json"
        return
    fi
    local begin=$SECONDS
    if timeout "$seconds" python benchmarks/"$@" --out "$out/$name.json" >"$out/$name.log" 2>&1; then
        echo "$name: $((SECONDS - begin)) s"
    else
        echo "$name: failed after $((SECONDS - begin)) s, see $out/$name.log"
        failed=1
    fi
}

[ "$dry" = --dry-run ] || mkdir -p "$out"
sizes="--sizes 64 256 512"
run served-ViT-B-32-16 105 served.py --model ViT-B-32 --request 16 --seconds 1
run served-ViT-B-32-64 45 served.py --model ViT-B-32 --request 64 --seconds 1 --no-peers
run served-ViT-L-14-16 55 served.py --model ViT-L-14 --request 16 --seconds 1 --no-peers
run bare-ViT-B-32 110 bare.py --model ViT-B-32 --seconds 0.3 $sizes
run bare-ViT-L-14 70 bare.py --model ViT-L-14 --seconds 0.3 --no-compile $sizes
run latency-ViT-B-32 50 latency.py --model ViT-B-32 --seconds 0.7 --picture "$out/latency.png"
run rollout-ViT-B-32 40 rollout.py --model ViT-B-32 --repeats 3
exit $failed
