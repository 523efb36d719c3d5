#!/usr/bin/env bash
# killick beside Redis, in one run: operations a second, and the server's processor time for one.
# Usage: server/benches/redis.sh [SECONDS]        needs redis-server and redis-benchmark, and a quiet machine
#
# Both serve on one thread, on the first core, over a Unix socket, to one connection: with 1 operation under way, by a
# generator on the same core and by one on another, which each has to wake for each message; and with 64. A value of 16 bytes
# is read by its key ('get' is three calls in one round trip: walk, cell, load; 'load' is by a capability that is held) and
# written; a node that is there is walked to, one that is not is made and given back, and 1,024 children are listed.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-3}
command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || {
    echo "no redis-server and redis-benchmark here" >&2
    exit 1
}
cargo build --release --quiet -p killick-server
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$folder"' EXIT
here=0 there=$(($(nproc) > 1))

taskset -c $here redis-server --port 0 --unixsocket "$folder/redis" --save '' --appendonly no --io-threads 1 >/dev/null &
taskset -c $here target/release/killick serve --quiet --threads 1 --listen "unix:$folder/killick" >/dev/null &
redis() { redis-cli -s "$folder/redis" "$@"; }
for _ in $(seq 100); do
    [ -S "$folder/killick" ] && redis ping >/dev/null 2>&1 && break
    sleep 0.05
done

# Microseconds of processor time that Redis has taken.
cpu() { redis info cpu | tr -d '\r' | awk -F: '/^used_cpu_(sys|user):/ { s += $2 } END { printf "%d", s * 1e6 }'; }

row='%-16s %9s %7s %12s %16s\n'
# shellcheck disable=SC2059
printf "$row" operation 'in flight' cores ops/s 'server cpu µs'
redis set key 0123456789abcdef >/dev/null
# What is under way, the core of the generator, and how many cores those are.
ways=("1 $here 1" "1 $there 2" "64 $there 2")
for way in "${ways[@]}"; do
    read -r in_flight core cores <<<"$way"
    for operation in get set; do
        words=(get key)
        [ $operation = set ] && words=(set key 0123456789abcdef)
        generate() {
            taskset -c "$core" redis-benchmark -s "$folder/redis" -c 1 -P "$in_flight" -n "$1" --csv "${words[@]}" |
                awk -F'"' 'END { printf "%d", $4 }'
        }
        # As many as fit the time, by what a short run does.
        rate=$(generate 20000)
        count=$((rate * seconds))
        before=$(cpu)
        rate=$(generate $count)
        taken=$(($(cpu) - before))
        # shellcheck disable=SC2059
        printf "$row" "Redis $operation" "$in_flight" "$cores" "$rate" "$(awk "BEGIN { printf \"%.2f\", $taken / $count }")"
    done
done
for way in "${ways[@]}"; do
    read -r in_flight core cores <<<"$way"
    taskset -c "$core" target/release/killick --connect "unix:$folder/killick" bench get load store walk create ls \
        --in-flight "$in_flight" --duration "${seconds}s" --json |
        sed -E 's/.*"perSecond":([0-9]+).*"serverCpuMicros":([0-9.]+).*"workload":"([a-z]+)".*/\3 \1 \2/' |
        while read -r workload rate taken; do
            # shellcheck disable=SC2059
            printf "$row" "killick $workload" "$in_flight" "$cores" "$rate" "$taken"
        done
done
