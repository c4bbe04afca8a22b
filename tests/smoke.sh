#!/bin/sh
# Run the smoke selection against the built wheel, in a separate environment and directory, without the checkout on the path.
set -eu
root=$(pwd)
python=$root/$PYTHON
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
$python -m build --wheel --no-isolation --outdir "$folder" "$root" >"$folder/build.log" 2>&1 || { cat "$folder/build.log"; exit 1; }
$python -m venv --system-site-packages "$folder/env"
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$folder/env/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))" >"$folder/purelib"
# dependencies are taken from the development environment, Warmcast itself from the wheel
echo "$site" >"$(cat "$folder/purelib")/dependencies.pth"
"$folder/env/bin/python" -m pip install --quiet --no-deps --ignore-installed "$folder"/warmcast-*.whl
mkdir "$folder/elsewhere"
cp -r "$root/tests" "$folder/elsewhere/tests"
cp -r "$root/pyproject.toml" "$root/README.md" "$root/Makefile" "$root/docs" "$root/deploy" "$root/Dockerfile" "$root/docker-compose.yml" \
  "$root/.env.example" "$folder/elsewhere/"
cd "$folder/elsewhere"
"$folder/env/bin/python" -P -c "
import pathlib, models, weather.bundled
home = pathlib.Path('$folder').resolve()
assert home in pathlib.Path(models.__file__).resolve().parents, models.__file__
for kind in ('checkpoints', 'samples'):
    assert home in weather.bundled.bundled_folder(kind).resolve().parents, weather.bundled.bundled_folder(kind)
"
# the names of files have no spaces
"$folder/env/bin/python" -P -m pytest -m smoke -p no:cacheprovider $(grep -rl --include='*.py' 'mark\.smoke' tests)
