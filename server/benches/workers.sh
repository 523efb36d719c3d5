#!/usr/bin/env bash
# What more workers bring: operations a second of servers with 1, 2, 4 … threads, under generators on cores
# of their own. Usage: server/benches/workers.sh [SECONDS]        needs three times as many cores as threads
#
# 'ratio' is to one thread. 'apart' is to as many servers of one thread each under the same load, which share
# nothing but the machine: what the threads of one server cost each other.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-2}
cargo build --release --quiet -p killick-server
killick=target/release/killick
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
cores=$(nproc)

# Operations a second of SERVERS servers of THREADS threads each, all together.
measure() {
    local operation=$1 count=$2 threads=$3 each servers=() generators=()
    for ((each = 0; each < count; each++)); do
        "$killick" serve --quiet --threads "$threads" --listen "unix:$folder/socket$each" >/dev/null &
        servers+=($!)
        for _ in $(seq 100); do
            [ -S "$folder/socket$each" ] && break
            sleep 0.05
        done
    done
    # Two connections for each thread, from a process for each.
    for ((each = 0; each < 2 * count * threads && each < cores - count * threads + 1; each++)); do
        "$killick" --connect "unix:$folder/socket$((each % count))" bench "$operation" --connections 2 \
            --in-flight 64 --duration "${seconds}s" --json >"$folder/$each" &
        generators+=($!)
    done
    wait "${generators[@]}"
    kill "${servers[@]}"
    wait "${servers[@]}" 2>/dev/null || true
    cat "$folder"/[0-9]* | grep -o '"perSecond":[0-9.]*' | awk -F: '{ s += $2 } END { printf "%d", s }'
    rm -f "$folder"/[0-9]* "$folder"/socket*
}
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }

printf '%-8s %8s %12s %8s %8s\n' operation threads ops/s ratio apart
for operation in load walk create get store mixed; do
    one=
    for ((threads = 1; 2 * threads <= cores || threads <= 2; threads *= 2)); do
        sum=$(measure "$operation" 1 $threads)
        one=${one:-$sum}
        apart=$(measure "$operation" $threads 1)
        printf '%-8s %8d %12d %8s %8s\n' "$operation" $threads "$sum" "$(ratio "$sum" "$one")" \
            "$(ratio "$sum" "$apart")"
    done
done
