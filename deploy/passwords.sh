#!/bin/sh
# Make the passwords of docker-compose.yml, each in a file of the folder `secrets`; one that exists is kept.
set -eu
cd "$(dirname "$0")/.."
mkdir -p secrets
# The folder is private; containers read the files as other users, each only its own.
chmod 700 secrets
for name in grafana postgres redis; do
  file=secrets/${name}_password
  test -s "$file" || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$file"
  chmod 444 "$file"
done
