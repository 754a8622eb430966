# The imported target weft::torch, made from an unpacked `torch` wheel (or any LibTorch >= 2.6).
#
# torch's own CMake package stops when no CUDA compiler is found, even for a program that uses the
# CPU alone, so the target is made here. WEFT_TORCH_ROOT is the folder that holds `torch/` (and, for a
# wheel, `nvidia/`); scripts/setup unpacks it and prints its place.

if(NOT WEFT_TORCH_ROOT)
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/scripts/setup --print-torch-root
                  OUTPUT_VARIABLE WEFT_TORCH_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
set(WEFT_TORCH_ROOT "${WEFT_TORCH_ROOT}" CACHE PATH "folder that holds torch/ and nvidia/")
set(torch_home ${WEFT_TORCH_ROOT}/torch)
if(NOT EXISTS ${torch_home}/include/ATen/ATen.h)
  set(torch_home ${WEFT_TORCH_ROOT})
endif()
if(NOT EXISTS ${torch_home}/include/ATen/ATen.h)
  message(FATAL_ERROR "no LibTorch in '${WEFT_TORCH_ROOT}': run scripts/setup, "
                      "or pass -DWEFT_TORCH_ROOT=<folder with torch/include>")
endif()

add_library(weft_torch INTERFACE)
add_library(weft::torch ALIAS weft_torch)
target_include_directories(weft_torch SYSTEM INTERFACE
  ${torch_home}/include ${torch_home}/include/torch/csrc/api/include)
target_link_directories(weft_torch INTERFACE ${torch_home}/lib)
# at::parallel_for is a template that runs serially in a file compiled without OpenMP. The program
# shares LibTorch's own libgomp: rpath finds it before the system's.
target_compile_options(weft_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_options(weft_torch INTERFACE -fopenmp)
# libtorch_cpu registers its operators in static initialisers, so it is kept even where no symbol of
# it is named; the rpath finds it and the CUDA runtime of the wheel that it is linked against.
set(torch_link_path ${torch_home}/lib)
set(torch_runtime_path ${torch_home}/lib)
foreach(part cu13 cudnn nccl nvshmem cusparselt)
  if(EXISTS ${WEFT_TORCH_ROOT}/nvidia/${part}/lib)
    list(APPEND torch_runtime_path ${WEFT_TORCH_ROOT}/nvidia/${part}/lib)
  endif()
endforeach()
target_link_libraries(weft_torch INTERFACE
  -Wl,--no-as-needed ${torch_link_path}/libtorch_cpu.so ${torch_link_path}/libc10.so)
if(WEFT_CUDA)
  # nvcc's toolkit supplies cuBLAS, cuDNN, NCCL and the rest that libtorch_cuda asks for.
  find_package(CUDAToolkit REQUIRED)
  list(APPEND torch_runtime_path ${CUDAToolkit_LIBRARY_DIR})
  target_compile_definitions(weft_torch INTERFACE WEFT_CUDA=1)
  target_include_directories(weft_torch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(weft_torch INTERFACE
    ${torch_link_path}/libtorch_cuda.so ${torch_link_path}/libc10_cuda.so)
endif()
target_link_libraries(weft_torch INTERFACE -Wl,--as-needed)
set(CMAKE_BUILD_RPATH ${torch_runtime_path})
foreach(path ${torch_runtime_path})
  target_link_options(weft_torch INTERFACE -Wl,-rpath-link,${path})
endforeach()
