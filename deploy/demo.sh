#!/bin/sh
# Start a service, compute one forecast from the bundled GFS analysis, draw its maps and plume.  demo.sh BIN FOLDER PORT
set -eu
bin=$1
folder=$2
url=http://127.0.0.1:$3
"$bin/warmcast" serve --port "$3" --data "$folder" &
service=$!
trap 'kill "$service"; wait "$service" || true' EXIT
export WARMCAST_URL="$url"
tries=0
until "$bin/warmcast" list >/dev/null 2>&1; do
  tries=$((tries + 1))
  if [ "$tries" -gt 60 ] || ! kill -0 "$service" 2>/dev/null; then
    echo "The service did not start on port $3. Choose another: make demo PORT=8001" >&2
    exit 1
  fi
  sleep 0.5
done
"$bin/warmcast" submit --initial-state gfs --members 16 --lead-time 240h --seed 1 --json >"$folder/submitted.json"
id=$("$bin/python" -c 'import json, sys; print(json.load(sys.stdin)["id"])' <"$folder/submitted.json")
echo "Open the ensemble while it is computed:  xarray.open_zarr(\"$url/forecast/$id/ensemble.zarr\")"
"$bin/warmcast" watch "$id"
"$bin/warmcast" plot "$folder/forecasts/$id" --latitude 34 --longitude -78
