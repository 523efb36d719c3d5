#!/usr/bin/env bash
# What more workers bring: operations a second of servers with 1, 2, 4 … threads, under generators on cores
# of their own. Usage: server/benches/workers.sh [SECONDS]        needs twice as many cores as threads
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-2}
cargo build --release --quiet -p killick-server
killick=target/release/killick
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
cores=$(nproc)

printf '%-8s %8s %12s %8s\n' operation threads ops/s ratio
for operation in load walk create get store mixed; do
    one=
    for ((threads = 1; 2 * threads <= cores || threads <= 2; threads *= 2)); do
        socket=$folder/$operation-$threads
        "$killick" serve --quiet --threads $threads --listen "unix:$socket" >/dev/null &
        server=$!
        for _ in $(seq 100); do
            [ -S "$socket" ] && break
            sleep 0.05
        done
        generators=()
        # Two connections for each thread, from a process for each.
        for ((each = 0; each < 2 * threads && each < cores - threads + 1; each++)); do
            "$killick" --connect "unix:$socket" bench "$operation" --connections 2 --in-flight 64 \
                --duration "${seconds}s" --json >"$folder/$each" &
            generators+=($!)
        done
        wait "${generators[@]}"
        kill $server
        wait $server 2>/dev/null || true
        sum=$(cat "$folder"/[0-9]* | grep -o '"perSecond":[0-9.]*' | awk -F: '{ s += $2 } END { printf "%d", s }')
        rm -f "$folder"/[0-9]*
        one=${one:-$sum}
        printf '%-8s %8d %12d %8s\n' "$operation" $threads "$sum" "$(awk "BEGIN { printf \"%.2f\", $sum / $one }")"
    done
done
