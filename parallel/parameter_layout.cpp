#include "parallel/parameter_layout.h"

#include <algorithm>
#include <string>

#include "absl/container/flat_hash_map.h"

#include "base/check.h"

namespace weft {
namespace {

void check_joint(const ParameterSpec& spec, const ParameterSpec& first) {
  WEFT_CHECK(spec.shape.size() == first.shape.size() && spec.compute == first.compute &&
                 spec.decay == first.decay && spec.compute != ComputeType::kBoth &&
                 std::equal(spec.shape.begin() + 1, spec.shape.end(), first.shape.begin() + 1),
             "'", spec.name, "' cannot be joined with '", first.name, "'");
}

// The joints of a table, not yet placed, and by name which is which.
absl::flat_hash_map<std::string, size_t> find_joints(const ParameterTable& table,
                                                     std::vector<JointLayout>& joints) {
  absl::flat_hash_map<std::string, size_t> by_name;
  for (const ParameterSpec& spec : table.rows()) {
    if (spec.joint.empty()) continue;
    WEFT_CHECK(!spec.shape.empty() && table.find(spec.joint) == nullptr, "'", spec.name,
               "' cannot be joined as '", spec.joint, "'");
    const auto [found, is_new] = by_name.emplace(spec.joint, joints.size());
    if (is_new) joints.push_back({&spec, 0, {}});
    JointLayout& joint = joints[found->second];
    check_joint(spec, *joint.first);
    joint.rows += spec.shape[0];
  }
  return by_name;
}

// Room for `numbers` in the bucket of this kind.
ParameterPlace take(std::vector<BucketLayout>& buckets, WeightDecay decay, ComputeType compute,
                    int64_t numbers) {
  const auto found = std::find_if(buckets.begin(), buckets.end(), [&](const BucketLayout& bucket) {
    return bucket.decay == decay && bucket.compute == compute;
  });
  const auto i = static_cast<size_t>(found - buckets.begin());
  if (found == buckets.end()) buckets.push_back({decay, compute});
  BucketLayout& bucket = buckets[i];
  const ParameterPlace place{i, bucket.size};
  const int64_t gap = (kRowMultiple - numbers % kRowMultiple) % kRowMultiple;
  if (gap > 0) bucket.gaps.push_back({bucket.size + numbers, gap});
  bucket.size += numbers + gap;
  return place;
}

}  // namespace

int64_t first_dimension(const ParameterSpec& spec) {
  return spec.shape.empty() ? 1 : spec.shape[0];
}

int64_t numbers_in(const ParameterSpec& spec, int64_t rows) {
  return rows == first_dimension(spec) ? spec.numel() : spec.numel() / spec.shape[0] * rows;
}

ParameterLayout lay_out(const ParameterTable& table, bool one_type) {
  ParameterLayout layout;
  const auto joint_by_name = find_joints(table, layout.joints);
  std::vector<int64_t> used(layout.joints.size());  // numbers of a joint that have their rows
  for (const ParameterSpec& spec : table.rows()) {
    const auto take_rows = [&](int64_t rows) {
      const ComputeType compute = one_type ? ComputeType::kMaster : spec.compute;
      return take(layout.buckets, spec.decay, compute, numbers_in(spec, rows));
    };
    if (spec.joint.empty()) {
      layout.rows.push_back(take_rows(first_dimension(spec)));
      continue;
    }
    const size_t i = joint_by_name.at(spec.joint);
    JointLayout& joint = layout.joints[i];
    if (joint.first == &spec) joint.place = take_rows(joint.rows);
    layout.rows.push_back({joint.place.bucket, joint.place.offset + used[i]});
    used[i] += spec.numel();
  }
  return layout;
}

}  // namespace weft
