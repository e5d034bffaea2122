#!/usr/bin/env bash
# Make an aarch64 system in FOLDER, with emulators for it: no root, no container, no board.
#   arm64_system.sh FOLDER CONSTRAINTS PYTHON
# Debian's own tools fetch the packages, their signatures checked, into the folder; pip fetches the wheels.
set -euo pipefail
folder=$1 constraints=$2 python=$3
suite=trixie # qemu 7.2, a suite older, crashes on onnxruntime 1.32
version=3.13 # of the suite's Python
glibc=41     # of the suite: newest wheels it can load
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
fail() { echo "$1" >&2; exit 1; }

[ "$(uname -sm)" = "Linux x86_64" ] || fail "emulation is set up for Linux on x86-64, this is $(uname -sm)"
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || fail "there is no $tool here to fetch Debian's packages with"
done
[ -e "$keyring" ] || fail "there is no $keyring to check Debian's packages with (package debian-archive-keyring)"
# The first mirror that the system itself uses, of either format of its lists.
mirror=$(grep -rhoP '^(deb\s+(\[[^]]*\]\s+)?|URIs:\s*)\Khttps?://\S+/debian(?=/?(\s|$))' /etc/apt/sources.list* || true)
[ -n "$mirror" ] || fail "/etc/apt names no mirror of Debian"

apt=$folder/apt
mkdir -p "$apt"/state/lists/partial "$apt"/cache/archives/partial "$apt"/etc/{apt.conf.d,preferences.d} "$folder"/system/usr/lib
touch "$apt/status"
echo "deb [signed-by=$keyring] ${mirror%%$'\n'*} $suite main" >"$apt/etc/sources.list"
cat >"$apt/settings" <<SETTINGS
Dir "$apt";
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc "$apt/etc";
APT::Architecture "arm64";
APT::Architectures { "arm64"; "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
SETTINGS
export APT_CONFIG=$apt/settings LC_ALL=C
apt-get -q update >/dev/null
apt-get -q install --yes --download-only python3 libstdc++6 qemu-user:amd64 >/dev/null

ln -s usr/lib "$folder/system/lib" # a package's script would do it
for archive in "$apt"/cache/archives/*.deb; do
  case $(basename "$archive") in
    qemu-user_*) dpkg-deb --fsys-tarfile "$archive" |
      tar -x -C "$folder" --strip-components=3 ./usr/bin/qemu-aarch64 ./usr/bin/qemu-x86_64 ;;
    *_amd64.deb) ;;
    *) dpkg-deb -x "$archive" "$folder/system" ;;
  esac
done
rm -r "$apt"
ln -s "system/usr/bin/python$version" "$folder/python"

platforms=(--platform=manylinux2014_aarch64)
for minor in $(seq 17 "$glibc"); do platforms+=("--platform=manylinux_2_${minor}_aarch64"); done
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary=:all: \
  --python-version "$version" --implementation cp "${platforms[@]}" --constraint "$constraints" \
  --target "$folder/wheels" numpy onnxruntime opencv-python-headless onnx pytest hypothesis
