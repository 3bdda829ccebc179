#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace microtome::benchmarks {

/// Times `mine` and `plain` in turn, so that both meet the same machine, and reports the median of
/// each and their ratio: how many times faster `mine` is. The benchmark's own time is that of
/// `mine`.
template <class Mine, class Plain>
void compare(benchmark::State& state, Mine mine, Plain plain) {
  using Clock = std::chrono::steady_clock;
  const auto timed = [](auto& action) {
    const auto start = Clock::now();
    action();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  mine();
  plain();
  std::vector<double> of_mine, of_plain;
  for (auto _ : state) {
    of_plain.push_back(timed(plain));
    of_mine.push_back(timed(mine));
    state.SetIterationTime(of_mine.back());
  }
  const auto median = [](std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  };
  const double mine_median = median(of_mine), plain_median = median(of_plain);
  state.counters["mine_ms"] = mine_median * 1e3;
  state.counters["plain_ms"] = plain_median * 1e3;
  state.counters["ratio"] = plain_median / mine_median;
}

}  // namespace microtome::benchmarks
