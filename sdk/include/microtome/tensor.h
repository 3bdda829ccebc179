#pragma once

/// The only way to ATen in this project. `ivalue.h` comes first: Clang 14 can't compile the headers
/// of LibTorch 1.13 as C++20 in another order.
#include <ATen/core/ivalue.h>
// The order above matters.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <ATen/Version.h>
#include <ATen/core/dispatch/Dispatcher.h>
