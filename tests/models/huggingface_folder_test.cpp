// Tensors that do not fit config.json are refused by name; those of published files, under other
// names or with buffers beside them, do fit.
#include <algorithm>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/models/huggingface_folders.h"

namespace weft {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(HfFolderTest, TypesAreThoseOfTheFileAndTheWidestOfExperts) {
  copy("mixtral");
  edit([](auto& tensors) {
    for (NamedTensor& named : tensors) named.tensor = named.tensor.to(at::kBFloat16);
    Tensor& one = find_tensor(tensors, "model.layers.0.block_sparse_moe.experts.2.w1.weight");
    one = one.to(at::kFloat);
  });
  const HfFolder folder = open_folder(path());
  const auto type = [&](const char* name) { return folder.dtype(*folder.table().find(name)); };
  EXPECT_EQ(type("embedding.weight"), at::kBFloat16);
  EXPECT_EQ(type("layers.0.feed_forward.experts.gate.weight"), at::kFloat);
  EXPECT_EQ(type("layers.0.feed_forward.experts.up.weight"), at::kBFloat16);
  const Tensor wide = at::empty({31, 16}, at::kDouble);
  folder.read(*folder.table().find("embedding.weight"), wide);
  EXPECT_TRUE(at::equal(wide.to(at::kBFloat16),
                        stored_tensor("mixtral", "model.embed_tokens.weight").to(at::kBFloat16)));
}

TEST_F(HfFolderTest, ATensorThatIsMissingIsNamedWithItsShape) {
  copy("llama");
  edit([](auto& tensors) {
    ASSERT_TRUE(drop_tensor(tensors, "model.layers.1.mlp.up_proj.weight"));
  });
  EXPECT_EQ(refusal(), problem("tensor 'model.layers.1.mlp.up_proj.weight' [24, 16] is missing"));
}

TEST_F(HfFolderTest, ATensorTooManyIsNamed) {
  copy("llama");
  edit([](auto& tensors) { tensors.push_back({"model.layers.2.norm", at::ones({2})}); });
  EXPECT_EQ(refusal(), problem("tensor 'model.layers.2.norm' is unexpected"));
}

TEST_F(HfFolderTest, ATensorOfAnotherShapeIsNamedWithBothShapes) {
  copy("mamba");
  edit([](auto& tensors) {
    find_tensor(tensors, "backbone.layers.0.mixer.conv1d.weight") = at::ones({32, 4});
    find_tensor(tensors, "backbone.norm_f.weight") = at::ones({});
  });
  EXPECT_EQ(refusal(),
            problem("tensor 'backbone.layers.0.mixer.conv1d.weight' is [32, 4], config.json makes "
                    "it [32, 1, 4]\n") +
                problem("tensor 'backbone.norm_f.weight' is [], config.json makes it [16]"));
}

TEST_F(HfFolderTest, ATensorOfATypeWithoutWeightsIsNamed) {
  copy("llama");
  edit(
      [](auto& tensors) { find_tensor(tensors, "model.norm.weight") = at::arange(16, at::kLong); });
  EXPECT_EQ(refusal(), problem("tensor 'model.norm.weight' is I64, must be F32, BF16, F16 or F64"));
}

TEST_F(HfFolderTest, AllProblemsAreNamedAtOnce) {
  copy("jamba");
  edit([](auto& tensors) {
    ASSERT_TRUE(drop_tensor(tensors, "model.layers.2.feed_forward.experts.1.up_proj.weight"));
    ASSERT_TRUE(drop_tensor(tensors, "lm_head.weight"));
    find_tensor(tensors, "model.layers.0.mamba.D") = at::ones({31});
    tensors.push_back({"extra", at::ones({1})});
  });
  const std::string message = refusal();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 3);
  EXPECT_THAT(message, HasSubstr(problem("tensor 'model.layers.0.mamba.D' is [31], config.json "
                                         "makes it [32]\n")));
  EXPECT_THAT(message, HasSubstr(problem("tensor 'model.layers.2.feed_forward.experts.1.up_proj."
                                         "weight' [12, 16] is missing\n")));
  EXPECT_THAT(message, HasSubstr(problem("tensor 'lm_head.weight' [31, 16] is missing\n")));
  EXPECT_THAT(message, HasSubstr(problem("tensor 'extra' is unexpected")));
}

TEST_F(HfFolderTest, AfterTwentyProblemsTheRestIsCounted) {
  copy("llama");
  write({{"x", at::ones({1})}});  // 21 are missing, one is unexpected
  const std::string message = refusal();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
  EXPECT_TRUE(message.ends_with("\nand 2 more")) << message;
}

TEST_F(HfFolderTest, TheWrongFamilyIsRefusedTensorByTensor) {
  copy("llama");
  fs::copy(fixture_folder("mamba") / "config.json", path() / "config.json",
           fs::copy_options::overwrite_existing);
  EXPECT_THAT(refusal(),
              StartsWith(problem("tensor 'backbone.embeddings.weight' [31, 16] is missing\n")));
}

TEST_F(HfFolderTest, ConfigProblemsNameTheFile) {
  EXPECT_THAT(refusal(), StartsWith((path() / "config.json").string()));  // there is none
  copy("llama");
  write_text(path() / "config.json", R"({"model_type": "bert"})");
  EXPECT_THAT(refusal(), StartsWith((path() / "config.json").string() +
                                    ": model_type: is 'bert', weft knows"));
}

TEST_F(HfFolderTest, Gpt2LoadsAsItWasPublished) {
  copy("gpt2");
  rename([](const std::string& name) { return name.substr(std::string("transformer.").size()); });
  edit([](auto& tensors) {
    for (const char* layer : {"h.0", "h.1"}) {
      tensors.push_back({std::string(layer) + ".attn.bias", at::ones({1, 1, 16, 16}, at::kByte)});
      tensors.push_back({std::string(layer) + ".attn.masked_bias", at::ones({})});
    }
    const Tensor embedding = find_tensor(tensors, "wte.weight").clone();
    tensors.push_back({"lm_head.weight", embedding});
  });
  expect_values_of("gpt2");
  edit([](auto& tensors) { ASSERT_TRUE(drop_tensor(tensors, "h.0.attn.c_attn.bias")); });
  EXPECT_EQ(refusal(), problem("tensor 'transformer.h.0.attn.c_attn.bias' [45] is missing"));
}

TEST_F(HfFolderTest, ATensorUnderBothOfItsNamesIsRefused) {
  copy("gpt2");
  edit([](auto& tensors) { tensors.push_back({"wte.weight", at::ones({31, 15})}); });
  EXPECT_EQ(refusal(), problem("tensor 'wte.weight' is unexpected"));
}

TEST_F(HfFolderTest, MambaLoadsUnderTheNameOfTheOriginalFiles) {
  for (const char* family : {"mamba", "mamba2"}) {
    copy(family);
    rename([](const std::string& name) {
      return name == "backbone.embeddings.weight" ? "backbone.embedding.weight" : name;
    });
    edit([](auto& tensors) {
      const Tensor embedding = find_tensor(tensors, "backbone.embedding.weight").clone();
      tensors.push_back({"lm_head.weight", embedding});
    });
    expect_values_of(family);
  }
}

TEST_F(HfFolderTest, OpenElmLoadsWithoutThePrefix) {
  copy("openelm");
  rename([](const std::string& name) { return name.substr(std::string("transformer.").size()); });
  expect_values_of("openelm");
}

TEST_F(HfFolderTest, OldRotaryBuffersAreSkipped) {
  copy("llama");
  edit([](auto& tensors) {
    tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({2})});
  });
  expect_values_of("llama");
}

TEST_F(HfFolderTest, AHeadBesideATiedEmbeddingMustBeTheEmbedding) {
  copy("llama");
  Json config = Json::parse(contents(path() / "config.json"));
  config["tie_word_embeddings"] = true;
  write_text(path() / "config.json", config.dump());
  const std::string other = problem(
      "tensor 'lm_head.weight' is not the embedding, which config.json says that it is: take the "
      "tensor out, or set tie_word_embeddings to false");
  EXPECT_EQ(refusal(), other);
  edit([](auto& tensors) {
    find_tensor(tensors, "lm_head.weight") = find_tensor(tensors, "model.embed_tokens.weight");
  });
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(open_folder(path()).table().find("head.weight"), nullptr);
  edit([](auto& tensors) { find_tensor(tensors, "lm_head.weight") = at::ones({3}, at::kLong); });
  EXPECT_EQ(refusal(), other);
}

}  // namespace
}  // namespace weft
