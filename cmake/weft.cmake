# Compiler settings and the helpers that every folder's CMakeLists.txt uses.

find_program(CCACHE ccache)
if(CCACHE)
  # What ccache asks for before it keeps the objects of sources that read a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()

# Warnings are errors in our own code; third-party headers come in as SYSTEM.
add_library(weft_flags INTERFACE)
target_include_directories(weft_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(weft_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -march=x86-64-v2>)
if(WEFT_SANITIZE)
  # -O1: the tests run ten times as fast as at -O0, and the reports are as good. -g1: they need the
  # lines alone, and all of -g takes a third of the build's time.
  target_compile_options(weft_flags INTERFACE
    -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  target_link_options(weft_flags INTERFACE -fsanitize=address,undefined)
endif()

# Of files with vectors, each compiled for one instruction set (models/kernels/cpu/vector.h).
# -fschedule-insns: interleaves the long chains of the exponentials, 10 % of the time.
# -Wno-psabi: vectors wider than the baseline's are passed between inlined functions alone.
# -Wno-(maybe-)uninitialized: GCC 12 says so of its own header of AVX-512 intrinsics.
set(WEFT_KERNEL_FLAGS -ffp-contract=fast -Wno-psabi -Wno-maybe-uninitialized -Wno-uninitialized)
if(NOT WEFT_SANITIZE)  # with sanitizers GCC takes a quarter of an hour for what takes seconds at -O1
  list(APPEND WEFT_KERNEL_FLAGS -O3 -fschedule-insns -fsched-pressure)
endif()
set(WEFT_AVX512_FLAGS ${WEFT_KERNEL_FLAGS} -march=x86-64-v4 -mprefer-vector-width=512)

# LibTorch's headers, half of the time of compiling a source that calls its operators, are read once
# for the targets with PRECOMPILED. Sources name what they use all the same.
add_library(weft_torch_headers OBJECT ${CMAKE_CURRENT_LIST_DIR}/torch_headers.cpp)
target_link_libraries(weft_torch_headers PRIVATE weft_flags weft::torch)
target_precompile_headers(weft_torch_headers PRIVATE
  <ATen/Parallel.h> <ATen/TensorOperators.h> <ATen/core/grad_mode.h> <ATen/ops/empty.h> <ATen/ops/zeros.h>
  <torch/csrc/autograd/custom_function.h>)

# weft_library(NAME [PRECOMPILED] SOURCES a.cpp ... [CUDA a.cu ...] [LINKS ...]): the target weft::NAME
# of one folder.
function(weft_library name)
  cmake_parse_arguments(ARG "PRECOMPILED" "" "SOURCES;CUDA;LINKS" ${ARGN})
  add_library(weft_${name} STATIC ${ARG_SOURCES})
  add_library(weft::${name} ALIAS weft_${name})
  target_link_libraries(weft_${name} PUBLIC weft_flags ${ARG_LINKS})
  if(ARG_PRECOMPILED)
    target_precompile_headers(weft_${name} REUSE_FROM weft_torch_headers)
  endif()
  if(WEFT_CUDA AND ARG_CUDA)
    target_sources(weft_${name} PRIVATE ${ARG_CUDA})
    target_link_libraries(weft_${name} PUBLIC CUDA::cudart)
  endif()
endfunction()

# What `ctest -L unit` runs: scripts/test builds no more than this with sanitizers.
add_custom_target(unit_tests)

# weft_test(FOLDER [PROGRAM] [PRECOMPILED] SOURCES NAME_test.cpp ... LINKS ... [TIMEOUT s]): one program, and one ctest,
# with all unit tests of a folder, or (PROGRAM) with tests that start weft as a user does.
function(weft_test name)
  cmake_parse_arguments(ARG "PROGRAM;PRECOMPILED" "TIMEOUT" "SOURCES;LINKS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  string(REPLACE "/" "_" target ${name}_test)
  add_executable(${target} ${ARG_SOURCES})
  target_link_libraries(${target} PRIVATE ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  if(ARG_PRECOMPILED)
    target_precompile_headers(${target} REUSE_FROM weft_torch_headers)
  endif()
  target_compile_definitions(${target} PRIVATE
    WEFT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" WEFT_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${target} --gtest_brief=1)
  if(ARG_PROGRAM)
    set(label program)
    add_dependencies(${target} weft)
  else()
    set(label unit)
    add_dependencies(unit_tests ${target})
  endif()
  # Programs run side by side: threads that wait must not spin.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${label}
    ENVIRONMENT "OMP_NUM_THREADS=2;OMP_WAIT_POLICY=passive"
    # With sanitizers too much memory is refused as without them: a test looks at what weft says then.
    ENVIRONMENT_MODIFICATION "ASAN_OPTIONS=path_list_append:allocator_may_return_null=1")
endfunction()
