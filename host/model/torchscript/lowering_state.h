#pragma once

#include "host/model/torchscript/lowering.h"

namespace microtome::host::torchscript {

/// Why a list that came through a branch on the data can't be changed.
inline constexpr const char* second_name_after_branch =
    "it may be another list or dictionary by a second name, as it comes out of a branch. Copy it "
    "first (`list(x)`, `dict(x)`)";

/// What reading a branch or loop may have to go back to.
struct Lowering::State {
  AliasTable aliases;
  std::map<std::string, int> calls, occurrences;
  std::size_t sites = 0;
  Block* block = nullptr;
  std::size_t nodes = 0, changes = 0;
  std::int64_t structures = 0;
  ValueId values = 0;
  std::map<const void*, std::map<std::string, Slot>> set_attributes;
  std::map<const void*, std::map<std::string, std::string>> read_attributes;
  int depth = 0, loop_depth = 0;
  bool ended = false, gradients = true;
  ValueId gradients_off_since = 0;
  Scope current;
  std::string source;
  std::size_t calls_open = 0;
  int tries = 0;
};

/// A branch whose sides have been read.
struct Lowering::Branch {
  /// A value that the sides have different, so that the branch must hand it out.
  struct Leaf {
    std::array<Slot, 2> sides;
  };
  const State& before;
  std::array<AliasTable, 2> after;
  std::vector<Leaf> leaves;
  std::vector<ValueId> outputs;
  std::vector<std::shared_ptr<Structure>> sources;  ///< of what has another name now
};

}  // namespace microtome::host::torchscript
