#include "base/safetensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "tests/support/forked.h"
#include "tests/support/process.h"

namespace weft {
namespace {

using testing::HasSubstr;

constexpr at::ScalarType kTypes[] = {at::kLong,        at::kDouble, at::kFloat, at::kInt,
                                     at::kBFloat16,    at::kHalf,   at::kByte,  at::kFloat8_e4m3fn,
                                     at::kFloat8_e5m2, at::kBool};

Tensor count_up(std::vector<int64_t> shape, at::ScalarType type) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return at::arange(n, at::kFloat).reshape(shape).to(type);
}

std::string bytes_of(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

// A file with this header and so many bytes of zeros as data.
std::string file_with(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header +
         std::string(data_bytes, '\0');
}

class SafetensorsTest : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "x.safetensors"; }
  WrittenFile write(std::vector<NamedTensor> tensors,
                    const std::map<std::string, std::string>& metadata = {}) const {
    return *write_safetensors(path(), std::move(tensors), metadata);
  }
  // The message that refuses these bytes, without the path; empty if they are accepted.
  std::string refusal(const std::string& bytes) const {
    write_text(path(), bytes);
    const absl::Status status = SafetensorsFile::open(path()).status();
    if (status.ok()) return "";
    const std::string prefix = path().string() + ": ";
    const std::string message(status.message());
    EXPECT_TRUE(message.starts_with(prefix)) << message;
    EXPECT_EQ(exit_status(status), 2);
    return message.substr(std::min(prefix.size(), message.size()));
  }

 private:
  TemporaryFolder folder_;
};

// spec/formats.md 5: bytes written by the reference library.
TEST_F(SafetensorsTest, WritesTheBytesOfTheReferenceWriter) {
  const Tensor b = at::arange(1, 3, at::kLong);
  const Tensor a = at::arange(1, 4, at::kFloat).reshape({1, 3});
  const WrittenFile written =
      write({{"e", at::empty({0, 4}, at::kFloat)}, {"a", a}, {"b", b}}, {{"format", "pt"}});
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[2],"data_offsets":[0,16]},)"
      R"("a":{"dtype":"F32","shape":[1,3],"data_offsets":[16,28]},)"
      R"("e":{"dtype":"F32","shape":[0,4],"data_offsets":[28,28]}})";
  std::string expected = "\xc8";
  expected.resize(8, '\0');
  expected += header + std::string(200 - header.size(), ' ') + bytes_of(b) + bytes_of(a);
  ASSERT_EQ(expected.size(), 236u);
  EXPECT_EQ(contents(path()), expected);
  EXPECT_EQ(written.name, "x.safetensors");
  EXPECT_EQ(written.size, 236);
  EXPECT_EQ(written.checksum, *checksum_file(path()));
}

TEST_F(SafetensorsTest, ReadsBackEveryTypeAndShapeBitForBit) {
  std::vector<NamedTensor> tensors;
  for (const at::ScalarType type : kTypes) {
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{}, {0}, {1}, {3, 5}, {2, 0, 7}, {1, 2, 3, 1}}) {
      const Tensor tensor = count_up(shape, type);
      tensors.push_back({internal::join_parts("w.", tensors.size(), " \"\\é"), tensor});
    }
  }
  write(tensors, {{"format", "pt"}, {"note", "a \"b\""}});
  const SafetensorsFile file = *SafetensorsFile::open(path());
  ASSERT_EQ(file.entries().size(), tensors.size());
  for (const NamedTensor& named : tensors) {
    const SafetensorsEntry* entry = file.find(named.name);
    ASSERT_NE(entry, nullptr) << named.name;
    const Tensor read = file.read(*entry);
    EXPECT_EQ(read.scalar_type(), named.tensor.scalar_type());
    EXPECT_EQ(read.sizes(), named.tensor.sizes());
    EXPECT_EQ(bytes_of(read), bytes_of(named.tensor)) << named.name;
  }
  EXPECT_EQ(file.metadata(),
            (std::map<std::string, std::string>{{"format", "pt"}, {"note", "a \"b\""}}));
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST_F(SafetensorsTest, WritesViewsInTheirLogicalOrder) {
  const Tensor whole = count_up({4, 6}, at::kFloat);
  write({{"t", whole.t()}, {"s", whole.slice(1, 1, 6, 2)}});
  const SafetensorsFile file = *SafetensorsFile::open(path());
  EXPECT_TRUE(at::equal(file.read(*file.find("t")), whole.t()));
  EXPECT_TRUE(at::equal(file.read(*file.find("s")), whole.slice(1, 1, 6, 2)));
}

TEST_F(SafetensorsTest, PutsWideTypesFirstThenNames) {
  std::vector<NamedTensor> tensors;
  for (const char* name : {"b", "a"}) {
    for (const at::ScalarType type : {at::kByte, at::kBFloat16, at::kFloat, at::kLong}) {
      tensors.push_back({std::string(name) + safetensors_dtype(type), count_up({3}, type)});
    }
  }
  write(tensors);
  std::vector<std::string> order;
  const SafetensorsFile file = *SafetensorsFile::open(path());
  for (const SafetensorsEntry& entry : file.entries()) order.push_back(entry.name);
  EXPECT_EQ(order, (std::vector<std::string>{"aI64", "bI64", "aF32", "bF32", "aBF16", "bBF16",
                                             "aU8", "bU8"}));
}

TEST_F(SafetensorsTest, AFileWithoutTensorsIsOne) {
  write({});
  EXPECT_EQ(contents(path()), file_with("{}      ", 0));
  EXPECT_TRUE(SafetensorsFile::open(path())->entries().empty());
}

TEST_F(SafetensorsTest, RefusesLengthsThatLie) {
  EXPECT_EQ(refusal(""), "has 0 bytes, a safetensors file has at least 8");
  EXPECT_EQ(refusal("1234567"), "has 7 bytes, a safetensors file has at least 8");
  std::string bytes = file_with("{}", 0);
  bytes[0] = 3;
  EXPECT_THAT(refusal(bytes), HasSubstr("its header has 3 bytes, but the file has 10"));
  bytes.replace(0, 8, 8, '\xff');
  EXPECT_THAT(refusal(bytes), HasSubstr("its header has 18446744073709551615 bytes"));
  bytes = file_with("{}", 4);
  EXPECT_EQ(refusal(bytes), "the tensors take 0 bytes, but the file holds 4 bytes of data");
}

struct BadHeader {
  const char* header;  // of a file with 8 bytes of data
  const char* refusal;
};
constexpr BadHeader kBadHeaders[] = {
    {"", "its header does not start with {"},
    {" {}", "its header does not start with {"},
    {"[]", "its header does not start with {"},
    {"{", "its header: is not JSON (byte 2)"},
    {"{}x", "its header: is not JSON (byte 3)"},
    {R"({"a":1,"a":1})", "its header: has 'a' twice"},
    {R"({"a":{"shape":[[1]]}})", "its header: is nested more than 3 deep"},
    {R"({"__metadata__":[]})", "__metadata__: is not an object"},
    {R"({"__metadata__":{"a":1}})", "__metadata__: 'a' is not a string"},
    {R"({"a":1})", "tensor 'a': has no dtype"},
    {R"({"a":{"dtype":1}})", "tensor 'a': has no dtype"},
    {R"({"a":{"dtype":"F4"}})", "tensor 'a': has dtype F4, which weft does not read"},
    {R"({"a":{"dtype":"U8","shape":8}})", "tensor 'a': has no shape"},
    {R"({"a":{"dtype":"U8","shape":[-8]}})", "tensor 'a': has a shape that is not a list of sizes"},
    {R"({"a":{"dtype":"U8","shape":[8.0]}})",
     "tensor 'a': has a shape that is not a list of sizes"},
    {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4]}})",
     "tensor 'a': has a shape beyond 2^63 bytes"},
    {R"({"a":{"dtype":"U8","shape":[0,4611686018427387904,4611686018427387904]}})",
     "tensor 'a': has a shape beyond 2^63 bytes"},
    {R"({"a":{"dtype":"U8","shape":[8]}})", "tensor 'a': has no data_offsets of two numbers"},
    {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0]}})",
     "tensor 'a': has no data_offsets of two numbers"},
    {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[-1,7]}})",
     "tensor 'a': has no data_offsets of two numbers"},
    {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[8,0]}})",
     "tensor 'a': has data_offsets [8, 0], but dtype and shape need 8 bytes"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})",
     "tensor 'a': has data_offsets [0, 8], but dtype and shape need 4 bytes"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
     "the tensors take 4 bytes, but the file holds 8 bytes of data"},
    {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     "tensor 'a': starts at byte 4 of the data, expected 0"},
    {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
     R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     "tensor 'b': starts at byte 4 of the data, expected 8"},
    {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})",
     "the tensors take 12 bytes, but the file holds 8 bytes of data"},
};

TEST_F(SafetensorsTest, RefusesBadHeadersWithTheFileAndTheField) {
  for (const BadHeader& bad : kBadHeaders) {
    EXPECT_EQ(refusal(file_with(bad.header, 8)), bad.refusal) << bad.header;
  }
  std::string shape = "1";
  for (int i = 0; i < 64; ++i) shape += ",1";
  EXPECT_EQ(refusal(file_with(R"({"a":{"dtype":"U8","shape":[)" + shape + "]}}", 8)),
            "tensor 'a': has 65 dimensions, at most 64 are read");
}

TEST_F(SafetensorsTest, AHeaderMadeToExhaustMemoryIsRefusedEarly) {
  std::string many = "{\"a\":[0";
  while (many.size() < 20'000'000) many += ",0";
  EXPECT_EQ(refusal(file_with(many + "]}", 0)), "its header: has more than 4194304 values");
  EXPECT_EQ(refusal(file_with("{\"a\":" + std::string(20'000'000, '['), 0)),
            "its header: is nested more than 3 deep");
}

TEST_F(SafetensorsTest, AFullDiskIsReportedAndLeavesNothingHalfWritten) {
  const Tensor large = count_up({3000}, at::kFloat);
  const ChildEnd end = run_forked([&] {
    limit_files(4096, BeyondLimit::kFails);
    const absl::Status status = write_safetensors(path(), {{"a", large}}, {}).status();
    const std::string message(status.message());
    const bool clear = message.starts_with(path().string()) &&
                       message.ends_with("12000 bytes at 72 failed: File too large");
    return clear ? exit_status(status) : 99;
  });
  EXPECT_EQ(end.exit_status, 1);
  EXPECT_TRUE(fs::is_empty(path().parent_path()));
}

using SafetensorsDeathTest = SafetensorsTest;

TEST_F(SafetensorsDeathTest, ANameTwiceIsAProgrammerError) {
  const Tensor x = count_up({1}, at::kFloat);
  EXPECT_DEATH(write({{"a", x}, {"a", x}}), "tensor 'a' twice");
  EXPECT_DEATH(write({{"__metadata__", x}}), "tensor '__metadata__' twice");
}

}  // namespace
}  // namespace weft
