#pragma once

#include "host/model/program.h"

namespace microtome::host {

/// Sees each operator of a run begin and end. [any number of threads]
class OperatorWatch {
 public:
  virtual ~OperatorWatch() = default;
  virtual void begin(const Node& node) = 0;
  virtual void end(const Node& node) = 0;
  /// A run of a model, whole or from a cut on.
  virtual void begin_slice(const char* what) = 0;
  virtual void end_slice() = 0;
};

/// Tells a watch of an operator while it lives, whatever is thrown.
class WatchedOperator {
 public:
  WatchedOperator(OperatorWatch* watch, const Node& node) : watch_(watch), node_(node) {
    if (watch_ != nullptr) watch_->begin(node_);
  }
  ~WatchedOperator() {
    if (watch_ != nullptr) watch_->end(node_);
  }
  WatchedOperator(const WatchedOperator&) = delete;
  WatchedOperator& operator=(const WatchedOperator&) = delete;

 private:
  OperatorWatch* watch_;
  const Node& node_;
};

/// Tells a watch of a slice while it lives, whatever is thrown.
class WatchedSlice {
 public:
  WatchedSlice(OperatorWatch* watch, const char* what) : watch_(watch) {
    if (watch_ != nullptr) watch_->begin_slice(what);
  }
  ~WatchedSlice() {
    if (watch_ != nullptr) watch_->end_slice();
  }
  WatchedSlice(const WatchedSlice&) = delete;
  WatchedSlice& operator=(const WatchedSlice&) = delete;

 private:
  OperatorWatch* watch_;
};

}  // namespace microtome::host
