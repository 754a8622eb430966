#pragma once
// All CPU kernels, instantiated for the instruction set that WEFT_ISA names. Included by the one
// file that is compiled for it (CMakeLists.txt has the flags).
#include "models/kernels/cpu/adamw_kernel.h"
#include "models/kernels/cpu/attention_step_kernel.h"
#include "models/kernels/cpu/block_attention_kernel.h"
#include "models/kernels/cpu/causal_conv_kernel.h"
#include "models/kernels/cpu/column_sums_kernel.h"
#include "models/kernels/cpu/cross_entropy_kernel.h"
#include "models/kernels/cpu/expert_rows_kernel.h"
#include "models/kernels/cpu/gelu_kernel.h"
#include "models/kernels/cpu/layer_norm_kernel.h"
#include "models/kernels/cpu/rms_norm_kernel.h"
#include "models/kernels/cpu/rotate_kernel.h"
#include "models/kernels/cpu/row_linear_kernel.h"
#include "models/kernels/cpu/selective_scan_backward.h"
#include "models/kernels/cpu/selective_scan_forward.h"
#include "models/kernels/cpu/selective_scan_step.h"
#include "models/kernels/cpu/silu_mul_kernel.h"
#include "models/kernels/cpu/ssd_states_kernel.h"
#include "models/kernels/cpu/sum_of_squares_kernel.h"
#include "models/kernels/cpu/transpose_words_kernel.h"

namespace weft::cpu::WEFT_ISA {

#define WEFT_INSTANTIATE(S)                                                                        \
  template void attention_step_part<S>(const AttentionStepRaw<S>&,                                 \
                                       const AttentionParts<Compute<S>>&, int64_t, int64_t,        \
                                       int64_t, void*);                                            \
  template void attention_step_join<S>(const AttentionStepRaw<S>&,                                 \
                                       const AttentionParts<Compute<S>>&, int64_t);                \
  template void conv_forward_task<S>(const ConvForward<S>&, int64_t, void*);                       \
  template void conv_backward_task<S>(const ConvBackward<S>&, int64_t, void*);                     \
  template void conv_step_channels<S>(const ConvStep<S>&, int64_t, int64_t, void*);                \
  template void column_sums_range<S>(const SummedRows<S>&, int64_t, int64_t, Compute<S>*);         \
  template void gelu_range<S>(const S*, S*, int64_t);                                              \
  template void gelu_backward_range<S>(const S*, const S*, S*, int64_t);                           \
  template void layer_norm_rows<S>(const LayerNormRows<S>&);                                       \
  template void layer_norm_backward_rows<S>(const LayerNormGradients<S>&);                         \
  template void combine_rows<S>(const CombineRows<S>&, int64_t, int64_t);                          \
  template void spread_rows<S>(const SpreadRows<S>&, int64_t, int64_t);                            \
  template void cross_entropy_row<S>(const CrossEntropyRows<S>&, int64_t, Compute<S>*);            \
  template void rotate_tokens<S>(const HeadRotation<S>&, int64_t, int64_t);                        \
  template void rotate_tokens_backward<S>(const HeadRotationGradients<S>&, int64_t, int64_t);      \
  template void row_linear_part<S>(const LinearInput<S>&, const LinearRows<S>&, int64_t, int64_t); \
  template void scan_forward_task<S>(const ScanForward<S>&, int64_t, void*);                       \
  template void scan_step_task<S>(const ScanForward<S>&, int64_t, void*);                          \
  template void scan_backward_task<S>(const ScanBackward<S>&, int64_t, void*);                     \
  template void silu_mul_range<S>(const S*, const S*, S*, int64_t);                                \
  template void silu_mul_backward_range<S>(const S*, const S*, const S*, S*, S*, int64_t);
WEFT_INSTANTIATE(float)
WEFT_INSTANTIATE(double)
WEFT_INSTANTIATE(Bf16)

#define WEFT_INSTANTIATE_NORM(S, Y)                         \
  template void rms_norm_rows<S, Y>(const NormRows<S, Y>&); \
  template void rms_norm_backward_rows<S, Y>(const NormGradients<S, Y>&);
WEFT_INSTANTIATE_NORM(float, float)
WEFT_INSTANTIATE_NORM(double, double)
WEFT_INSTANTIATE_NORM(Bf16, Bf16)
WEFT_INSTANTIATE_NORM(float, Bf16)

#define WEFT_INSTANTIATE_BLOCKS(S)                                                               \
  template void copy_rows<S>(const RowBlock<S>&, int64_t, S*);                                   \
  template void transpose_rows<S>(const RowBlock<S>&, int64_t, S*);                              \
  template void pack_rows<S>(const RowBlock<S>&, int64_t, S*);                                   \
  template void pack_columns<S>(const RowBlock<S>&, int64_t, S*);                                \
  template void store_rows<S>(const float*, const RowOutput<S>&);                                \
  template void store_transposed<S>(const float*, int64_t, const RowOutput<S>&);                 \
  template void dot_rows<S>(const RowBlock<S>&, const RowBlock<S>&, float*);                     \
  template void softmax_tile<S>(const AttentionTile&, float*, const SoftmaxState&, int64_t, S*); \
  template void finish_softmax<S>(const SoftmaxState&, int64_t, float, const RowOutput<S>&,      \
                                  float*);                                                       \
  template void softmax_tile_backward<S>(const AttentionTile&, const SoftmaxGradient<S>&);
WEFT_INSTANTIATE_BLOCKS(float)
WEFT_INSTANTIATE_BLOCKS(Bf16)

template void adamw_range<float>(const AdamWUpdate<float>&, const AdamWValues<float>&, int64_t,
                                 int64_t);
template void adamw_range<double>(const AdamWUpdate<double>&, const AdamWValues<double>&, int64_t,
                                  int64_t);
template void pass_states<float>(const SsdStates<float>&, int64_t, int64_t);
template void pass_states<double>(const SsdStates<double>&, int64_t, int64_t);
template void pass_state_gradients<float>(const SsdStateGradients<float>&, int64_t, int64_t);
template void pass_state_gradients<double>(const SsdStateGradients<double>&, int64_t, int64_t);
template double sum_of_squares_range<float>(const float*, int64_t);
template double sum_of_squares_range<double>(const double*, int64_t);

}  // namespace weft::cpu::WEFT_ISA
