#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/model/operator_watch.h"

namespace microtome::host {

/// Where a run's time goes: stages, chunks, slices and operators by thread, forward and backward.
/// Operators of the backward pass are known by the forward operator that they belong to. While one
/// lives, LibTorch tells it of all backward operators of the process. [any number of threads]
class Profile final : public OperatorWatch {
 public:
  Profile();
  ~Profile() override;
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  void begin(const Node& node) override;
  void end(const Node& node) override;
  void begin_slice(const char* what) override { begin_span("slice", what); }
  void end_slice() override { end_span(); }
  void begin_span(const char* category, const std::string& name);
  void end_span();

  /// Writes `profile.json`, a trace that Perfetto and chrome://tracing open, and `profile.txt`,
  /// time by operator and by module. The trace holds the first million events.
  void write(const std::filesystem::path& folder, std::size_t jobs) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Open {
    const char* category = "";
    std::string name, module;
    Clock::time_point start;
    std::int64_t first_sequence = 0;  ///< of autograd, where it begins
  };
  struct Event {
    const char* category = "";
    std::string name, module;
    int thread = 0;
    double start = 0, duration = 0;  ///< microseconds
  };
  struct Time {
    std::int64_t calls = 0;
    double forward = 0, backward = 0;  ///< seconds
  };
  /// What one thread of the process does.
  struct Thread {
    int number = 0;
    std::vector<Open> open;
    /// Forward operators by the first of their numbers in autograd's order.
    std::map<std::int64_t, std::pair<std::string, std::string>> recorded;
    std::uint64_t autograd_thread = 0;
  };

  Thread& here();
  /// Ends what the thread began last; returns its seconds.
  double close(Thread& thread, Clock::time_point now);
  void begin_backward(const char* name, std::int64_t sequence, std::uint64_t thread);

  mutable std::mutex mutex_;
  Clock::time_point start_ = Clock::now();
  double cpu_start_ = 0;
  std::map<std::thread::id, Thread> threads_;
  std::vector<Event> events_;
  std::map<std::string, Time> by_operator_, by_module_;
  std::uint64_t callback_ = 0;
};

/// A span of a profile while it lives; nothing when there is no profile.
class ProfileSpan {
 public:
  ProfileSpan(Profile* profile, const char* category, const std::string& name) : profile_(profile) {
    if (profile_ != nullptr) profile_->begin_span(category, name);
  }
  ~ProfileSpan() {
    if (profile_ != nullptr) profile_->end_span();
  }
  ProfileSpan(const ProfileSpan&) = delete;
  ProfileSpan& operator=(const ProfileSpan&) = delete;

 private:
  Profile* profile_;
};

}  // namespace microtome::host
