#include "models/kernels/cpu/block_product.h"

#include <exception>
#include <type_traits>

#include <ATen/native/CPUBlas.h>

namespace weft::cpu {
namespace {

using at::native::cpublas::brgemm;

template <class S>
using Stored = std::conditional_t<std::is_same_v<S, Bf16>, c10::BFloat16, S>;

template <class S>
bool can_multiply() {
#if defined(__x86_64__)
  constexpr bool kPairs = kTogether<S> == 2;
  // LibTorch would also emulate bf16, at a fraction of the rate.
  const bool has_units =
      __builtin_cpu_supports("avx512vl") && (!kPairs || __builtin_cpu_supports("avx512bf16"));
  if (!has_units) return false;
  const S zeros[4] = {};
  float sum = 1;
  try {  // an environment variable may keep oneDNN from using what the processor has
    block_product<S>({.m = 1,
                      .n = 1,
                      .k = 2,
                      .a = zeros,
                      .lda = 2,
                      .b = zeros,
                      .ldb = 1,
                      .c = &sum,
                      .ldc = 1,
                      .into = Into::kResult});
    release_block_products();
  } catch (const std::exception&) {
    return false;
  }
  return sum == 0;
#else
  return false;
#endif
}

}  // namespace

template <class S>
bool has_block_products() {
  static const bool has = can_multiply<S>();
  return has;
}

template <class S>
void block_product(const BlockProduct<S>& p) {
  brgemm(p.m, p.n, p.k, p.lda, p.ldb, p.ldc, p.into == Into::kSum,
         reinterpret_cast<const Stored<S>*>(p.a), reinterpret_cast<const Stored<S>*>(p.b), p.c,
         /*is_vnni=*/kTogether<S> == 2);
}

void release_block_products() { at::native::cpublas::brgemm_release(/*is_vnni=*/true); }

template bool has_block_products<float>();
template bool has_block_products<Bf16>();
template void block_product<float>(const BlockProduct<float>&);
template void block_product<Bf16>(const BlockProduct<Bf16>&);

}  // namespace weft::cpu
