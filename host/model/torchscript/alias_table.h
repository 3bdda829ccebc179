#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "host/model/program.h"

namespace microtome::host::torchscript {

/// Number of a tensor of the model's code while it is turned into a program.
using TensorRef = std::int32_t;

/// How a view is made of the tensor before it.
struct ViewStep {
  std::string operation;
  Operation call;
  std::vector<ValueId> arguments;  ///< all arguments; the one at `self` is replaced by the base
  std::size_t self = 0;
  std::int64_t element = -1;  ///< for operators that return a list of views: which one
};

/// Keeps, for each tensor of the model's code, the value of the program that it holds now. Writing
/// in place makes a new value; tensors that share memory with the written one are made again from
/// it when they are read. Where it can't be known whether memory is shared, reading is refused.
/// Copyable, so that branches can be tried.
class AliasTable {
 public:
  /// Makes nodes; given by the lowering.
  struct Emitter {
    std::function<ValueId(const ViewStep& step, ValueId base)> view;
    /// The base with the view's place overwritten.
    std::function<ValueId(const ViewStep& step, ValueId base, ValueId part)> write_view;
  };

  /// A tensor with memory of its own.
  TensorRef fresh(ValueId value);
  /// A tensor from a container whose memory can't be traced: it can be read, not written in place.
  TensorRef untraceable(ValueId value);
  /// A tensor that certainly is a view of `base`.
  TensorRef view(TensorRef base, ViewStep step, ValueId value);
  /// A tensor that may share memory with the others (`reshape`, the result of a branch).
  TensorRef possible_alias(ValueId value, const std::vector<TensorRef>& others);

  /// The value that `tensor` holds now. Throws `Error` when that can't be known.
  ValueId read(TensorRef tensor, const Emitter& emit);
  /// Records that the tensor's content was replaced by `value`. Throws `Error` when refused.
  void write(TensorRef tensor, ValueId value, const Emitter& emit, const std::string& writer);
  /// From here on, writing into this memory is refused: something holds the tensor itself.
  void mark_held(TensorRef tensor, const std::string& holder);
  void mark_constant(TensorRef tensor, const std::string& name);

  /// Whether the tensor exists in this table (a copy from before may lack it).
  bool contains(TensorRef tensor) const {
    return static_cast<std::size_t>(tensor) < tensors_.size();
  }
  /// Roots of the storages that existed in `before` and whose memory `tensor` has, or may have.
  std::vector<TensorRef> related_roots(TensorRef tensor, const AliasTable& before) const;
  TensorRef root_of(TensorRef tensor) const {
    return storages_[tensors_[static_cast<std::size_t>(tensor)].storage].root;
  }
  /// Storages that existed in `before` and were written since: root tensor of each.
  std::vector<TensorRef> written_since(const AliasTable& before) const;
  /// Takes over what became unknown in a branch that was tried on a copy.
  void merge_unknown(const AliasTable& tried);
  /// The content of a storage is now `value`, all views of it are stale.
  void replace_root(TensorRef root, ValueId value);

 private:
  struct Storage {
    TensorRef root = 0;
    int version = 0;
    std::string unknown;                ///< not empty: why reading is refused
    std::string no_write;               ///< not empty: why writing is refused
    std::vector<std::size_t> possible;  ///< storages that may be the same memory
  };
  struct Tensor {
    std::size_t storage = 0;
    TensorRef base = -1;  ///< -1 for a root
    ViewStep step;
    ValueId value = 0;
    int version = 0;
  };
  TensorRef add(Tensor tensor);
  std::size_t add_storage(TensorRef root);

  std::vector<Storage> storages_;
  std::vector<Tensor> tensors_;
};

}  // namespace microtome::host::torchscript
