// Every family's committed checkpoint: what transformers computed from it (fixtures/, README.md).
#include <map>
#include <set>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "tests/parity/fixture.h"
#include "tests/support/closeness.h"
#include "trainer/convert.h"

namespace weft {
namespace {

using Tensors = std::map<std::string, Tensor>;

// README.md: what may differ.
constexpr double kLogits = 1e-5;
constexpr double kLoss = 1e-6;
constexpr double kGradient = 1e-4;
constexpr double kTinyNorm = 1e-6, kTinyGradient = 1e-7;

Tensors named(const std::vector<NamedTensor>& list) {
  Tensors tensors;
  for (const NamedTensor& tensor : list) tensors[tensor.name] = tensor.tensor;
  WEFT_CHECK(tensors.size() == list.size(), "a name twice");
  return tensors;
}

Tensors named(const std::vector<TensorSource>& sources) {
  std::vector<NamedTensor> list;
  for (const TensorSource& source : sources) list.push_back({source.name, source.read().value()});
  return named(list);
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
  const Tensors ours = named(logit_sources(model, ids_of(family)));
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
  const Tensors ours = named(logit_sources(model, ids_of(family())));
  for (const auto& [name, tensor] : named(logit_sources(direct, ids_of(family())))) {
    EXPECT_TRUE(at::equal(ours.at(name), tensor)) << name;
  }
  expect_reference_gradients(model, family());
}

INSTANTIATE_TEST_SUITE_P(Family, ParityFixture, testing::ValuesIn(kFamilies),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace weft
