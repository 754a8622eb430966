// Decoding with state against recomputation, for the committed checkpoint of every family.
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "tests/parity/fixture.h"
#include "tests/support/closeness.h"
#include "trainer/generate.h"

namespace weft {
namespace {

// [T, V], the tokens given in pieces that end at `ends`.
Tensor in_pieces(const CausalLM& model, const Ids& ids, const std::vector<size_t>& ends) {
  DecodingState state = model.new_state(1, static_cast<int64_t>(ids.size()));
  std::vector<Tensor> logits;
  size_t begin = 0;
  const at::NoGradGuard no_grad;
  for (const size_t end : ends) {
    logits.push_back(model.head(model.extend(as_row(slice(ids, begin, end)), state))[0]);
    begin = end;
  }
  EXPECT_EQ(state.lengths, Ids{static_cast<int64_t>(ids.size())});
  return at::cat(logits);
}

std::vector<size_t> one_by_one(const Ids& ids) {
  std::vector<size_t> ends(ids.size());
  for (size_t i = 0; i < ends.size(); ++i) ends[i] = i + 1;
  return ends;
}

class Decoding : public testing::TestWithParam<DecodingCase> {
 protected:
  LoadedModel load_case(ComputeKind compute) const { return load(GetParam(), compute); }
  TokenLists ids() const { return ids_of(GetParam().family); }

  static std::vector<Ids> generate_greedily(const LoadedModel& model, const TokenLists& prompts,
                                            size_t count, size_t window) {
    GenerationOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = static_cast<int64_t>(count);
    options.window = static_cast<int64_t>(window);
    return *generate(*model.model, prompts, options);
  }
};

TEST_P(Decoding, GreedyTokensWithStateAreThoseOfRecomputation) {
  const LoadedModel model = load_case(ComputeKind::kFp32);
  for (const Ids& prompt : ids()) {
    const Ids answer = generate_greedily(model, {prompt}, 20, longest_text(model))[0];
    EXPECT_EQ(answer.size(), 20u);
    EXPECT_EQ(answer, greedily_recomputed(*model.model, prompt, 20, longest_text(model)));
  }
}

TEST_P(Decoding, AFullWindowStartsAnewFromItsLastHalf) {
  const LoadedModel model = load_case(ComputeKind::kFp32);
  for (const Ids& prompt : {ids()[1], ids()[2]}) {
    for (const size_t window : {1, 2, 6, 7}) {
      const Ids answer = generate_greedily(model, {prompt}, 20, window)[0];
      EXPECT_EQ(answer, greedily_recomputed(*model.model, prompt, 20, window)) << window;
    }
  }
}

TEST_P(Decoding, LogitsWithStateAreThoseOfRecomputation) {
  const LoadedModel fp32 = load_case(ComputeKind::kFp32), fp64 = load_case(ComputeKind::kFp64);
  for (const Ids& tokens : ids()) {
    for (const std::vector<size_t>& ends : {one_by_one(tokens), {tokens.size()}}) {
      const Tensor single = in_pieces(*fp32.model, tokens, ends);
      EXPECT_EQ(single.scalar_type(), at::kFloat);
      EXPECT_LE(max_difference(single, recomputed(*fp32.model, tokens)), 1e-4);
      const Tensor wide = in_pieces(*fp64.model, tokens, ends);
      EXPECT_EQ(wide.scalar_type(), at::kDouble);
      EXPECT_LE(max_difference(wide, recomputed(*fp64.model, tokens)), 1e-10);
    }
  }
}

TEST_P(Decoding, APromptInTwoOrThreePrefillsGivesWhatOneGives) {
  const LoadedModel model = load_case(ComputeKind::kFp64);
  const Ids prompt = ids()[2];
  const size_t size = prompt.size();
  ASSERT_EQ(size, 13u);
  const Tensor whole = in_pieces(*model.model, prompt, {size});
  for (size_t first = 1; first < size; ++first) {
    EXPECT_LE(max_difference(in_pieces(*model.model, prompt, {first, size}), whole), 1e-10)
        << first;
    for (size_t second = first + 1; second < size; ++second) {
      EXPECT_LE(max_difference(in_pieces(*model.model, prompt, {first, second, size}), whole),
                1e-10)
          << first << " and " << second;
    }
  }
}

TEST_P(Decoding, PromptsOfUnequalLengthInOneBatchGiveWhatEachGivesAlone) {
  const LoadedModel model = load_case(ComputeKind::kFp32);
  const std::vector<Ids> together = generate_greedily(model, ids(), 20, longest_text(model));
  ASSERT_EQ(together.size(), 3u);
  for (size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(together[i], generate_greedily(model, {ids()[i]}, 20, longest_text(model))[0]) << i;
  }
}

TEST_P(Decoding, RowsOfUnequalLengthGoOnAsIfEachWereAlone) {
  const at::NoGradGuard no_grad;
  const LoadedModel model = load_case(ComputeKind::kFp64);
  const Ids next = {5, 0, 30};
  DecodingState joined = model.model->new_state(3, 16);
  std::vector<DecodingState> states;
  for (const Ids& tokens : ids()) {
    states.push_back(model.model->new_state(1, 16));
    model.model->extend(as_row(tokens), states.back());
    put_rows(states.back(), static_cast<int64_t>(states.size()) - 1, joined);
  }
  EXPECT_EQ(joined.lengths, (Ids{1, 6, 13}));
  for (const int64_t token : next) {
    const Tensor tokens = at::tensor(Ids{token, (token + 1) % 31, (token + 2) % 31}, at::kLong);
    const Tensor together = model.model->head(model.model->extend(tokens.unsqueeze(1), joined));
    std::vector<Tensor> alone;
    for (int64_t i = 0; i < 3; ++i) {
      const Tensor one = tokens.narrow(0, i, 1).unsqueeze(1);
      alone.push_back(model.model->head(model.model->extend(one, states[i]))[0]);
    }
    EXPECT_LE(max_difference(together, at::stack(alone)), 1e-10);
  }
  EXPECT_EQ(joined.lengths, (Ids{4, 9, 16}));
}

TEST_P(Decoding, ARowCanBePrefilledInsideAStateOfMany) {
  const at::NoGradGuard no_grad;
  const LoadedModel model = load_case(ComputeKind::kFp64);
  const Ids first = ids()[1], second = ids()[2];
  DecodingState state = model.model->new_state(2, 16);
  // Row 1 has been used before, by a longer sequence.
  for (const Ids& tokens : {second, first}) {
    DecodingState row = narrow_rows(state, 1, 1);
    clear(row);
    EXPECT_EQ(row.lengths, Ids{0});
    model.model->extend(as_row(tokens), row);
    put_rows(row, 1, state);
  }
  EXPECT_EQ(state.lengths, (Ids{0, 6}));
  put_rows(narrow_rows(state, 1, 1), 0, state);
  EXPECT_EQ(state.lengths, (Ids{6, 6}));
  Ids longer = first;
  longer.push_back(5);
  const Tensor expected = recomputed(*model.model, longer)[-1];
  const Tensor both =
      model.model->head(model.model->extend(at::tensor(Ids{5, 5}, at::kLong).unsqueeze(1), state));
  for (int64_t row = 0; row < 2; ++row) {
    EXPECT_LE(max_difference(both[row][0], expected), 1e-10) << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Family, Decoding, testing::ValuesIn(kDecodingCases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weft
