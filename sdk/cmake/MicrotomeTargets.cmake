# What every target of this tree shares: warnings, and the one precompiled header.

add_library(microtome_warnings INTERFACE)
target_compile_options(microtome_warnings INTERFACE -Wall -Wextra -Wpedantic -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these in the standard library and in ATen's inlined code.
  target_compile_options(microtome_warnings INTERFACE -Wno-restrict -Wno-maybe-uninitialized -Wno-dangling-pointer
    -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread -Winvalid-pch)
endif()

# The precompiled header of ATen, built once and used by all.
function(microtome_precompile_tensor_header)
  file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/tensor_header.cpp CONTENT "// Owner of the precompiled header.\n")
  add_library(microtome_tensor_header OBJECT ${CMAKE_BINARY_DIR}/tensor_header.cpp)
  target_link_libraries(microtome_tensor_header PRIVATE Microtome::LibTorch)
  target_include_directories(microtome_tensor_header PRIVATE ${PROJECT_SOURCE_DIR}/sdk/include)
  target_precompile_headers(microtome_tensor_header PRIVATE <microtome/tensor.h>)
  target_link_libraries(microtome_tensor_header PRIVATE microtome_warnings)
endfunction()

# Settings of one target of this tree. With TENSORS it uses the precompiled header.
function(microtome_settings target)
  cmake_parse_arguments(ARG "TENSORS" "" "" ${ARGN})
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:microtome_warnings>)
  if(ARG_TENSORS)
    # Programs too are built with -fPIC: with -fPIE the precompiled header would not fit.
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "EXECUTABLE")
      set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
      target_compile_options(${target} PRIVATE -fPIC)
    endif()
    target_precompile_headers(${target} REUSE_FROM microtome_tensor_header)
  endif()
endfunction()
