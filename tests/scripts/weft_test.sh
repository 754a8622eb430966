#!/bin/bash
# scripts/weft in a made-up checkout: stand-ins for the build tools and for the other scripts record
# what they were asked for, and the program prints its arguments.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{stubs,user,checkout/scripts}
cp "$root/scripts/weft" "$work/checkout/scripts/weft"

# stub PATH: a command whose body is read from standard input.
stub() {
  { echo '#!/bin/bash'; cat; } >"$work/$1"
  chmod +x "$work/$1"
}
# weft STATUS ARGUMENTS...: runs the script in the user's folder, output to $work/{out,err}.
weft() {
  local status=0
  (cd "$work/user" && PATH=$work/stubs:$PATH "$work/checkout/scripts/weft" "${@:2}") \
    >"$work/out" 2>"$work/err" </dev/null || status=$?
  if [[ $status != "$1" ]]; then
    echo "exit status $status instead of $1: weft ${*:2}"
    cat "$work/out" "$work/err"
    exit 1
  fi
}
expect_line() {
  grep -qxF -- "$2" "$work/$1" || {
    echo "no line '$2' in $1:"
    cat "$work/$1"
    exit 1
  }
}

stub checkout/scripts/setup <<END
case \${1:-} in
  --print-torch-root) echo /torch ;;
  --print-nvcc) ;;
  *) exit \$(cat "$work/setup_status") ;;
esac
END
stub checkout/scripts/corpus <<END
if [[ \$1 == --names ]]; then echo shakespeare bible manpages-ja; exit; fi
echo "\$PWD: \$*" >>"$work/corpus_calls"
exit \$(cat "$work/corpus_status")
END
stub stubs/cmake <<END
while [[ \$1 != -B ]]; do shift; done
echo "WEFT_TORCH_ROOT:PATH=/torch" >"\$2/CMakeCache.txt"
touch "\$2/build.ninja"
echo configured >>"$work/builds"
END
stub stubs/ninja <<END
folder=\$(dirname "$work"/checkout/build/*/build.ninja)
if [[ \$1 == -n ]]; then
  [[ ! -x \$folder/weft ]] || echo 'ninja: no work to do.'
  exit
fi
echo built >>"$work/builds"
[[ ! -e $work/broken ]] || { echo 'scan.cpp:3: error'; exit 1; }
cat >"\$folder/weft" <<'PROGRAM'
#!/bin/bash
pwd
printf '<%s>\n' "\$@"
exit 7
PROGRAM
chmod +x "\$folder/weft"
END
echo 0 >"$work/setup_status"
echo 0 >"$work/corpus_status"

echo "a build that fails shows its output and ends with 1"
touch "$work/broken"
weft 1 --version
expect_line err "scan.cpp:3: error"
expect_line err "weft: the build failed"
rm "$work/broken" "$work/builds"

echo "arguments, folder and exit status are the program's own"
weft 7 generate --prompt "a  b" ""
expect_line out "$work/user"
expect_line out "<a  b>"
expect_line out "<>"

echo "nothing is built twice, and then nothing is said"
weft 7 --version
[[ ! -s $work/err && $(<"$work/builds") == built ]]

echo "set-up that fails ends with 1"
echo 2 >"$work/setup_status"
weft 1 --version
echo 0 >"$work/setup_status"

echo "train fetches each absent source of the recipe, once"
mkdir -p "$work"/user/{recipes,corpus/manpages-ja/train}
cat >"$work/user/recipes/base.yaml" <<'END'
stages: [{data: {sources: [{path: corpus/bible/train}, {path: "corpus/bible/valid"}]}}]
END
cat >"$work/user/recipes/mine.yaml" <<'END'
# corpus/nothing/train
extends: base.yaml  # corpus/remark/train
stages:
  - data: {sources: [{path: ./corpus/manpages-ja/train}, {path: corpus/mine/train}]}
END
weft 7 train recipes/mine.yaml --set stages.0.data.sources.0.path=corpus/shakespeare/train
[[ $(<"$work/corpus_calls") == "$work/user: --only bible,shakespeare corpus" ]]
rm "$work/corpus_calls"

echo "what is there, and other commands, fetch nothing"
mkdir -p "$work/user/corpus/bible/"{train,valid}
weft 7 train recipes/mine.yaml
weft 7 validate recipes/mine.yaml --set name=corpus/shakespeare/train
weft 7 train --help
[[ ! -e $work/corpus_calls ]]

echo "texts that cannot be fetched end with 1"
echo 1 >"$work/corpus_status"
weft 1 train recipes/mine.yaml --set name=corpus/shakespeare/train
expect_line err "weft: the texts could not be fetched"
