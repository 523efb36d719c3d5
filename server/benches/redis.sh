#!/usr/bin/env bash
# killick beside Redis, in one run: operations a second, and the server's processor time for one.
# Usage: server/benches/redis.sh [SECONDS]        needs redis-server and redis-benchmark, and a quiet machine
#
# Both serve on one thread over a Unix socket, to one connection, with 1 and with 64 operations under way.
# What is compared: a value read by its key ('get' is three calls in one round trip: walk, cell, load; 'load'
# is by a capability that is held) and a value of 16 bytes written.
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

redis-server --port 0 --unixsocket "$folder/redis" --save '' --appendonly no --io-threads 1 >/dev/null &
target/release/killick serve --quiet --threads 1 --listen "unix:$folder/killick" >/dev/null &
redis() { redis-cli -s "$folder/redis" "$@"; }
for _ in $(seq 100); do
    [ -S "$folder/killick" ] && redis ping >/dev/null 2>&1 && break
    sleep 0.05
done

# Microseconds of processor time that Redis has taken.
cpu() { redis info cpu | tr -d '\r' | awk -F: '/^used_cpu_(sys|user):/ { s += $2 } END { printf "%d", s * 1e6 }'; }

row='%-16s %9s %12s %16s\n'
# shellcheck disable=SC2059
printf "$row" operation 'in flight' ops/s 'server cpu µs'
redis set key 0123456789abcdef >/dev/null
for in_flight in 1 64; do
    for operation in get set; do
        words=(get key)
        [ $operation = set ] && words=(set key 0123456789abcdef)
        # As many as fit the time, by what a short run does.
        rate=$(redis-benchmark -s "$folder/redis" -c 1 -P $in_flight -n 20000 --csv "${words[@]}" |
            awk -F'"' 'END { printf "%d", $4 }')
        count=$((rate * seconds))
        before=$(cpu)
        rate=$(redis-benchmark -s "$folder/redis" -c 1 -P $in_flight -n $count --csv "${words[@]}" |
            awk -F'"' 'END { printf "%d", $4 }')
        taken=$(($(cpu) - before))
        # shellcheck disable=SC2059
        printf "$row" "Redis $operation" $in_flight "$rate" "$(awk "BEGIN { printf \"%.2f\", $taken / $count }")"
    done
done
target/release/killick --connect "unix:$folder/killick" bench get load store walk create ls \
    --duration "${seconds}s" --json |
    sed -E 's/.*"inFlight":([0-9]+).*"perSecond":([0-9]+).*"serverCpuMicros":([0-9.]+).*"workload":"([a-z]+)".*/\4 \1 \2 \3/' |
    while read -r workload in_flight rate taken; do
        # shellcheck disable=SC2059
        printf "$row" "killick $workload" "$in_flight" "$rate" "$taken"
    done
