// A model that neither memory nor disk has room for: its file is a hole of 8 TiB behind a header.
#include "tests/cli/hf_fixture.h"

namespace weft {
namespace {

using testing::MatchesRegex;

class LargeModel : public HfTest {
 protected:
  void SetUp() override {
    const int64_t vocab = int64_t{1} << 24, width = int64_t{1} << 18;
    fs::create_directory(path("large"));
    const Json config = {
        {"model_type", "llama"},    {"vocab_size", vocab},         {"hidden_size", width},
        {"intermediate_size", 1},   {"num_hidden_layers", 1},      {"num_attention_heads", 64},
        {"num_key_value_heads", 1}, {"tie_word_embeddings", true}, {"max_position_embeddings", 64}};
    write_text(path("large/config.json"), config.dump());
    const std::string layer = "model.layers.0.";
    add("model.embed_tokens.weight", {vocab, width});
    add(layer + "self_attn.q_proj.weight", {width, width});
    add(layer + "self_attn.k_proj.weight", {width / 64, width});
    add(layer + "self_attn.v_proj.weight", {width / 64, width});
    add(layer + "self_attn.o_proj.weight", {width, width});
    add(layer + "mlp.gate_proj.weight", {1, width});
    add(layer + "mlp.up_proj.weight", {1, width});
    add(layer + "mlp.down_proj.weight", {width, 1});
    add(layer + "input_layernorm.weight", {width});
    add(layer + "post_attention_layernorm.weight", {width});
    add("model.norm.weight", {width});
    const std::string text = header_.dump();
    const auto size = static_cast<uint64_t>(text.size());
    const fs::path file = path("large/model.safetensors");
    write_text(file, std::string(reinterpret_cast<const char*>(&size), sizeof size) + text);
    std::error_code error;
    fs::resize_file(file, sizeof size + size + static_cast<uint64_t>(end_), error);
    ASSERT_FALSE(error) << "a file of 8 TiB that takes no space: " << error.message();
    write_text(path("ids.json"), "[[1, 2]]");
  }

  // Bad input, said with `message`, and nothing new. Never fills a disk, should it be let.
  void expect_no_room(const std::vector<std::string>& arguments, const std::string& message) {
    const Names before = listed();
    const Outcome outcome = weft(arguments, /*limit_bytes=*/1 << 20);
    EXPECT_EQ(outcome.exit_status, 2) << arguments[0];
    EXPECT_THAT(outcome.output, MatchesRegex(message + "\n")) << arguments[0];
    EXPECT_EQ(listed(), before) << arguments[0];
  }

 private:
  void add(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t bytes = 2;
    for (const int64_t size : shape) bytes *= size;
    header_[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end_, end_ + bytes}}};
    end_ += bytes;
  }

  Json header_ = Json::object();
  int64_t end_ = 0;
};

TEST_F(LargeModel, IsNotLoadedWhereMemoryHasNoRoom) {
  const std::string room = " GiB of memory, this machine has [0-9]+\\.[0-9] GiB";
  const auto refused = [&](std::vector<std::string> arguments, const std::string& need) {
    arguments.insert(arguments.end(), {"--device", "cpu", "--compute", "fp32"});
    expect_no_room(arguments, "large: its weights" + need + room);
  };
  refused({"logits", "large", "--ids", "ids.json", "--out", "new"}, " need 16904\\.0");
  refused({"grads", "large", "--ids", "ids.json", "--out", "new"},
          " and their gradients need 33808\\.0");
  refused({"generate", "large", "--ids", "1"}, " need 16904\\.0");
}

TEST_F(LargeModel, IsNotConvertedWhereTheDiskHasNoRoom) {
  for (const char* command : {"import", "export"}) {
    expect_no_room({command, "large", "--out", "new"},
                   "new: takes [0-9]{13} bytes, [0-9]+ are free there");
  }
}

}  // namespace
}  // namespace weft
