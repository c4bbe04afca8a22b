#!/bin/sh
# Start a service, compute one forecast from the newest bundled GFS analysis, draw it beside the analyses of its valid times.
# demo.sh BIN FOLDER PORT
set -eu
bin=$1
folder=$2
port=$3
analyses=$(dirname "$0")/../samples/gfs_2026-04-20T00/analyses
export WARMCAST_URL="http://127.0.0.1:$port"

fail() {
  echo "The service did not start on port $port. Choose another: make demo PORT=8001" >&2
  exit 1
}

if "$bin/warmcast" list >/dev/null 2>&1; then
  fail # another service is on this port
fi
"$bin/warmcast" serve --port "$port" --data "$folder" &
service=$!
# 2>/dev/null hides the shell's message "Terminated", which looks like an error.
stop_service() { { kill "$service" && wait "$service"; } 2>/dev/null || true; }
trap stop_service EXIT

tries=0
until "$bin/warmcast" list >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 60 ] || ! kill -0 "$service" 2>/dev/null; then
    fail
  fi
  sleep 0.5
done

"$bin/warmcast" submit --initial-state gfs --members 16 --lead-time 240h --seed 1 --json >"$folder/submitted.json"
id=$("$bin/python" -c 'import json, sys; print(json.load(sys.stdin)["id"])' <"$folder/submitted.json")
"$bin/warmcast" watch "$id"
trap - EXIT
stop_service

forecast=$folder/forecasts/$id
echo
echo "Pictures:"
"$bin/warmcast" plot "$forecast" --lead-time 24h --lead-time 72h --lead-time 120h --truth "$analyses"/*.nc
echo
echo "Read the ensemble in Python:  xarray.open_zarr(\"$forecast/ensemble.zarr\")"
echo "Start the service again:      $bin/warmcast serve --port $port --data $folder"
echo "then see it on a map:         $WARMCAST_URL/view/$id"
