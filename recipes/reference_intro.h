#pragma once
// The text above the tables of docs/recipe.md: what a description cannot say about a key.

namespace weft {

inline constexpr char kReferenceIntro[] = R"(# Recipe reference

Made by `weft explain --markdown` from the descriptions of the config structs; a test holds this page
against them. `weft explain KEY` prints one part of it.

A recipe is one YAML file. Paths in it are relative to the folder that weft is started in, but for
`extends`. `stages.steps` below stands for that key of each entry of the list; on the command line an
entry is named by its index, from 0: `--set stages.0.steps=50`.

## Layers of a recipe

- `extends: other.yaml` puts a recipe beneath this one. Its path is relative to the folder of the file
  that says so, and a chain has at most 16 files.
- `--set KEY=VALUE` comes over both, in the order given. The value is YAML, so lists and maps work:
  `--set 'optim.betas=[0.9, 0.99]'`.
- Maps merge. Lists and single values replace. A key without a value (`schedule:`, `--set KEY=`) takes
  away the one beneath it, so that its default holds again.

## Values

- Integers are plain decimals (`8192`, `-3`); `1e6` is one too, being exact. A leading zero is refused:
  YAML readers take `012` for 10, 12 or text.
- Numbers are decimals with an optional exponent: `0.1`, `3e-4`. Neither `inf` nor `nan` is one.
- `true` and `false` are the only words for a yes or no.
- Text needs quotes only where YAML would read something else. A value in quotes is always text, never
  a number.
- Where a word such as `auto` or `all` is allowed in place of a value, the type says so.

Beyond YAML's own rules, a key may not stand twice in one map, tags (`!!int`) are refused, and a file has
at most 1 MiB, 10,000 values (those repeated by aliases included), and 64 maps and lists inside each other.
)";

}  // namespace weft
