#include "trainer/machine.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace weft {
namespace {

// A made-up /sys under `root`: `cores[i]` is the core that CPU i belongs to, four to a package.
void write_topology(const fs::path& root, const std::vector<int>& cores) {
  for (size_t cpu = 0; cpu < cores.size(); ++cpu) {
    const fs::path folder =
        root / "sys/devices/system/cpu" / ("cpu" + std::to_string(cpu)) / "topology";
    write_text(folder / "core_id", std::to_string(cores[cpu] % 4) + "\n");
    write_text(folder / "physical_package_id", std::to_string(cores[cpu] / 4) + "\n");
  }
}

TEST(UsableCores, SiblingsOfACoreCountOnceAndPackagesApart) {
  const TemporaryFolder root;
  write_topology(root.path(), {0, 1, 4, 5, 0, 1, 4, 5});
  EXPECT_EQ(usable_cores({0, 1, 2, 3, 4, 5, 6, 7}, root.path(), ""), 4);
  EXPECT_EQ(usable_cores({0, 4}, root.path(), ""), 1);
  EXPECT_EQ(usable_cores({0, 2}, root.path(), ""), 2);  // core 0 of two packages
}

TEST(UsableCores, WithoutTopologyEachCpuIsACore) {
  const TemporaryFolder root;
  EXPECT_EQ(usable_cores({3, 5, 6}, root.path(), ""), 3);
  EXPECT_EQ(usable_cores({}, root.path(), ""), 1);
}

TEST(UsableCores, TheTightestQuotaOfTheGroupsAroundTheProcessLimits) {
  const TemporaryFolder root;
  const fs::path groups = root.path() / "sys/fs/cgroup";
  const std::vector<int> cpus = {0, 1, 2, 3, 4, 5, 6, 7};
  write_text(groups / "user/session/cpu.max", "max 100000\n");
  EXPECT_EQ(usable_cores(cpus, root.path(), "0::/user/session\n"), 8);
  write_text(groups / "user/cpu.max", "350000 100000\n");
  EXPECT_EQ(usable_cores(cpus, root.path(), "0::/user/session\n"), 4);  // 3.5, rounded up
  write_text(groups / "user/session/cpu.max", "20000 100000\n");
  EXPECT_EQ(usable_cores(cpus, root.path(), "0::/user/session\n"), 1);
  EXPECT_EQ(usable_cores(cpus, root.path(), "0::/elsewhere\n"), 8);
}

TEST(UsableCores, AContainersOwnGroupIsAtTheMount) {
  const TemporaryFolder root;
  write_text(root.path() / "sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(usable_cores({0, 1, 2, 3}, root.path(), "0::/../host/name\n"), 2);
}

TEST(UsableCores, QuotasOfTheFirstVersionOfControlGroupsCount) {
  const TemporaryFolder root;
  const fs::path group = root.path() / "sys/fs/cgroup/cpu/job";
  const std::string groups = "7:memory:/other\n4:cpu,cpuacct:/job\n0::/\n";
  write_text(group / "cpu.cfs_quota_us", "-1\n");
  write_text(group / "cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(usable_cores({0, 1, 2}, root.path(), groups), 3);
  write_text(group / "cpu.cfs_quota_us", "200000\n");
  EXPECT_EQ(usable_cores({0, 1, 2}, root.path(), groups), 2);
}

TEST(Machine, SaysSomethingAboutThisOne) {
  EXPECT_GE(default_threads(), 1);
  EXPECT_FALSE(cpu_name().empty());
}

TEST(Machine, MemoryInUseGrowsByATensor) {
  const int64_t before = memory_in_use(at::kCPU);
  const Tensor x = at::full({64, 1 << 20}, 1.0, at::kFloat);  // 256 MiB
  EXPECT_EQ(x[63][7].item<float>(), 1.0f);
  const int64_t grown = memory_in_use(at::kCPU) - before;
  EXPECT_GT(before, 1 << 20);
  EXPECT_GT(grown, int64_t{200} << 20);
  EXPECT_LT(grown, int64_t{600} << 20);
}

TEST(Machine, MatrixProductsHaveASpeed) {
  const double peak = measure_matmul_peak(at::kFloat, at::kCPU);
  EXPECT_GT(peak, 1e8);  // one operation in ten cycles of a slow core
  EXPECT_LT(peak, 1e15);
}

}  // namespace
}  // namespace weft
