// Every family's committed checkpoint: what transformers computed from it (fixtures/, README.md),
// and decoding with state against recomputation.
#include <algorithm>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "tests/support/closeness.h"
#include "tests/support/process.h"
#include "trainer/convert.h"
#include "trainer/generate.h"
#include "trainer/inspect.h"

namespace weft {
namespace {

using Ids = std::vector<int64_t>;
using Tensors = std::map<std::string, Tensor>;

// README.md: what may differ.
constexpr double kLogits = 1e-5;
constexpr double kLoss = 1e-6;
constexpr double kGradient = 1e-4;
constexpr double kTinyNorm = 1e-6, kTinyGradient = 1e-7;

fs::path fixture(const std::string& family) {
  return fs::path(WEFT_SOURCE_DIR) / "tests/parity/fixtures" / family;
}

LoadedModel load(const fs::path& folder, ComputeKind compute) {
  Log log(Log::Echo::kNo);
  absl::StatusOr<LoadedModel> model =
      load_model(folder.string(), DeviceKind::kCpu, compute, log, Gradients::kKept);
  WEFT_CHECK(model.ok(), model.status());
  return *std::move(model);
}

TokenLists ids_of(const std::string& family) {
  const auto lists = read_token_lists(fixture(family) / "ids.json", 31);
  WEFT_CHECK(lists.ok(), lists.status());
  return *lists;
}

Tensors named(const std::vector<NamedTensor>& list) {
  Tensors tensors;
  for (const NamedTensor& tensor : list) tensors[tensor.name] = tensor.tensor;
  WEFT_CHECK(tensors.size() == list.size(), "a name twice");
  return tensors;
}

std::set<std::string> names(const Tensors& tensors) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) names.insert(name);
  return names;
}

bool is_of_a_sequence(const std::string& name) {
  return name.starts_with("logits.") || name.starts_with("loss.");
}

// The reference's values of single sequences, or of all of them as one batch.
Tensors reference(const std::string& family, bool single) {
  const auto file = SafetensorsFile::open(fixture(family) / "reference.safetensors");
  WEFT_CHECK(file.ok(), file.status());
  Tensors tensors;
  for (const SafetensorsEntry& entry : file->entries()) {
    if (is_of_a_sequence(entry.name) == single) tensors[entry.name] = file->read(entry);
  }
  return tensors;
}

double norm_of(const Tensor& x) { return x.to(at::kDouble).square().sum().sqrt().item<double>(); }

void expect_reference_logits(const LoadedModel& model, const std::string& family) {
  const Tensors ours = named(compute_logits(model, ids_of(family)));
  const Tensors theirs = reference(family, /*single=*/true);
  ASSERT_EQ(names(ours), names(theirs));
  for (const auto& [name, tensor] : theirs) {
    ASSERT_EQ(ours.at(name).sizes(), tensor.sizes()) << name;
    ASSERT_EQ(ours.at(name).scalar_type(), at::kFloat) << name;
    const double allowed = name.starts_with("logits.") ? kLogits : kLoss;
    EXPECT_LE(max_difference(ours.at(name), tensor), allowed * max_magnitude(tensor)) << name;
  }
}

void expect_reference_gradients(LoadedModel& model, const std::string& family) {
  const Tensors ours = named(compute_gradients(model, ids_of(family)));
  const Tensors theirs = reference(family, /*single=*/false);
  ASSERT_EQ(names(ours), names(theirs));
  for (const auto& [name, tensor] : theirs) {
    ASSERT_EQ(ours.at(name).sizes(), tensor.sizes()) << name;
    ASSERT_EQ(ours.at(name).scalar_type(), at::kFloat) << name;
    if (name == "loss" || name == "aux") {
      EXPECT_LE(max_difference(ours.at(name), tensor), kLoss * max_magnitude(tensor)) << name;
      continue;
    }
    const double norm = norm_of(tensor);
    const double difference = norm_of(ours.at(name).to(at::kDouble) - tensor.to(at::kDouble));
    EXPECT_LE(difference, norm < kTinyNorm ? kTinyGradient : kGradient * norm) << name;
  }
}

class ParityFixture : public testing::TestWithParam<const char*> {
 protected:
  std::string family() const { return GetParam(); }
};

TEST_P(ParityFixture, LogitsAndLossesAreThoseOfTheReference) {
  expect_reference_logits(load(fixture(family()), ComputeKind::kFp32), family());
}

TEST_P(ParityFixture, GradientsAreThoseOfTheReference) {
  LoadedModel model = load(fixture(family()), ComputeKind::kFp32);
  expect_reference_gradients(model, family());
}

TEST_P(ParityFixture, AnImportedCheckpointGivesTheSameBits) {
  const TemporaryFolder temporary(fast_folder());
  const fs::path imported = temporary.path() / "imported";
  Log log(Log::Echo::kNo);
  ASSERT_EQ(import_checkpoint(fixture(family()), imported, log), absl::OkStatus());
  const LoadedModel direct = load(fixture(family()), ComputeKind::kFp32);
  LoadedModel model = load(imported, ComputeKind::kFp32);
  expect_reference_logits(model, family());
  const Tensors ours = named(compute_logits(model, ids_of(family())));
  for (const auto& [name, tensor] : named(compute_logits(direct, ids_of(family())))) {
    EXPECT_TRUE(at::equal(ours.at(name), tensor)) << name;
  }
  expect_reference_gradients(model, family());
}

INSTANTIATE_TEST_SUITE_P(Family, ParityFixture,
                         testing::Values("gpt2", "jamba", "llama", "mamba", "mamba2", "mixtral",
                                         "openelm"),
                         [](const auto& info) { return std::string(info.param); });

// A fixture, or one with other members of config.json that its tensors also fit.
struct DecodingCase {
  const char* name;
  const char* family;
  const char* changed;
};
void PrintTo(const DecodingCase& c, std::ostream* out) { *out << c.name; }

Tensor as_row(const Ids& ids) { return at::tensor(ids, at::kLong).unsqueeze(0); }

Ids slice(const Ids& ids, size_t begin, size_t end) {
  return {ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(end)};
}

// [T, V], every token from all before it at once.
Tensor recomputed(const CausalLM& model, const Ids& ids) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<int64_t>(ids.size());
  return model.logits(as_row(ids), Documents::whole_rows(1, length, at::kCPU))[0];
}

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

// What generate (trainer/generate.h) promises, without any state.
Ids greedily_recomputed(const CausalLM& model, Ids ids, size_t count, size_t window) {
  const auto first = [&](size_t size) {
    return size < window ? size : std::max<size_t>(1, window / 2);
  };
  Ids answer;
  for (size_t seen = first(ids.size()); answer.size() < count;) {
    const Tensor logits = recomputed(model, slice(ids, ids.size() - seen, ids.size()))[-1];
    answer.push_back(logits.argmax().item<int64_t>());
    ids.push_back(answer.back());
    seen = seen >= window ? first(ids.size()) : seen + 1;
  }
  return answer;
}

class Decoding : public testing::TestWithParam<DecodingCase> {
 protected:
  LoadedModel load_case(ComputeKind compute) const {
    const fs::path source = fixture(GetParam().family);
    const Json changed = Json::parse(GetParam().changed);
    if (changed.empty()) return load(source, compute);
    const TemporaryFolder temporary(fast_folder());
    Json config = Json::parse(contents(source / "config.json"));
    config.update(changed);
    write_text(temporary.path() / "config.json", config.dump());
    fs::copy(source / "model.safetensors", temporary.path());
    return load(temporary.path(), compute);
  }

  TokenLists ids() const { return ids_of(GetParam().family); }

  // The longest text that the model has positions for.
  static size_t window(const LoadedModel& model) {
    const int64_t positions = model.model->config().learned_positions;
    return positions > 0 ? static_cast<size_t>(positions) : 64;
  }

  static std::vector<Ids> generate_greedily(const LoadedModel& model, const TokenLists& prompts,
                                            size_t count, size_t window) {
    GenerationOptions options;
    options.sampling.temperature = 0;
    options.max_tokens = static_cast<int64_t>(count);
    options.window = static_cast<int64_t>(window);
    return generate(*model.model, prompts, options);
  }
};

TEST_P(Decoding, GreedyTokensWithStateAreThoseOfRecomputation) {
  const LoadedModel model = load_case(ComputeKind::kFp32);
  for (const Ids& prompt : ids()) {
    const Ids answer = generate_greedily(model, {prompt}, 20, window(model))[0];
    EXPECT_EQ(answer.size(), 20u);
    EXPECT_EQ(answer, greedily_recomputed(*model.model, prompt, 20, window(model)));
  }
}

TEST_P(Decoding, AFullWindowStartsAnewFromItsLastHalf) {
  const LoadedModel model = load_case(ComputeKind::kFp32);
  for (const size_t window : {1, 2, 7}) {
    const Ids answer = generate_greedily(model, {ids()[1]}, 20, window)[0];
    EXPECT_EQ(answer, greedily_recomputed(*model.model, ids()[1], 20, window)) << window;
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
  const std::vector<Ids> together = generate_greedily(model, ids(), 20, window(model));
  ASSERT_EQ(together.size(), 3u);
  for (size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(together[i], generate_greedily(model, {ids()[i]}, 20, window(model))[0]) << i;
  }
}

TEST_P(Decoding, RowsOfUnequalLengthGoOnAsIfEachWereAlone) {
  const at::NoGradGuard no_grad;
  const LoadedModel model = load_case(ComputeKind::kFp64);
  const Ids next = {5, 0, 30};
  std::vector<DecodingState> states;
  for (const Ids& tokens : ids()) {
    states.push_back(model.model->new_state(1, 16));
    model.model->extend(as_row(tokens), states.back());
  }
  DecodingState joined = join_rows(states);
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

INSTANTIATE_TEST_SUITE_P(
    Family, Decoding,
    testing::Values(DecodingCase{"gpt2", "gpt2", "{}"}, DecodingCase{"jamba", "jamba", "{}"},
                    DecodingCase{"llama", "llama", "{}"}, DecodingCase{"mamba", "mamba", "{}"},
                    DecodingCase{"mamba2", "mamba2", "{}"},
                    DecodingCase{"mixtral", "mixtral", "{}"},
                    DecodingCase{"openelm", "openelm", "{}"},
                    // Slots of keys are used again after five tokens.
                    DecodingCase{"mixtral_window", "mixtral", R"({"sliding_window": 5})"},
                    DecodingCase{"llama_yarn", "llama",
                                 R"({"rope_parameters": {"rope_type": "yarn", "factor": 4.0,
                                     "original_max_position_embeddings": 16}})"}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weft
