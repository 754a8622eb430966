#pragma once
// Hugging Face folders made from the committed fixtures.
#include <functional>
#include <string>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "models/huggingface/folder.h"
#include "tests/models/huggingface_configs.h"

namespace weft {

inline constexpr char kHfIndex[] = "model.safetensors.index.json";

inline HfFolder open_folder(const fs::path& path) {
  absl::StatusOr<HfFolder> folder = HfFolder::open(path);
  WEFT_CHECK(folder.ok(), folder.status());
  return *std::move(folder);
}

inline std::vector<NamedTensor> tensors_of(const fs::path& path) {
  const auto file = SafetensorsFile::open(path);
  WEFT_CHECK(file.ok(), file.status());
  std::vector<NamedTensor> tensors;
  for (const SafetensorsEntry& entry : file->entries()) {
    tensors.push_back({entry.name, file->read(entry)});
  }
  return tensors;
}

// A tensor of a fixture, as it is on disk.
inline Tensor stored_tensor(const std::string& family, const std::string& name) {
  for (const NamedTensor& named : tensors_of(fixture_folder(family) / "model.safetensors")) {
    if (named.name == name) return named.tensor;
  }
  WEFT_CHECK(false, "no tensor ", name);
}

// A logical tensor in the type that it is stored in.
inline Tensor read_logical(const HfFolder& folder, const std::string& name) {
  const ParameterSpec* row = folder.table().find(name);
  WEFT_CHECK(row != nullptr, "no parameter ", name);
  const Tensor out = at::empty(row->shape, folder.dtype(*row));
  folder.read(*row, out);
  return out;
}

// A copy of a fixture that can be damaged.
class HfFolderTest : public testing::Test {
 protected:
  const fs::path& path() const { return folder_.path(); }
  std::string weights() const { return (path() / "model.safetensors").string(); }

  void copy(const std::string& family) const {
    for (const char* name : {"config.json", "model.safetensors"}) {
      fs::copy(fixture_folder(family) / name, path() / name, fs::copy_options::overwrite_existing);
    }
  }
  void write(const std::vector<NamedTensor>& tensors,
             const std::string& name = "model.safetensors") const {
    fs::remove(path() / name);
    const auto written = write_safetensors(path() / name, tensors, {{"format", "pt"}});
    WEFT_CHECK(written.ok(), written.status());
  }
  // Changes the list of tensors of the copy.
  void edit(const std::function<void(std::vector<NamedTensor>&)>& change) const {
    std::vector<NamedTensor> tensors = tensors_of(weights());
    change(tensors);
    write(tensors);
  }
  void rename(const std::function<std::string(const std::string&)>& name) const {
    edit([&](auto& tensors) {
      for (NamedTensor& tensor : tensors) tensor.name = name(tensor.name);
    });
  }
  void write_index(const Json& weight_map) const {
    write_text(path() / kHfIndex, Json({{"weight_map", weight_map}}).dump());
  }
  // Cuts the copy into two files with an index, whose map comes back.
  Json shard() const {
    const std::vector<NamedTensor> all = tensors_of(weights());
    const auto middle = all.begin() + static_cast<int64_t>(all.size() / 2);
    write({all.begin(), middle}, "a.safetensors");
    write({middle, all.end()}, "b.safetensors");
    fs::remove(weights());
    Json map = Json::object();
    for (auto it = all.begin(); it != all.end(); ++it) {
      map[it->name] = it < middle ? "a.safetensors" : "b.safetensors";
    }
    write_index(map);
    return map;
  }

  // The message that refuses the folder; empty where it is accepted.
  std::string refusal() const {
    const absl::Status status = HfFolder::open(path()).status();
    EXPECT_EQ(exit_status(status), status.ok() ? 0 : 2) << status;
    return std::string(status.message());
  }
  std::string problem(const std::string& text) const { return path().string() + ": " + text; }

  void expect_values_of(const std::string& family) const {
    const HfFolder ours = open_folder(path()), original = open_folder(fixture_folder(family));
    ASSERT_EQ(ours.table().rows().size(), original.table().rows().size());
    for (const ParameterSpec& row : original.table().rows()) {
      EXPECT_TRUE(at::equal(read_logical(ours, row.name), read_logical(original, row.name)))
          << row.name;
    }
  }

 private:
  TemporaryFolder folder_{fast_folder()};
};

// Whether the tensor was there, once.
inline bool drop_tensor(std::vector<NamedTensor>& tensors, const std::string& name) {
  return std::erase_if(tensors, [&](const NamedTensor& t) { return t.name == name; }) == 1;
}

inline Tensor& find_tensor(std::vector<NamedTensor>& tensors, const std::string& name) {
  for (NamedTensor& named : tensors) {
    if (named.name == name) return named.tensor;
  }
  WEFT_CHECK(false, "no tensor ", name);
}

}  // namespace weft
