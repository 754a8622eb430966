#!/bin/bash
# scripts/setup where things are missing, with stand-ins for Debian's commands and no network.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stubs=$work/stubs
mkdir "$stubs"
export WEFT_CACHE=$work/cache

# stub NAME: a command whose body is read from standard input.
stub() {
  { echo '#!/bin/bash'; cat; } >"$stubs/$1"
  chmod +x "$stubs/$1"
}
# expect STATUS COMMAND...: runs it with the stand-ins first in PATH, output to $work/{out,err}.
expect() {
  local status=0
  PATH=$stubs:$PATH "${@:2}" >"$work/out" 2>"$work/err" </dev/null || status=$?
  if [[ $status != "$1" ]]; then
    echo "exit status $status instead of $1: ${*:2}"
    cat "$work/out" "$work/err"
    exit 1
  fi
}
expect_text() {
  grep -qF -- "$2" "$work/$1" || {
    echo "'$2' is not in $1:"
    cat "$work/$1"
    exit 1
  }
}
expect_absent() {
  [[ ! -e $1 ]] || { echo "$1 was made" && exit 1; }
}

# Everything is installed, but for what $work/absent names.
touch "$work/absent"
stub dpkg-query <<END
for name in "\${@:4}"; do
  grep -qxF "\$name" "$work/absent" || echo "\$name installed"
done
grep -q . "$work/absent" && exit 1 || exit 0
END
stub apt-get <<END
echo "\$*" >>"$work/apt_calls"
exit 100
END
stub id <<'END'
echo 1000
END

echo "the folder of LibTorch is printed alone, and nothing is made"
expect 0 "$root/scripts/setup" --print-torch-root
grep -qxE "$work/cache/libtorch-[0-9.]+-(cpu|cuda)" "$work/out"
[[ $(wc -l <"$work/out") == 1 && ! -s $work/err ]]
expect 0 "$root/scripts/setup" --print-cache
[[ $(<"$work/out") == "$work/cache" && ! -s $work/err ]]
expect_absent "$work/cache"

echo "the cache folder needs neither HOME nor XDG_CACHE_HOME"
expect 0 env -u WEFT_CACHE -u HOME -u XDG_CACHE_HOME "$root/scripts/setup" --print-torch-root
expect_text out "$root/.cache/libtorch-"
expect 0 env -u WEFT_CACHE HOME="$work/home" XDG_CACHE_HOME= "$root/scripts/setup" --print-torch-root
expect_text out "$work/home/.cache/weft/libtorch-"

echo "another user than root is told the line to run"
printf '%s\n' ninja-build libyaml-cpp-dev >"$work/absent"
expect 2 "$root/scripts/setup"
expect_text err "missing Debian packages: ninja-build libyaml-cpp-dev"
expect_text err "apt-get update && apt-get install -y --no-install-recommends ninja-build libyaml-cpp-dev"
expect_absent "$work/apt_calls"
expect_absent "$work/cache"

echo "ccache and git are not asked of another user"
printf '%s\n' ccache git >"$work/absent"
expect 1 env PIP_INDEX_URL=http://127.0.0.1:9 PIP_FIND_LINKS= PIP_RETRIES=0 "$root/scripts/setup"
expect_text err "cannot download LibTorch"
rm -r "$work/cache"
printf '%s\n' ninja-build libyaml-cpp-dev >"$work/absent"

echo "root installs, and hears when that fails"
stub id <<'END'
echo 0
END
expect 1 "$root/scripts/setup"
expect_text err "apt-get update failed"
grep -qx -- '.*update' "$work/apt_calls"

echo "root gets what is missing"
stub apt-get <<END
echo "\$*" >>"$work/apt_calls"
[[ \$1 != install ]] || : >"$work/absent"
END
expect 1 env PIP_INDEX_URL=http://127.0.0.1:9 PIP_FIND_LINKS= PIP_RETRIES=0 "$root/scripts/setup"
grep -q '^install -y --no-install-recommends ninja-build libyaml-cpp-dev' "$work/apt_calls"

echo "without a network LibTorch is reported, and nothing half done stays"
expect_text err "missing: LibTorch"
expect_text err "cannot download LibTorch from PyPI"
[[ -z $(find "$work/cache" -mindepth 1 ! -name .lock) ]]

echo "a cache folder that cannot be written is named"
expect 1 env WEFT_CACHE=/proc/weft "$root/scripts/setup"
expect_text err "cannot write into the cache folder /proc/weft"

echo "an unknown argument is refused"
expect 1 "$root/scripts/setup" --pritn-torch-root
expect_text err "unknown argument --pritn-torch-root"
