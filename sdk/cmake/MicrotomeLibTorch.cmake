# Finds LibTorch (Debian's package, or an unpacked distribution named by CMAKE_PREFIX_PATH) without the
# compiler flags and CUDA probing of TorchConfig.cmake. Defines the target Microtome::LibTorch and
# MICROTOME_LIBTORCH_VERSION.
if(TARGET Microtome::LibTorch)
  return()
endif()

find_path(MICROTOME_TORCH_INCLUDE ATen/ATen.h REQUIRED)
find_path(MICROTOME_TORCH_API_INCLUDE torch/version.h
  HINTS ${MICROTOME_TORCH_INCLUDE}/torch/csrc/api/include REQUIRED)
foreach(name torch torch_cpu c10)
  find_library(MICROTOME_LIBRARY_${name} ${name} REQUIRED)
endforeach()
foreach(name torch_cuda c10_cuda)
  find_library(MICROTOME_LIBRARY_${name} ${name})
endforeach()

file(STRINGS ${MICROTOME_TORCH_API_INCLUDE}/torch/version.h version_lines
  REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
string(REGEX MATCHALL "[0-9]+" version_numbers "${version_lines}")
list(JOIN version_numbers . MICROTOME_LIBTORCH_VERSION)

add_library(Microtome::LibTorch INTERFACE IMPORTED)
target_include_directories(Microtome::LibTorch SYSTEM INTERFACE
  ${MICROTOME_TORCH_INCLUDE} ${MICROTOME_TORCH_API_INCLUDE})
target_link_libraries(Microtome::LibTorch INTERFACE
  ${MICROTOME_LIBRARY_torch} ${MICROTOME_LIBRARY_torch_cpu} ${MICROTOME_LIBRARY_c10})
if(MICROTOME_LIBRARY_torch_cuda AND MICROTOME_LIBRARY_c10_cuda)
  # The CUDA kernels register themselves when their library loads; nothing refers to it by symbol.
  target_link_libraries(Microtome::LibTorch INTERFACE
    -Wl,--no-as-needed ${MICROTOME_LIBRARY_torch_cuda} ${MICROTOME_LIBRARY_c10_cuda} -Wl,--as-needed)
endif()
