#include "gtest/gtest.h"

#include "data/loader.h"

namespace weft {
namespace {

TEST(ValidateData, DuplicatesAreReportedUnderTheirKeys) {
  DataConfig config;
  config.sources = {{"corpus/a", 1}, {"corpus/b", 1}, {"corpus/./a/", 2}};
  config.validation = {{"x", "corpus/c"}, {"y", "corpus/c"}, {"x", "corpus/d"}};
  Problems problems;
  validate(config, problems);
  EXPECT_TRUE(problems.has_errors());
  EXPECT_EQ(problems.text(),
            "sources.2.path: 'corpus/./a/' is sources.0.path again; name it once, with the sum of "
            "the weights\n"
            "validation.2.name: 'x' is validation.0.name again; names must differ");
}

TEST(ValidateData, ValidatingOnTrainingTextIsOnlyAWarning) {
  DataConfig config;
  config.sources = {{"corpus/a", 1}};
  config.validation = {{"seen", "corpus/b/../a"}};
  Problems problems;
  validate(config, problems);
  EXPECT_FALSE(problems.has_errors());
  EXPECT_EQ(problems.text(),
            "validation.0.path: 'corpus/b/../a' is trained on too: it is sources.0.path");
}

}  // namespace
}  // namespace weft
