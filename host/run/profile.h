#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
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
  /// One of `names_`. What is kept for each event takes no memory of its own: small pieces between
  /// a network's values would leave those no room to come back to.
  using Name = const std::string*;
  struct Open {
    const char* category = "";
    Name name = nullptr, module = nullptr;
    Clock::time_point start;
    std::int64_t first_sequence = 0;  ///< of autograd, where it begins
  };
  struct Event {
    const char* category = "";
    Name name = nullptr, module = nullptr;
    int thread = 0;
    double start = 0, duration = 0;  ///< microseconds
  };
  struct Time {
    std::int64_t calls = 0;
    double forward = 0, backward = 0;  ///< seconds
  };
  /// A forward operator, whose backward is awaited.
  struct Recorded {
    std::int64_t sequence = 0;  ///< the first of its numbers in autograd's order
    Name name = nullptr, module = nullptr;
  };
  /// What one thread of the process does.
  struct Thread {
    int number = 0;
    std::vector<Open> open;
    std::vector<Recorded> recorded;  ///< in order
    std::uint64_t autograd_thread = 0;
  };

  /// The first operator that was recorded after that number.
  static std::vector<Recorded>::const_iterator after(const std::vector<Recorded>& recorded,
                                                     std::int64_t sequence);
  Thread& here();
  Name interned(const std::string& text) { return &*names_.insert(text).first; }
  /// Ends what the thread began last; returns its seconds.
  double close(Thread& thread, Clock::time_point now);
  void begin_backward(const char* name, std::int64_t sequence, std::uint64_t thread);

  mutable std::mutex mutex_;
  Clock::time_point start_ = Clock::now();
  double cpu_start_ = 0;
  std::map<std::thread::id, Thread> threads_;
  std::set<std::string> names_;
  Name none_ = interned("");
  std::vector<Event> events_;
  std::unordered_map<Name, Time> by_operator_, by_module_;
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
